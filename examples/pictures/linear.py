"""The boundaries of one layer, of identity layers, and of tanh layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from nnx import Network
from nnx.datasets import Dataset
from nnx.examples.pictures import new_picture
from nnx.examples.pictures.plane import NOTE, region

_NAMES = {
    "one layer": "$L = 1$",
    "identity": "$L = 3$, $g(z) = z$",
    "tanh": "$L = 3$, $g =$ tanh",
}


def draw(shown: Sequence[tuple[Dataset, Mapping[str, Network]]]) -> Any:
    """Draw a row for each data set and a column for each network."""
    title = "Layers without an activation function cannot bend the boundary"
    with new_picture(title, (10, 7.2), NOTE) as figure:
        for row, (data, nets) in zip(figure.subplots(2, 3), shown, strict=True):
            for axes, (name, net) in zip(row, nets.items(), strict=True):
                region(axes, net, data)
                axes.set_title(f"{_NAMES[name]}: {net.score(data.X, data.Y):.1%} right")
    return figure
