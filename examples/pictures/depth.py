"""How many units parity needs by depth, and how networks of each depth learn it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnx.examples.pictures import BLUE, GREEN, VERMILLION, in_order, new_picture

_BITS = np.arange(2, 17)
# The hidden units of each written network over n, in words, and how they are drawn.
_WRITTEN = {
    "one_unit_per_pattern": (2 ** (_BITS - 1), "one layer of ANDs: $2^{n-1}$", VERMILLION, "s"),
    "xor_tree": (2 * (_BITS - 1), r"$\log_2 n$ layers of XORs: $2(n-1)$", BLUE, "o"),
    "counting": (_BITS, "one layer that counts: $n$", GREEN, "^"),
}


def draw(
    n_bits: int, numbers: Mapping[str, float], costs: Mapping[int, Sequence[Sequence[float]]]
) -> Any:
    """Draw the units of networks written by hand, and the cost of trained ones over the epochs."""
    title = f"Parity of {n_bits} bits: what depth saves, and what training finds"
    note = f"the shares of right answers are those of the worst of {len(costs[0])} runs"
    with new_picture(title, (10, 5.4), note) as figure:
        left, right = figure.subplots(1, 2)
        for name, (units, words, color, marker) in _WRITTEN.items():
            left.plot(_BITS, units, color=color, linewidth=2)
            built = numbers[f"{name} units"]
            left.plot(n_bits, built, marker, color=color, markersize=9, label=words)
        left.set(title="Hidden units needed, written by hand", yscale="log")
        left.set(xlabel="bits $n = n_x$", ylabel="hidden units")
        left.legend(fontsize=10)
        for (hidden, runs), color in zip(costs.items(), in_order(len(costs)), strict=True):
            accuracy, size = (numbers[f"{hidden} hidden {of}"] for of in ("accuracy", "parameters"))
            words = f"$L = {hidden + 1}$, {size} parameters: {accuracy:.0%} right"
            for J in runs:
                right.plot(range(1, len(J) + 1), J, color=color, linewidth=1.5, label=words)
                words = ""  # one entry in the legend for all runs
        right.set(title="Cost while learning, a line for each run", yscale="log")
        right.set(xlabel="epoch", ylabel="cost $J$")
        right.legend(fontsize=10)
    return figure
