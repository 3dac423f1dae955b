"""The flower's decision boundaries over n_h, and the cost of each training."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnx import Network
from nnx.datasets import Dataset
from nnx.examples.pictures import in_order, new_picture
from nnx.examples.pictures.plane import NOTE, region


def draw(data: Dataset, nets: Mapping[int, Network], costs: Mapping[int, Sequence[float]]) -> Any:
    """Draw a panel for each n_h, 0 for no hidden layer, and one for the costs."""
    title = "The flower: hidden units bend the decision boundary around the petals"
    with new_picture(title, (10, 7.2), NOTE) as figure:
        panels = list(figure.subplots(2, 3).flat)
        names = {n_h: f"$n_h = {n_h}$" if n_h else "no hidden layer" for n_h in nets}
        for axes, (n_h, net) in zip(panels, nets.items(), strict=False):
            region(axes, net, data)
            axes.set_title(f"{names[n_h]}: {net.score(data.X, data.Y):.1%} right")
        axes = panels[-1]
        for (n_h, J), color in zip(costs.items(), in_order(len(costs)), strict=True):
            axes.plot(range(1, len(J) + 1), J, color=color, label=names[n_h], linewidth=2)
        axes.set(title="Cost while learning", xlabel="step of gradient descent", ylabel="cost $J$")
        axes.set_ylim(0, 1.3)  # room for the legend above the curves
        axes.legend(loc="upper right", ncols=2, fontsize=10, columnspacing=1, handlelength=1.3)
    return figure
