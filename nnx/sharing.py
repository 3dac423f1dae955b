"""How the work of a compiled step is shared out, and what its buffers hold; needs no Numba."""

from __future__ import annotations

import math
from itertools import pairwise

_BLOCK = 512  # examples that a worker takes through all layers at once
_SCRATCH = 1 << 17  # numbers of dA that a worker holds before they become dZ
UNITS = 16  # a worker's units are a multiple of this: one vector register
_SHARED_FLOP = 1e6  # a smaller step is over before a second worker has begun


def ranges(size: int, parts: int, multiple: int = 1) -> list[slice]:
    """Split range(size) into `parts` slices, their borders at multiples where that is fair."""
    step = multiple if size >= 2 * parts * multiple else 1
    edges = [min(size, round(size * i / parts / step) * step) for i in range(parts)] + [size]
    return [slice(a, b) for a, b in pairwise(edges)]


def _count(part: slice) -> int:
    return int(part.stop - part.start)


class Sharing:
    """The choices for layers of n = (n_x, ..., n_y) units and m examples.

    Attributes
    ----------
    workers : int
        Those that take part.
    by_examples : bool
        Whether each worker takes some examples through all layers, or all examples through some
        units.
    units_in_rows : bool
        Whether a row of a hidden layer's buffer is a unit: Z^T = W X^T.
    examples : list of slice
        Each worker's examples.
    units : list of list of slice
        units[l][w]: worker w's units of layer l.
    db_row : int
        Numbers in a worker's row for db[L].
    """

    def __init__(self, n: tuple[int, ...], m: int, workers: int) -> None:
        self._n, self._m = n, m
        # 2 FLOP in Z, dW and, but for layer 1, dA.
        products = sum(a * b for a, b in pairwise(n))
        flop = 2 * m * (3 * products - n[0] * n[1])
        self.workers = workers if flop >= _SHARED_FLOP else 1
        hidden = max(n[1:-1], default=1)
        self.by_examples = m >= _BLOCK * self.workers and m >= 4 * hidden
        self.units_in_rows = not self.by_examples and min(n[1:-1], default=0) >= 2 * m
        self.examples = ranges(m, self.workers)
        self.units = [ranges(units, self.workers, UNITS) for units in n]
        self.db_row = -(-n[-1] // 64) * 64

    def blocks(self, part: slice) -> list[slice]:
        """By examples: the blocks of a worker's examples, counted from their first."""
        size: int = part.stop - part.start
        return ranges(size, math.ceil(size / _BLOCK))

    def rows(self, part: slice) -> int:
        """By examples: how many examples the largest of a worker's blocks has."""
        return max(_count(block) for block in self.blocks(part))

    def scratch(self, worker: int) -> int:
        """By units: how many numbers of dA a worker holds."""
        width = max(_count(parts[worker]) for parts in self.units[1:])
        return max(min(width * self._m, _SCRATCH), width, self._m, self._n[-1])

    def numbers(self, parameters: int, *, keeps_Z: list[bool]) -> int:
        """Return how many numbers all buffers hold, beside a gathered batch.

        Parameters
        ----------
        parameters : int
            The length of theta.
        keeps_Z : list of bool
            For each layer whether Z[l] is kept beside A[l].
        """
        layers = sum(
            units * (2 if both else 1) for units, both in zip(self._n[1:], keeps_Z, strict=True)
        )
        if self.by_examples:
            rows = sum(self.rows(part) for part in self.examples)
            return (self.workers - 1) * parameters + rows * (layers + max(self._n[1:]))
        scratch = sum(self.scratch(worker) for worker in range(self.workers))
        return self._m * layers + scratch + self.workers * self.db_row
