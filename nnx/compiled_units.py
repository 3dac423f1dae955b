"""A compiled step shared by units.

Each worker owns some units of every layer, computes their Z, A, dZ and the rows of dW that belong
to them, and waits for the others once per layer.

W[1] of plain gradient descent is updated by its own gradient product, W := W - alpha/m dZ X^T.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from nnx.backends.engine import interpreter as op
from nnx.backends.engine.assembler import Assembler, Matrix
from nnx.backends.engine.launch import address
from nnx.compiled_writer import Writer
from nnx.sharing import count, pieces, ranges

Array = Any


class ByUnits(Writer):
    """Each worker takes all examples through its units of every layer."""

    def write(self) -> Iterator[Assembler]:
        """The instructions, worker by worker."""
        P, in_rows = self.workers, self.sharing.units_in_rows
        A, caches = self.layer_buffers(self.m, in_rows)
        examples, units = self.sharing.examples, self.sharing.units
        db_output = self.empty(P, self.sharing.db_row)
        # Z[L], in parts that are added up.
        in_parts = self.sharing.parts_of_output == P
        parts = [A[-1]]
        parts += [Matrix.of(self.empty(self.m, self.n[-1])) for _ in range(1, P) if in_parts]
        for worker in range(P):
            own = [parts[worker] for parts in units]
            scratch = self.empty(1, self.sharing.scratch(worker))
            asm = Assembler(self.constants)
            self._zero_biases(asm, own, address(db_output[worker]))
            self.gather(asm, examples[worker])
            if self.gathered:
                self.barrier(asm)
            for number in range(1, self.L):
                self._forward(asm, number, own[number], A, caches)
                if number < self.L - 1 or not in_parts:
                    self.barrier(asm)
            if self.L > 1 and in_parts:
                self._output_part(asm, own[-2], A[-2], parts[worker])
                self.barrier(asm)
            elif self.L > 1:
                self._output_columns(asm, own[-1], A[-2], A[-1])
                self.barrier(asm)
            self._output_forward(asm, examples[worker], parts, address(scratch), db_output[worker])
            self.barrier(asm)
            if worker == 0:
                asm.operation(self.plan.update)
                target = address(self.gradient.layers[-1]["b"])
                asm.zero(target, self.n[-1])
                for row in db_output:
                    asm.add(target, address(row), self.n[-1])
            self._backward(asm, own, A, caches, scratch)
            self.barrier(asm)
            asm.operation(self.plan.update)
            for first, size in self._parts(worker, own):
                self.update(asm, first, size)
            self.barrier(asm)
            yield asm

    def _zero_biases(self, asm: Assembler, own: list[slice], db_output: int) -> None:
        asm.operation(self.plan.update)
        for number in range(1, self.L):
            db = address(self.gradient.layers[number - 1]["b"])
            asm.zero(db + own[number].start * self.dtype.itemsize, count(own[number]))
        asm.zero(db_output, self.n[-1])

    def _units_of(self, matrix: Matrix, units: slice) -> Matrix:
        """Those units of a hidden layer's matrix."""
        in_rows = self.sharing.units_in_rows
        return matrix.part(units) if in_rows else matrix.part(columns=units)

    def _forward(
        self, asm: Assembler, number: int, own: slice, A: list[Matrix], caches: list[Matrix]
    ) -> None:
        if not count(own):
            return
        in_rows = self.sharing.units_in_rows
        A_prev = self.X if number == 1 else A[number - 2]
        W, Z = self.W[number - 1].part(own), self._units_of(caches[number - 1], own)
        asm.operation(self.plan.product(number))
        if in_rows:
            asm.product(W, A_prev, Z, transpose_b=number == 1)
        else:
            asm.product(A_prev, W, Z, transpose_b=True)
        a = self._units_of(A[number - 1], own)
        asm.operation(self.plan.tail(number))
        self.tail(asm, number, Z, a, own.start, in_rows)
        self.drop(asm, number, a, 0, own.start, in_rows)

    def _output_part(self, asm: Assembler, own: slice, A_prev: Matrix, part: Matrix) -> None:
        """W[L] A[L-1] over this worker's units of layer L - 1.

        No other worker reads A[L-1]: only sums of n_y numbers for each example cross over.
        """
        asm.operation(self.plan.product(self.L))
        if not count(own):
            asm.zero(part.address, part.rows * part.columns)
            return
        A_prev, W = self._units_of(A_prev, own), self.W[-1].part(columns=own)
        asm.product(A_prev, W, part, transpose_a=self.sharing.units_in_rows, transpose_b=True)

    def _output_columns(self, asm: Assembler, own: slice, A_prev: Matrix, Z: Matrix) -> None:
        """This worker's columns of Z[L], one for each of its output units."""
        if not count(own):
            return
        asm.operation(self.plan.product(self.L))
        asm.product(
            A_prev, self.W[-1].part(own), Z.part(columns=own),
            transpose_a=self.sharing.units_in_rows, transpose_b=True,
        )  # fmt: skip

    def _output_forward(
        self, asm: Assembler, examples: slice, parts: list[Matrix], scratch: int, db: Array
    ) -> None:
        """Z[L] of some examples, added up from its parts, their cost, and dZ[L]."""
        if not count(examples):
            return
        Z, *others = (part.part(examples) for part in parts)
        if self.L == 1:
            asm.operation(self.plan.product(self.L))
            asm.product(self.X.part(examples), self.W[-1], Z, transpose_b=True)
        asm.operation(self.plan.tail(self.L))
        for other in others:
            asm.add(Z.address, other.address, Z.rows * Z.columns)
        self.tail(asm, self.L, Z, Z, 0, False)
        asm.operation(self.plan.loss)
        self.loss(asm, Z, examples.start, scratch, address(db))

    def _backward(
        self,
        asm: Assembler,
        own: list[slice],
        A: list[Matrix],
        caches: list[Matrix],
        scratch: Array,
    ) -> None:
        for number in range(self.L, 0, -1):
            asm.operation(self.plan.weight_gradient(number))
            if number == self.L:
                self._output_weight_gradient(asm, own[number - 1], A)
            elif count(own[number]):
                dZ = self._units_of(caches[number - 1], own[number])
                A_prev = self.X if number == 1 else A[number - 2]
                dW, scalars = self._gradient_of_W(number)
                across = self.sharing.units_in_rows
                asm.product(
                    dZ, A_prev, dW.part(own[number]), transpose_a=not across,
                    transpose_b=across and number > 1, **scalars,
                )  # fmt: skip
            if number > 1:
                if number < self.L:
                    self.barrier(asm)  # A[l-1] has been read, and dZ[l] is complete
                self._back(asm, number, own[number - 1], caches, scratch)

    def _gradient_of_W(self, number: int) -> tuple[Matrix, dict[str, int]]:
        """Where the gradient of W[l] goes: into W[1] itself where plain descent allows it."""
        if number == 1 and self.plain_descent:
            return self.W[0], {"alpha": op.SCALAR_DESCEND, "beta": op.SCALAR_ONE}
        return Matrix.of(self.gradient.layers[number - 1]["W"]), {"alpha": op.SCALAR_MEAN}

    def _output_weight_gradient(self, asm: Assembler, own: slice, A: list[Matrix]) -> None:
        """dW[L], the columns of this worker's units of layer L - 1."""
        if not count(own):
            return
        dW, scalars = self._gradient_of_W(self.L)
        if self.L == 1:
            A_prev, across = self.X.part(columns=own), False
        else:
            A_prev, across = self._units_of(A[-2], own), self.sharing.units_in_rows
        asm.product(
            A[-1], A_prev, dW.part(columns=own), transpose_a=True, transpose_b=across, **scalars
        )

    def _back(
        self, asm: Assembler, number: int, own: slice, caches: list[Matrix], scratch: Array
    ) -> None:
        """dZ[l-1] of this worker's units, in pieces, in the place of A[l-1] (or Z[l-1])."""
        in_rows, width = self.sharing.units_in_rows, count(own)
        if not width:
            return
        db = address(self.gradient.layers[number - 2]["b"])
        W, dZ = self.W[number - 1], caches[number - 1]
        long, other = (width, self.m) if in_rows else (self.m, width)
        for piece in pieces(long, other, scratch.size):
            if not count(piece):
                continue
            dA = Matrix.of(scratch)._replace(rows=count(piece), columns=other, ld=other)
            asm.operation(self.plan.product_back(number - 1))
            if in_rows:
                mine, example = slice(own.start + piece.start, own.start + piece.stop), 0
                asm.product(
                    W.part(columns=mine), dZ, dA, transpose_a=True, transpose_b=number == self.L
                )
                cache = caches[number - 2].part(mine)
            else:
                mine, example = own, piece.start
                asm.product(dZ.part(piece), W.part(columns=own), dA)
                cache = caches[number - 2].part(piece, own)
            asm.operation(self.plan.back(number - 1))
            self.drop(asm, number - 1, dA, example, mine.start, in_rows)
            sums = db + mine.start * self.dtype.itemsize
            self.back(asm, number - 1, dA, cache, sums, in_rows)

    def _parts(self, worker: int, own: list[slice]) -> list[tuple[int, int]]:
        """Parts (first, size) of the flat vector that this worker updates.

        Rows of dW that it has computed itself are in its cache; the rest is shared out evenly.
        """
        parts, rest = [], self.starts[self.L - 1]  # W[L], whose columns were shared, and biases
        for number in range(2 if self.plain_descent else 1, self.L):
            n_prev, rows = self.n[number - 1], own[number]
            first = self.starts[number - 1] + rows.start * n_prev
            parts.append((first, count(rows) * n_prev))
        if self.plain_descent and self.L == 1:
            rest = self.starts[1]
        even = ranges(self.gradient.flat.size - rest, self.workers, 64)[worker]
        return [*parts, (rest + even.start, count(even))]
