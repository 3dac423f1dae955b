"""Short scripts that show the lecture's ideas; each `main` returns the numbers it prints."""

from importlib import import_module
from typing import Any

from nnx.backends.errors import unknown_name

EXAMPLES = {
    "flower": "one hidden layer learns the flower that logistic regression cannot",
    "loop": "the loop over m examples against one matrix product: same numbers, measured speed",
    "zeros": "why weights start at random: from zeros, all hidden units stay equal",
    "linear": "without non-linear activations a deep network is no better than one layer",
    "houses": "house prices: from one ReLU unit to a network with hidden features",
    "depth": "parity of bits: what a deep network needs, what a shallow one, and what each learns",
    "digits": "handwritten digits, more than 97 % of unseen ones right in seconds",
}


def run(name: str, **options: Any) -> dict[str, float]:
    """Run the example ``name``, one of `EXAMPLES`, and return the numbers it shows.

    Parameters
    ----------
    name : str
    **options
        Given to the example's ``main``; every one takes ``device`` and ``seed``.
    """
    if name not in EXAMPLES:
        raise unknown_name("example", name, EXAMPLES)
    numbers: dict[str, float] = import_module(f"nnx.examples.{name}").main(**options)
    return numbers
