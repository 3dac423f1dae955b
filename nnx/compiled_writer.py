"""What the two ways to share a compiled step have in common: buffers and the parts of a layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from nnx.backends.cpu import aligned
from nnx.backends.engine import elementwise, kernels
from nnx.backends.engine import interpreter as op
from nnx.backends.engine.assembler import Assembler, Matrix
from nnx.backends.engine.launch import address
from nnx.backends.reference.dropout import threshold
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.updates import GradientDescentRule, UpdateRule
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import FlatVector
from nnx.plan import Plan
from nnx.sharing import Sharing, count

Array = Any

LOSSES = {
    "CategoricalCrossEntropy": kernels.CROSS_ENTROPY,
    "ClippedCategoricalCrossEntropy": kernels.CLIPPED_CROSS_ENTROPY,
    "BinaryCrossEntropy": kernels.BINARY_CROSS_ENTROPY,
    "ClippedBinaryCrossEntropy": kernels.CLIPPED_BINARY_CROSS_ENTROPY,
    "MeanSquaredError": kernels.SQUARED,
    "HalfSquaredError": kernels.HALF_SQUARED,
    "MeanAbsoluteError": kernels.ABSOLUTE,
    "Huber": kernels.HUBER,
    "Poisson": kernels.POISSON,
    "PoissonDeviance": kernels.POISSON_DEVIANCE,
}


class Writer(ABC):
    """Writes the instructions of all workers for one step; `nnx.compiled.Program` has the rest.

    Attributes
    ----------
    constants : list of float
        Those that the instructions number.
    y_bytes : int
        Of one example of Y.
    """

    def __init__(
        self,
        model: Model,
        m: int,
        plan: Plan,
        sharing: Sharing,
        gradient: FlatVector,
        slots: dict[str, Array],
        rule: UpdateRule | None,
        *,
        labels: bool,
        weighted: bool,
        gathered: bool,
    ) -> None:
        self.constants: list[float] = []
        self.model, self.m, self.plan, self.sharing = model, m, plan, sharing
        self.gradient, self.slots, self.rule = gradient, slots, rule
        self.labels, self.weighted, self.gathered = labels, weighted, gathered
        self.layers: list[Dense] = [la for la in model.layers if isinstance(la, Dense)]
        self.n, self.L, self.workers = model.n, model.L, sharing.workers
        self.dtype = np.dtype(model.dtype)
        self.plain_descent = type(rule) is GradientDescentRule and not model.penalty
        self._buffers: list[Array] = []
        self.W = [Matrix.of(views["W"]) for views in model.vector.layers]
        self.b = [address(views["b"]) for views in model.vector.layers]
        # Where W[1], W[2], ... begin in the flat vector, and where they end.
        self.starts = [*(starts["W"] for starts in gradient.starts), gradient.penalised]
        y_columns = 1 if labels else self.n[-1]
        self.y_bytes = 8 if labels else y_columns * self.dtype.itemsize
        if gathered:
            self.X = Matrix.of(self.empty(m, self.n[0]))
            kind = np.int64 if labels else self.dtype
            self.Y = address(self._keep(aligned((m, y_columns), kind)))
        else:
            row = self.n[0]
            self.X, self.Y = Matrix(0, m, row, row, self.dtype.itemsize, op.X), 0

    @abstractmethod
    def write(self) -> Iterator[Assembler]:
        """The instructions, worker by worker."""

    @property
    def bytes(self) -> int:
        """Memory of the buffers."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def _keep(self, buffer: Array) -> Array:
        self._buffers.append(buffer)
        return buffer

    def empty(self, rows: int, columns: int) -> Array:
        """A buffer (rows, columns) that stays as long as the program."""
        return self._keep(aligned((rows, columns), self.dtype))

    def _matrix(self, rows: int, columns: int, number: int) -> Matrix:
        """A matrix of layer `number`; where workers share its columns, they share no cache line."""
        if number == self.L:
            return Matrix.of(self.empty(rows, columns))
        return Matrix.of(self.empty(rows, self.sharing.padded(columns))[:, :columns])

    def layer_buffers(self, rows: int, transposed: bool = False) -> tuple[list[Matrix], ...]:
        """A[l] for every layer, and what g' is written from: A[l] itself, or a Z[l] beside it."""
        A, caches = [], []
        for number, (layer, n) in enumerate(zip(self.layers, self.n[1:], strict=True), 1):
            shape = (n, rows) if transposed and number < self.L else (rows, n)
            A.append(self._matrix(*shape, number))
            keeps_Z = layer.g.derivative_from == "Z" and number < self.L
            caches.append(self._matrix(*shape, number) if keeps_Z else A[-1])
        return A, caches

    def tail(
        self, asm: Assembler, number: int, z: Matrix, a: Matrix, first: int, by_row: bool
    ) -> None:
        """A[l] = g(Z[l] + b[l]); the output layer's g is applied with the loss."""
        g = self.layers[number - 1].g
        bias = self.b[number - 1] + first * self.dtype.itemsize
        if number == self.L:
            asm.tail(z, z, bias, by_row, elementwise.IDENTITY, 0.0)
        else:
            asm.tail(z, a, bias, by_row, elementwise.CODES[g.builtin or ""], float(_alpha(g)))

    def drop(
        self, asm: Assembler, number: int, a: Matrix, example: int, unit: int, by_row: bool
    ) -> None:
        """Dropout of A[l] or dA[l], from this example and unit on."""
        keep_prob = self.layers[number - 1].keep_prob
        if keep_prob < 1:
            asm.drop(
                a, example, unit, self.n[number], by_row, number, threshold(keep_prob),
                1 / keep_prob,
            )  # fmt: skip

    def back(
        self, asm: Assembler, number: int, d: Matrix, cache: Matrix, sums: int, by_row: bool
    ) -> None:
        """dZ[l] = dA[l] * g', in the place of the cache, and db[l]."""
        layer = self.layers[number - 1]
        # After dropout A[l] holds g(Z) / keep_prob where units were kept.
        unscale = layer.keep_prob if layer.g.derivative_from == "A" else 1.0
        code = elementwise.CODES[layer.g.builtin or ""]
        asm.back(d, cache, sums, by_row, code, float(_alpha(layer.g)), unscale)

    def loss(self, asm: Assembler, z: Matrix, first: int, scratch: int, sums: int) -> None:
        """The costs of the examples from `first` on, and dZ[L] in the place of Z[L]."""
        loss, g = self.model.loss, self.layers[-1].g
        weights = first * self.dtype.itemsize if self.weighted else -1
        asm.loss(
            z, self.Y + first * self.y_bytes, self.labels, weights, LOSSES[type(loss).__name__],
            _parameter(loss), elementwise.CODES.get(g.builtin or "", 0), float(_alpha(g)), scratch,
            sums,
        )  # fmt: skip

    def gather(self, asm: Assembler, part: slice) -> None:
        """Pick these examples of the batch out of the data."""
        if not self.gathered:
            return
        asm.operation(self.plan.gather)
        X, rows = self.X.part(part), count(part)
        asm.gather(op.SOURCE_X, 8 * part.start, X.address, rows, self.n[0] * self.dtype.itemsize)
        y = self.Y + part.start * self.y_bytes
        asm.gather(op.SOURCE_Y, 8 * part.start, y, rows, self.y_bytes)

    def update(self, asm: Assembler, first: int, size: int) -> None:
        """Update `size` parameters of the flat vector by their gradient."""
        if self.rule is None or not size:
            return
        offset = first * self.dtype.itemsize
        theta = address(self.model.theta) + offset
        gradient = address(self.gradient.flat) + offset
        penalised = min(size, self.gradient.penalised - first)
        if self.model.penalty and penalised > 0:
            asm.penalise(theta, gradient, penalised)
        slots = [address(slot) + offset for slot in self.slots.values()]
        slot1, slot2 = (slots + [theta, theta])[:2]
        asm.update(theta, gradient, slot1, slot2, size)

    def barrier(self, asm: Assembler) -> None:
        """Wait for all workers."""
        if self.workers > 1:
            asm.operation(self.plan.wait)
            asm.barrier()


def _alpha(g: Any) -> float:
    return getattr(g, "alpha", 0.0)


def _parameter(loss: Loss) -> float:
    return float(getattr(loss, "label_smoothing", getattr(loss, "delta", 0.0)))
