"""The first layer's weights as small images, digits with what the network says, and the cost."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnx import Network
from nnx.datasets import Dataset
from nnx.examples.pictures import BLUE, VERMILLION, new_picture

_SIDE = 8  # pixels of an image


def draw(net: Network, test: Dataset, predicted: np.ndarray, costs: Sequence[float]) -> Any:
    """Draw the strongest rows of W[1] beside digits, mistakes first, above the cost."""
    right = float(np.mean(predicted == test.Y))
    title = f"Handwritten digits: {right:.1%} of {test.m} unseen ones are read right"
    note = "weights: blue where ink speaks for the unit, orange where it speaks against it"
    with new_picture(title, (10, 6.8), note) as figure:
        grid = figure.add_gridspec(2, 2, width_ratios=(1.3, 1), height_ratios=(1.2, 1))
        _weights(figure.add_subplot(grid[:, 0]), net)
        _digits(figure.add_subplot(grid[0, 1]), test, predicted)
        axes = figure.add_subplot(grid[1, 1])
        axes.plot(range(1, len(costs) + 1), costs, color=BLUE, linewidth=2)
        axes.set(title="Cost while learning", xlabel="epoch", ylabel="cost $J$")
        axes.set_ylim(bottom=0)
    return figure


def _weights(axes: Any, net: Network, across: int = 7) -> None:
    """Draw the rows of W[1] with the largest weights."""
    from matplotlib.colors import LinearSegmentedColormap

    signs = LinearSegmentedColormap.from_list("signs", [VERMILLION, "#FFFFFF", BLUE])
    W1 = net.backend.to_numpy(net.parameters["W1"])
    strongest = np.argsort(-np.linalg.norm(W1, axis=1), kind="stable")[: across**2]
    for place, unit in enumerate(strongest):
        # Each in its own scale, in which one extreme weight does not make all others pale. Smooth,
        # because strokes are seen in it and not in 64 squares.
        reach = np.quantile(np.abs(W1[unit]), 0.93)
        axes.imshow(
            W1[unit].reshape(_SIDE, _SIDE), cmap=signs, vmin=-reach, vmax=reach,
            interpolation="bicubic", extent=_frame(place, across, _SIDE + 1),
        )  # fmt: skip
    axes.set_title(f"What hidden units look for: {len(strongest)} of {len(W1)} rows of $W^{{[1]}}$")
    axes.set_facecolor("#D0D0D0")
    _bare(axes, across, across, _SIDE + 1)


def _digits(
    axes: Any, test: Dataset, predicted: np.ndarray, across: int = 6, down: int = 3
) -> None:
    """Draw digits with the network's answers: mistakes, and the first of the others."""
    order = np.argsort(predicted == test.Y, kind="stable")[: across * down]
    high = _SIDE + 5  # with room for the answer above each
    for place, i in enumerate(order):
        frame = _frame(place, across, high)
        axes.imshow(test.X[:, i].reshape(_SIDE, _SIDE), cmap="Greys", vmin=0, vmax=1, extent=frame)
        good = predicted[i] == test.Y[i]
        axes.text(
            (frame[0] + frame[1]) / 2, frame[3] + 1,
            f"{predicted[i]}" if good else f"{predicted[i]} (is {test.Y[i]})",
            color=BLUE if good else VERMILLION, ha="center", fontsize=10,
        )  # fmt: skip
    axes.set_title("Unseen digits and what they are taken for", pad=24)
    _bare(axes, across, down, high)


def _frame(place: int, across: int, high: int) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of an image, `across` in a row, rows `high` apart."""
    row, column = divmod(place, across)
    left, top = (_SIDE + 1) * column, -high * row
    return left, left + _SIDE, top - _SIDE, top


def _bare(axes: Any, across: int, down: int, high: int) -> None:
    """Show all images and nothing around them."""
    axes.set(xlim=(0, (_SIDE + 1) * across - 1), ylim=(-high * (down - 1) - _SIDE, 0))
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
