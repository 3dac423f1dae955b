"""Points of two classes in the plane, and where a network takes them for which."""

from typing import Any

import numpy as np

from nnx import Network
from nnx.datasets import Dataset
from nnx.examples.pictures import BLUE, INK, VERMILLION

NOTE = (
    "circles: $y = 0$, triangles: $y = 1$; colours: what the network says, "
    "the line where $a^{[L]} = 1/2$"
)
_ACROSS = 200  # pixels of a region


def region(axes: Any, net: Network, data: Dataset) -> None:
    """Colour the plane by A[L], with a line where it is 1/2, and draw the points on top."""
    from matplotlib.colors import LinearSegmentedColormap

    low, high = data.X.min(axis=1) - 0.4, data.X.max(axis=1) + 0.4
    x_1, x_2 = np.meshgrid(*(np.linspace(low[i], high[i], _ACROSS) for i in (0, 1)))
    A_L = net.predict_proba(np.stack([x_1.ravel(), x_2.ravel()])).reshape(x_1.shape)
    shades = LinearSegmentedColormap.from_list("classes", ["#F0A878", "#FBF6F2", "#7FB8DC"])
    axes.imshow(
        A_L, cmap=shades, vmin=0, vmax=1, extent=(low[0], high[0], low[1], high[1]),
        origin="lower", aspect="auto", interpolation="bilinear",
    )  # fmt: skip
    if A_L.min() < 0.5 < A_L.max():
        axes.contour(x_1, x_2, A_L, levels=[0.5], colors=INK, linewidths=1.6)
    for y, color, marker in ((0, VERMILLION, "o"), (1, BLUE, "^")):
        points = data.X[:, y == data.Y]
        axes.scatter(*points, s=13, c=color, marker=marker, edgecolors="white", linewidths=0.4)
    axes.grid(visible=False)
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
