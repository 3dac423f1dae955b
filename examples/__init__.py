"""Short scripts that show the lecture's ideas; each `main` returns the numbers it prints.

>>> import nnx
>>> numbers = nnx.examples.flower.main()    # doctest: +SKIP
>>> numbers.plot()                          # doctest: +SKIP
>>> nnx.examples.flower.plot()              # doctest: +SKIP
"""

import argparse
from collections.abc import Callable, Mapping
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


class Numbers(dict[str, float]):
    """What an example shows: its numbers by name, and `plot()`, its picture.

    Parameters
    ----------
    numbers : mapping
    picture : str
        The module of `nnx.examples.pictures` that draws it; imported when it is asked for.
    *parts
        What its ``draw`` takes: networks, data and costs, as they were when the numbers were made.
    """

    def __init__(self, numbers: Mapping[str, float], picture: str, *parts: Any) -> None:
        super().__init__(numbers)
        self._picture, self._parts = picture, parts

    def __reduce__(self) -> tuple[type[dict[str, float]], tuple[dict[str, float]]]:
        return dict, (dict(self),)  # a copy or a pickle is of the numbers alone

    def plot(self) -> Any:
        """Draw what the numbers were computed from; nothing is trained or measured again.

        Returns
        -------
        matplotlib Figure
            Not one of pyplot's: a notebook shows it, and there is nothing to close.

        Raises
        ------
        MissingDependencyError
            Where matplotlib (extra `plot`) is not installed.
        """
        from nnx.examples import pictures

        pictures.needs_matplotlib()
        module = import_module(f"nnx.examples.pictures.{self._picture}")
        return module.draw(*self._parts)


def run(name: str, **options: Any) -> Numbers:
    """Run the example ``name``, one of `EXAMPLES`, and return the numbers it shows.

    Parameters
    ----------
    name : str
    **options
        Given to the example's ``main``; every one takes ``device`` and ``seed``.
    """
    if name not in EXAMPLES:
        raise unknown_name("example", name, EXAMPLES)
    numbers: Numbers = import_module(f"nnx.examples.{name}").main(**options)
    return numbers


def picture_of(main: Callable[..., Numbers], options: Mapping[str, Any]) -> Any:
    """Run an example's ``main`` and return its picture; without matplotlib, before any work."""
    from nnx.examples import pictures

    pictures.needs_matplotlib()
    return main(**options).plot()


def script(main: Callable[..., Numbers], what: str | None) -> None:
    """Run an example as a program; ``--plot FILE`` saves its picture."""
    parser = argparse.ArgumentParser(
        description=what, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto", help='"cpu", "cuda", "cuda:1" or "auto"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="FILE", help="save the picture there: .png, .svg or .pdf")
    asked = parser.parse_args()
    if asked.plot is None:
        main(asked.device, asked.seed)
        return
    from nnx.examples import pictures

    path = pictures.check_path(asked.plot)
    pictures.needs_matplotlib("--plot")
    numbers = main(asked.device, asked.seed)
    print(f"picture: {pictures.save(numbers.plot(), path)}")


def __getattr__(name: str) -> Any:
    """Import an example, or `pictures`, where it is first used."""
    if name in EXAMPLES or name == "pictures":
        return import_module(f"nnx.examples.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
