"""Writes the instructions of one worker; `interpreter` says what they do and runs them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nnx.backends.engine import interpreter as op
from nnx.backends.engine import pieces
from nnx.backends.engine.lowlevel import KEEP, TRANSPOSE

Array = Any


class Matrix(NamedTuple):
    """Where a matrix lies: rows of contiguous numbers, `ld` numbers from row to row.

    Attributes
    ----------
    address : int
        In bytes; from the beginning of `slot`, where that is not FIXED.
    rows, columns, ld : int
    size : int
        Bytes of a number.
    slot : int
    """

    address: int
    rows: int
    columns: int
    ld: int
    size: int
    slot: int = op.FIXED

    @classmethod
    def of(cls, array: Array) -> Matrix:
        """A C-ordered NumPy matrix."""
        rows, columns = array.shape
        # From a single row nothing follows, and NumPy may say anything of the way to the next.
        ld = columns if rows == 1 else array.strides[0] // array.itemsize
        return cls(array.ctypes.data, rows, columns, ld, array.itemsize)

    def part(self, rows: slice = slice(None), columns: slice = slice(None)) -> Matrix:
        """Some of the rows and columns."""
        r, r_end, _ = rows.indices(self.rows)
        c, c_end, _ = columns.indices(self.columns)
        address = self.address + (r * self.ld + c) * self.size
        return self._replace(address=address, rows=r_end - r, columns=c_end - c)


class Assembler:
    """The instructions of one worker, in order.

    Parameters
    ----------
    constants : list of float
        The program's table of constants, shared by its workers; entries are added here.
    """

    def __init__(self, constants: list[float]) -> None:
        self._rows: list[list[int]] = []
        self._constants = constants
        self._operation = 0

    def operation(self, number: int) -> None:
        """The instructions that follow belong to this operation of the plan."""
        self._operation = number

    def code(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The table, one instruction in a row."""
        table = np.zeros((len(self._rows), op.WIDTH), np.int64)
        for i, row in enumerate(self._rows):
            table[i, : len(row)] = row
        return table

    def _add(self, kind: int, *operands: int) -> None:
        self._rows.append([kind, self._operation, *operands])

    def _constant(self, value: float) -> int:
        if value not in self._constants:
            self._constants.append(value)
        return self._constants.index(value)

    def product(
        self,
        a: Matrix,
        b: Matrix,
        c: Matrix,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        alpha: int = op.SCALAR_ONE,
        beta: int = op.SCALAR_ZERO,
    ) -> None:
        """C := alpha op(A) op(B) + beta C, in pieces where that is faster."""
        cut = pieces.pay()
        m, k = (a.columns, a.rows) if transpose_a else (a.rows, a.columns)
        k_b, n = (b.columns, b.rows) if transpose_b else (b.rows, b.columns)
        assert (m, n, k) == (c.rows, c.columns, k_b), (a, b, c)
        trans_a, trans_b = (TRANSPOSE if flag else KEEP for flag in (transpose_a, transpose_b))
        whole = ((slice(0, m), slice(0, n)),)
        for rows, columns in pieces.pieces(m, n, k, transpose_a, transpose_b) if cut else whole:
            left = a.part(columns=rows) if transpose_a else a.part(rows)
            right = b.part(columns) if transpose_b else b.part(columns=columns)
            part = c.part(rows, columns)
            self._add(
                op.GEMM, trans_a, trans_b, part.rows, part.columns, k, alpha,
                left.slot, left.address, left.ld, right.slot, right.address, right.ld,
                beta, part.address, part.ld,
            )  # fmt: skip

    def tail(
        self, z: Matrix, a: Matrix, bias: int, bias_by_row: bool, activation: int, alpha: float
    ) -> None:
        """A := g(Z + b); a is z, or where z is kept another matrix of the same form."""
        assert z[1:4] == a[1:4]
        self._add(
            op.TAIL, z.address, a.address, z.rows, z.columns, z.ld, bias, int(bias_by_row),
            activation, self._constant(alpha),
        )  # fmt: skip

    def back(
        self,
        d: Matrix,
        cache: Matrix,
        sums: int,
        sums_by_row: bool,
        activation: int,
        alpha: float,
        unscale: float,
    ) -> None:
        """dZ := dA g'(unscale cache), in the place of the cache; sums += its means."""
        assert d[1:3] == cache[1:3]
        self._add(
            op.BACK, d.address, d.ld, cache.address, d.rows, d.columns, cache.ld, sums,
            int(sums_by_row), activation, self._constant(alpha), self._constant(unscale),
        )  # fmt: skip

    def drop(
        self,
        a: Matrix,
        example: int,
        unit: int,
        units: int,
        by_row: bool,
        layer: int,
        threshold: int,
        scale: float,
    ) -> None:
        """Drop units of A (or of dA), of which a row is one example, or (by_row) one unit."""
        self._add(
            op.DROP, a.address, a.rows, a.columns, a.ld, example, unit, units, int(by_row), layer,
            threshold, self._constant(scale),
        )  # fmt: skip

    def loss(
        self,
        z: Matrix,
        y: int,
        labels: bool,
        weights: int,
        kind: int,
        parameter: float,
        activation: int,
        alpha: float,
        scratch: int,
        sums: int,
    ) -> None:
        """dZ[L] in the place of Z[L]; y and weights are offsets in their slots."""
        assert z.columns == z.ld
        self._add(
            op.LOSS, z.address, z.rows, z.columns, y, int(labels), weights, kind,
            self._constant(parameter), activation, self._constant(alpha), scratch, sums,
        )  # fmt: skip

    def zero(self, address: int, count: int) -> None:
        """Set `count` numbers to zero."""
        self._add(op.ZERO, address, count)

    def add(self, target: int, source: int, count: int) -> None:
        """target[:count] += source[:count]."""
        self._add(op.ADD, target, source, count)

    def penalise(self, theta: int, gradient: int, count: int) -> None:
        """Add the gradient of the penalties, and count their cost."""
        self._add(op.PENALISE, theta, gradient, count)

    def update(self, theta: int, gradient: int, slot1: int, slot2: int, count: int) -> None:
        """Move `count` parameters along their gradient."""
        self._add(op.UPDATE, theta, gradient, slot1, slot2, count)

    def gather(self, source: int, offset: int, target: int, rows: int, row_bytes: int) -> None:
        """Copy the examples whose positions stand in the slot INDEX, from `offset` bytes on."""
        self._add(op.GATHER, source, op.INDEX, offset, target, rows, row_bytes)

    def output(self, z: Matrix, offset: int, activation: int, alpha: float) -> None:
        """A[L] := g(Z[L]), into the slot Y from `offset` bytes on."""
        assert z.columns == z.ld
        self._add(
            op.OUTPUT, z.address, z.rows, z.columns, offset, activation, self._constant(alpha)
        )

    def barrier(self) -> None:
        """Wait for all workers."""
        self._add(op.BARRIER)
