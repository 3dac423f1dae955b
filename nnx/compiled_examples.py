"""A compiled step shared by examples.

Each worker takes its examples through forward and backward in blocks that stay in its cache. The
gradients of most layers are added up by each worker for itself and put together at the end. Where
that would take much memory, the workers take turns: each adds its part to a share of the one dW[l],
then, after a barrier, to the share that another has left. Plain gradient descent updates a large
W[1] in these turns: W := W - alpha/m dZ X^T.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from nnx.backends.engine import interpreter as op
from nnx.backends.engine.assembler import Assembler, Matrix
from nnx.backends.engine.launch import address
from nnx.compiled_writer import Writer
from nnx.sharing import LARGE, count, pieces, ranges

Array = Any


class _Gradient(NamedTuple):
    """What one worker adds to: dW[l], its own or where they take turns the one of all; its db[l].

    Attributes
    ----------
    dW : list of Matrix
    db : list of int
        Addresses.
    private : int
        Address of a further worker's own numbers; 0 for the first, whose are the network's.
    """

    dW: list[Matrix]
    db: list[int]
    private: int


class _Run(NamedTuple):
    """Consecutive numbers of the flat vector that each worker adds up for itself.

    Attributes
    ----------
    first : int
        In the flat vector.
    offset : int
        In the private numbers of a further worker.
    size : int
    """

    first: int
    offset: int
    size: int


class ByExamples(Writer):
    """Each worker takes its examples through all layers."""

    def write(self) -> Iterator[Assembler]:
        """The instructions, worker by worker."""
        runs = self._private_runs()
        gradients = self._gradients(runs)
        for worker, part in enumerate(self.sharing.examples):
            asm, own = Assembler(self.constants), gradients[worker]
            self.gather(asm, part)
            asm.operation(self.plan.update)
            asm.zero(own.db[0], self.gradient.flat.size - self.gradient.penalised)
            A, caches = self.layer_buffers(self.sharing.rows(part))
            scratch = self.empty(1, self.sharing.scratch(worker))
            # Each begins with a share of its own, and goes on from block to block with the one
            # that it has added to last: only between two turns it has to wait.
            order = [(worker + turn) % self.workers for turn in range(self.workers)]
            for block in self.sharing.blocks(part):
                examples = slice(part.start + block.start, part.start + block.stop)
                self._block(asm, examples, A, caches, scratch, own, order, first=not block.start)
                order.reverse()
            self._finish(asm, worker, gradients, runs, last_share=order[0])
            yield asm

    # -- the gradients ----------------------------------------------------------------------------

    def _private_runs(self) -> list[_Run]:
        """All of the flat vector but the W[l] whose gradient is written in turns."""
        runs, offset, first = [], 0, 0
        for number in (*self.sharing.turns, None):
            stop = self.gradient.flat.size if number is None else self.starts[number - 1]
            if stop > first:
                runs.append(_Run(first, offset, stop - first))
                offset += stop - first
            if number is not None:
                first = stop + self.n[number] * self.n[number - 1]
        return runs

    def _gradients(self, runs: list[_Run]) -> list[_Gradient]:
        dW = [Matrix.of(views["W"]) for views in self.gradient.layers]
        db = [address(views["b"]) for views in self.gradient.layers]
        size, begin = self.dtype.itemsize, address(self.gradient.flat)
        gradients = [_Gradient(dW, db, 0)]
        for _ in range(1, self.workers):
            numbers = self.empty(1, sum(run.size for run in runs))
            numbers[...] = 0  # also between the arrays, where nobody writes
            private = address(numbers)

            def moved(place: int, private: int = private) -> int:
                """The address of a private number, from that of the network's."""
                number = (place - begin) // size
                run = next(r for r in runs if r.first <= number < r.first + r.size)
                return private + (number - run.first + run.offset) * size

            own = [
                matrix if number in self.sharing.turns
                else matrix._replace(address=moved(matrix.address))
                for number, matrix in enumerate(dW, 1)
            ]  # fmt: skip
            gradients.append(_Gradient(own, [moved(place) for place in db], private))
        return gradients

    @property
    def _descends(self) -> bool:
        """Whether W[1] itself takes up the gradient: it is read no more after the forward of a
        single block, and a large one is worth the barrier that may be needed for that."""
        one_block = all(len(self.sharing.blocks(part)) == 1 for part in self.sharing.examples)
        large = self.n[0] * self.n[1] >= LARGE
        return self.plain_descent and 1 in self.sharing.turns and self.L > 1 and one_block and large

    # -- forward and backward ---------------------------------------------------------------------

    def _block(
        self,
        asm: Assembler,
        part: slice,
        A: list[Matrix],
        caches: list[Matrix],
        scratch: Array,
        own: _Gradient,
        order: list[int],
        *,
        first: bool,
    ) -> None:
        """Forward and backward of some examples; their gradient is added to `own`."""
        rows = slice(0, count(part))
        inputs = [self.X.part(part), *(a.part(rows) for a in A[:-1])]
        caches = [cache.part(rows) for cache in caches]
        for number in range(1, self.L + 1):
            Z, a = caches[number - 1], A[number - 1].part(rows)
            asm.operation(self.plan.product(number))
            asm.product(inputs[number - 1], self.W[number - 1], Z, transpose_b=True)
            asm.operation(self.plan.tail(number))
            self.tail(asm, number, Z, a, 0, False)
            self.drop(asm, number, a, part.start, 0, False)
        asm.operation(self.plan.loss)
        self.loss(asm, caches[-1], part.start, address(scratch), own.db[-1])
        for number in range(self.L, 0, -1):
            self._weight_gradient(
                asm, number, caches[number - 1], inputs[number - 1], own, order, first
            )
            if number > 1:
                self._back(asm, number, part, caches, scratch, own.db[number - 2])

    def _weight_gradient(
        self,
        asm: Assembler,
        number: int,
        dZ: Matrix,
        A_prev: Matrix,
        own: _Gradient,
        order: list[int],
        first: bool,
    ) -> None:
        dW, alpha = own.dW[number - 1], op.SCALAR_MEAN
        beta = op.SCALAR_ZERO if first else op.SCALAR_ONE
        if number not in self.sharing.turns:
            asm.operation(self.plan.weight_gradient(number))
            asm.product(dZ, A_prev, dW, transpose_a=True, alpha=alpha, beta=beta)
            return
        if number == 1 and self._descends:
            dW, alpha, beta = self.W[0], op.SCALAR_DESCEND, op.SCALAR_ONE
            if self.sharing.turns == (1,):
                self.barrier(asm)  # all have read W[1]
        shares = self.sharing.shares(number)
        for turn, share in enumerate(order):
            if turn:
                self.barrier(asm)
                beta = op.SCALAR_ONE
            rows, columns = shares[share]
            if count(rows) and count(columns):
                asm.operation(self.plan.weight_gradient(number))
                asm.product(
                    dZ.part(columns=rows), A_prev.part(columns=columns), dW.part(rows, columns),
                    transpose_a=True, alpha=alpha, beta=beta,
                )  # fmt: skip

    def _back(
        self,
        asm: Assembler,
        number: int,
        part: slice,
        caches: list[Matrix],
        scratch: Array,
        db: int,
    ) -> None:
        """dZ[l-1] in pieces, in the place of A[l-1] (or Z[l-1])."""
        dZ, width = caches[number - 1], self.n[number - 1]
        for piece in pieces(count(part), width, scratch.size):
            dA = Matrix.of(scratch)._replace(rows=count(piece), columns=width, ld=width)
            asm.operation(self.plan.product_back(number - 1))
            asm.product(dZ.part(piece), self.W[number - 1], dA)
            asm.operation(self.plan.back(number - 1))
            self.drop(asm, number - 1, dA, part.start + piece.start, 0, False)
            self.back(asm, number - 1, dA, caches[number - 2].part(piece), db, False)

    # -- the end ----------------------------------------------------------------------------------

    def _finish(
        self,
        asm: Assembler,
        worker: int,
        gradients: list[_Gradient],
        runs: list[_Run],
        last_share: int,
    ) -> None:
        """Put the private gradients together, and update; each worker a part of both."""
        # After the turns for dW[1] all have ended everything but dW[1], and a share is complete.
        if 1 not in self.sharing.turns:
            self.barrier(asm)
        asm.operation(self.plan.update)
        for number in self.sharing.turns:
            if number == 1 and self._descends:
                continue
            rows, columns = self.sharing.shares(number)[last_share]
            start, n_prev = self.starts[number - 1], self.n[number - 1]
            if count(columns) == n_prev:
                self.update(asm, start + rows.start * n_prev, count(rows) * n_prev)
                continue
            for row in range(rows.start, rows.stop):
                self.update(asm, start + row * n_prev + columns.start, count(columns))
        mine = ranges(sum(run.size for run in runs), self.workers, 64)[worker]
        for run in runs:
            begin, end = max(mine.start, run.offset), min(mine.stop, run.offset + run.size)
            if begin >= end:
                continue
            first, size = run.first + begin - run.offset, self.dtype.itemsize
            for other in gradients[1:]:
                target = address(self.gradient.flat) + first * size
                asm.add(target, other.private + begin * size, end - begin)
            self.update(asm, first, end - begin)
        self.barrier(asm)
