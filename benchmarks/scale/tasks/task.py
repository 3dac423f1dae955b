"""What a task is: examples of a training, a validation and a test part, as many as are asked for.

Examples are made in blocks of fixed size, each from a generator of its own. So an example depends
on the part, the seed and its index alone: a larger m begins with the examples of a smaller one,
and it does not matter how many are asked for at once, nor by which process.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
BLOCK = 1024  # examples that are made at once

ERROR_RATE, SQUARED_ERROR = "error rate", "mean squared error"

Rows = NDArray[np.float32]
Targets = NDArray[Any]


class Task(ABC):
    """Something to be learnt, and the examples that show it.

    Attributes
    ----------
    name : str
    title : str
        For the heading of a figure.
    note : str
        How the examples are made, in a sentence or two.
    options : mapping
        With the name everything that determines the examples, as plain JSON values.
    n_x, n_y : int
        Inputs; classes, or values.
    metric : {"error rate", "mean squared error"}
        The error that the study measures: lower is better.
    chance : float
        The error of the best answer that does not look at X.
    most : int or None
        Training examples that there are; None where there is no end.
    """

    name: str
    title: str
    note: str
    options: Mapping[str, Any]
    n_x: int
    n_y: int
    metric: str
    chance: float
    most: int | None = None

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[tuple[Part, int], tuple[Rows, Targets]] = {}

    @property
    def classifies(self) -> bool:
        """Whether Y is a class."""
        return self.metric == ERROR_RATE

    def examples(self, part: Part, m: int, seed: int = 0) -> tuple[Rows, Targets]:
        """Return the first m examples of a part.

        Parameters
        ----------
        part : {"train", "validation", "test"}
        m : int
        seed : int
            Another seed has other training examples; the other parts are the same for all.

        Returns
        -------
        X : float32 array (m, n_x), read-only
            A row for each example; its transpose is the lecture's X.
        Y : array, read-only
            int64 labels (m,), or float32 values (m, n_y).
        """
        key = (part, seed if part == "train" else 0)
        with self._lock:  # threads of one process may share a task
            found = self._made.get(key)
            if found is None or len(found[1]) < m:
                if part == "train":  # the examples of one seed are enough to remember
                    self._made = {k: v for k, v in self._made.items() if k[0] != part}
                found = self._make(*key, m)
                for array in found:
                    array.flags.writeable = False
                self._made[key] = found
        return found[0][:m], found[1][:m]

    @abstractmethod
    def _make(self, part: Part, seed: int, m: int) -> tuple[Rows, Targets]:
        """Make the first m examples, or more."""


class Generated(Task):
    """A task whose examples are made block by block, without end."""

    def _make(self, part: Part, seed: int, m: int) -> tuple[Rows, Targets]:
        count = -(-m // BLOCK)
        X = np.empty((count * BLOCK, self.n_x), np.float32)
        Y: Targets = (
            np.empty(count * BLOCK, np.int64)
            if self.classifies
            else np.empty((count * BLOCK, self.n_y), np.float32)
        )
        for block in range(count):
            rows = slice(block * BLOCK, (block + 1) * BLOCK)
            rng = np.random.default_rng([PARTS.index(part), seed, block])
            self.fill(part, rng, X[rows], Y[rows])
        return X, Y

    @abstractmethod
    def fill(self, part: Part, rng: np.random.Generator, X: Rows, Y: Targets) -> None:
        """Write one block of examples, all that is random drawn from `rng`."""
