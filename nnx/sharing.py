"""How the work of a compiled step is shared out, and what its buffers hold; needs no Numba."""

from __future__ import annotations

import math
from itertools import pairwise

# Examples that a worker takes through all layers at once: more for wide layers, whose W has to be
# read, and where products are not cut into pieces packed, for each block.
_BLOCK, _WIDE_BLOCK, _WIDE = 256, 512, 512
_SCRATCH = 1 << 16  # numbers of dA that a worker holds at most before they become dZ
_SCRATCH_ROWS = 4  # examples (or units) whose dA all hold, however little memory there is for it
_MORE = 0.1  # of what a step must hold: the most that it holds beside that
_SCRATCH_SHARE = 0.05  # of the same: for the dA of all workers
_FILLING = 0.02  # of the same: for filling up rows that are units
_PARTS = 0.04  # of the same: for further workers' parts of Z[L]
# Numbers of W[1] from which on it pays that two workers write dW[1] in turns where memory does not
# ask for it, and that plain descent updates W[1] by the product itself, for a barrier more.
LARGE = 8000
_MANY = 1024  # examples that are always shared
UNITS = 16  # a worker's units are a multiple of this: one vector register
# A smaller step, over fewer parameters, is over before a second worker has begun, and waits long
# where that has no core.
_SHARED_FLOP, _SHARED_PARAMETERS = 5e6, 2e5
# Gradients that cross from worker to worker, by turns or to be added, cost for this many parameters
# as much as an example saves in each hidden layer by meeting the others less often.
_PARAMETERS_PER_EXAMPLE = 350


def ranges(size: int, parts: int, multiple: int = 1) -> list[slice]:
    """Split range(size) into `parts` slices, their borders at multiples where that is fair."""
    step = multiple if size >= 2 * parts * multiple else 1
    edges = [min(size, round(size * i / parts / step) * step) for i in range(parts)] + [size]
    return [slice(a, b) for a, b in pairwise(edges)]


def pieces(rows: int, columns: int, room: int) -> list[slice]:
    """Split range(rows) so that no piece of so many columns exceeds `room` numbers."""
    return ranges(rows, math.ceil(rows / (room // columns)))


def count(part: slice) -> int:
    """How many things a slice with both ends holds."""
    return int(part.stop - part.start)


class Sharing:
    """The choices for layers of n = (n_x, ..., n_y) units, so many parameters and m examples.

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
    block : int
        By examples: how many of them a worker takes through all layers at once.
    db_row : int
        Numbers in a worker's row for db[L].
    turns : tuple of int
        By examples: the layers whose dW all workers write in turns; of the others, and of the
        biases, each has its own.
    """

    def __init__(self, n: tuple[int, ...], m: int, workers: int, parameters: int) -> None:
        self._n, self._m, self._parameters = n, m, parameters
        # Parameters, their gradient, the batch and an A for each layer: what any step holds.
        self._least = 2 * parameters + m * sum(n)
        # 2 FLOP in Z, dW and, but for layer 1, dA.
        products = sum(a * b for a, b in pairwise(n))
        flop = 2 * m * (3 * products - n[0] * n[1])
        shared = flop >= _SHARED_FLOP or parameters >= _SHARED_PARAMETERS
        self.workers = workers if shared else 1
        self.block = _BLOCK if max(n[1:]) <= _WIDE else _WIDE_BLOCK
        self.by_examples = m > self.block if self.workers == 1 else self._suits_examples()
        self.units_in_rows = not self.by_examples and min(n[1:-1], default=0) >= 2 * m
        if self.by_examples:
            self.workers = min(self.workers, m)
        self.examples = ranges(m, self.workers)
        self.units = [ranges(units, self.workers, UNITS) for units in n]
        self.db_row = -(-n[-1] // 64) * 64
        self.turns = self._choose_turns() if self.by_examples and self.workers > 1 else ()

    def _suits_examples(self) -> bool:
        """Whether workers share the examples of a batch, rather than the units of each layer."""
        layers = max(1, len(self._n) - 2)
        few = self._parameters <= _PARAMETERS_PER_EXAMPLE * layers * self._m
        return few or self._m >= _MANY

    def _choose_turns(self) -> tuple[int, ...]:
        """The largest first, until what workers hold for themselves is within `_MORE`.

        dW[1] costs two workers with a single block each no barrier more, since they have to meet
        after the backward in any case; so it is among them where it is large.
        """
        n, further = self._n, self.workers - 1
        scratch = sum(self.scratch(worker) for worker in range(self.workers))
        room = _MORE * self._least - scratch
        sizes = {number: n[number] * n[number - 1] for number in range(1, len(n))}
        one_block = all(len(self.blocks(part)) == 1 for part in self.examples)
        turns = {1} if further == 1 and one_block and sizes[1] >= LARGE else set()
        rest = sorted(set(sizes) - turns, key=lambda number: -sizes[number])
        private = self._parameters - sum(sizes[number] for number in turns)
        for number in rest:
            if further * private <= room:
                break
            turns.add(number)
            private -= sizes[number]
        return tuple(sorted(turns))

    def shares(self, number: int) -> list[tuple[slice, slice]]:
        """Rows and columns of dW[l] that a worker adds to at once, where they take turns.

        Rows lie together, so that one call updates them; columns are shared where rows are few.
        """
        n, n_prev, P = self._n[number], self._n[number - 1], self.workers
        if n >= UNITS * P or n >= n_prev:
            return [(rows, slice(0, n_prev)) for rows in ranges(n, P, UNITS)]
        return [(slice(0, n), columns) for columns in ranges(n_prev, P, UNITS)]

    @property
    def parts_of_output(self) -> int:
        """By units: into how many parts Z[L] is computed.

        Each worker's part is a sum over its own units of layer L - 1, so that A[L-1] never crosses
        to another; where n_y is so large that this would take much memory there is only Z[L].
        """
        parts = (self.workers - 1) * self._m * self._n[-1]
        return self.workers if len(self._n) > 2 and parts <= _PARTS * self._least else 1

    def padded(self, columns: int) -> int:
        """The columns of a hidden layer's buffer: workers that share them share no cache line.

        Where a row is a unit they share none but at their borders, and whole lines only make the
        products a little faster, so they must not take much memory.
        """
        if self.by_examples or self.workers == 1:
            return columns
        whole = -(-columns // UNITS) * UNITS
        much = (whole - columns) * sum(self._n[1:-1]) > _FILLING * self._least
        return columns if self.units_in_rows and much else whole

    def blocks(self, part: slice) -> list[slice]:
        """By examples: the blocks of a worker's examples, counted from their first."""
        most = max(count(each) for each in self.examples)
        return ranges(count(part), math.ceil(most / self.block))

    def rows(self, part: slice) -> int:
        """By examples: how many examples the largest of a worker's blocks has."""
        return max(count(block) for block in self.blocks(part))

    def scratch(self, worker: int) -> int:
        """How many numbers a worker holds: the dA that it turns into dZ at once, a row for J."""
        room = int(_SCRATCH_SHARE * self._least)
        if self.by_examples:
            rows, width = self.rows(self.examples[worker]), max(self._n[1:-1], default=0)
        else:
            room -= (self.parts_of_output - 1) * self._m * self._n[-1]
            units = max((count(parts[worker]) for parts in self.units[1:-1]), default=0)
            rows, width = (units, self._m) if self.units_in_rows else (self._m, units)
        most = min(_SCRATCH, room // self.workers)
        few = min(rows, max(1, _SCRATCH_ROWS // self.workers))
        return max(min(rows * width, most), few * width, self._n[-1])

    def numbers(self, *, keeps_Z: list[bool]) -> int:
        """Return how many numbers all buffers hold, beside a gathered batch.

        keeps_Z : list of bool
            For each layer whether Z[l] is kept beside A[l].
        """
        n, m, P = self._n, self._m, self.workers
        if self.by_examples:
            layers = sum(u * (1 + both) for u, both in zip(n[1:], keeps_Z, strict=True))
            rows = sum(self.rows(part) for part in self.examples)
            scratch = sum(self.scratch(worker) for worker in range(P))
            private = self._parameters - sum(n[k] * n[k - 1] for k in self.turns)
            return (P - 1) * private + rows * layers + scratch
        hidden = 0
        for units, both in zip(n[1:-1], keeps_Z[:-1], strict=True):
            shape = (units, m) if self.units_in_rows else (m, units)
            hidden += (1 + both) * shape[0] * self.padded(shape[1])
        output = m * n[-1] * self.parts_of_output
        scratch = sum(self.scratch(worker) for worker in range(P))
        return hidden + output + scratch + P * self.db_row
