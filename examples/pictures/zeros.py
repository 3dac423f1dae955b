"""How the hidden units' weights move from zeros and from a random start, and what comes of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnx import Network
from nnx.datasets import Dataset
from nnx.examples.pictures import INK, in_order, new_picture
from nnx.examples.pictures.plane import NOTE, region


def draw(data: Dataset, nets: Mapping[str, Network], paths: Mapping[str, np.ndarray]) -> Any:
    """Draw a column for each start: the way of W[1] (steps, n_h, 2), above the boundary."""
    title = "Hidden units that start at zero stay equal: four of them are worth one"
    with new_picture(title, (10, 7.4), NOTE) as figure:
        panels = figure.subplots(2, len(nets))
        reach = 1.15 * max(float(np.abs(path).max()) for path in paths.values())
        for (above, below), (name, net) in zip(panels.T, nets.items(), strict=True):
            start, n_h = name.split()
            begun = "from zeros" if start == "zeros" else "from a random start"
            above.set_title(f"$n_h = {n_h}$ {begun}")
            _ways(above, paths[name])
            above.set(xlim=(-reach, reach), ylim=(-reach, reach))
            region(below, net, data)
            below.set_title(f"{net.score(data.X, data.Y):.1%} right")
        w_1, w_2 = next(iter(paths.values()))[-1, 0]  # the legend stands in the other corner
        corner = f"{'lower' if w_2 > 0 else 'upper'} {'left' if w_1 > 0 else 'right'}"
        legend = panels[0, 0].legend(loc=corner, fontsize=10, handlelength=1)
        for handle in legend.legend_handles:
            handle.set_markersize(8)
    return figure


def _ways(axes: Any, path: np.ndarray) -> None:
    """Draw how each unit's two weights moved; equal units show as rings around one another."""
    n_h = path.shape[1]
    equal = bool(np.ptp(path[-1], axis=0).max() < 1e-3)
    for unit, color in enumerate(in_order(n_h)):
        broader = (n_h - 1 - unit) * equal  # or the last would hide all others
        w_1, w_2 = path[:, unit].T
        axes.plot(w_1, w_2, color=color, linewidth=2 + 2 * broader, solid_capstyle="butt")
        axes.plot(
            w_1[-1], w_2[-1], "o", color=color, markersize=9 + 6 * broader,
            markeredgecolor="white", label=f"unit {unit + 1}", zorder=3,
        )  # fmt: skip
    axes.plot(*path[0].T, "x", color=INK, markersize=7, zorder=4, label="start")
    axes.set(xlabel="weight of $x_1$: $w^{[1]}_{i1}$", ylabel="weight of $x_2$: $w^{[1]}_{i2}$")
