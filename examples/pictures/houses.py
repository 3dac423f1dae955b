"""What each network says of the houses, over what they were sold for."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from nnx.examples.pictures import BLUE, INK, new_picture


def draw(true: np.ndarray, prices: Mapping[str, np.ndarray]) -> Any:
    """Draw a panel for each network: predicted prices (1, m) over true ones (m,)."""
    title = "With hidden units, predicted prices come close to the true ones"
    note = r"a point is a house that was not learnt from; on the dashed line $\hat{y} = y$"
    with new_picture(title, (10, 7.8), note) as figure:
        panels = figure.subplots(2, 2, sharex=True, sharey=True)
        most = float(np.ceil(max(np.max(y) for y in (true, *prices.values()))))
        for axes, (name, predicted) in zip(panels.flat, prices.items(), strict=True):
            axes.scatter(true, predicted[0], s=15, color=BLUE, alpha=0.35, linewidths=0)
            axes.plot([0, most], [0, most], color=INK, linewidth=1.4, linestyle=(0, (5, 3)))
            error = 1e5 * float(np.abs(predicted[0] - true).mean())
            axes.set_title(f"{name}: off by {error:,.0f} on average")
        panels[0, 0].set(xlim=(0, most), ylim=(0, most))
        for axes in panels[:, 0]:
            axes.set_ylabel(r"predicted price $\hat{y}$ (in 100,000)")
        for axes in panels[1]:
            axes.set_xlabel("true price $y$ (in 100,000)")
    return figure
