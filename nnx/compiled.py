"""A training step for the CPU as one compiled program; the plan says which worker does what.

Two ways to share the work, whichever suits the shapes:

- by examples: each worker takes its examples through forward and backward in blocks that stay in
  its cache, and adds up a gradient of its own; the gradients are added at the end;
- by units: each worker owns some units of every layer, computes their Z, A, dZ and the rows of dW
  that belong to them, and waits for the others once per layer.

W[1] of plain gradient descent is updated by its own gradient product, W := W - alpha/m dZ X^T.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnx.backends.cpu import aligned
from nnx.backends.engine import elementwise, kernels
from nnx.backends.engine import interpreter as op
from nnx.backends.engine.assembler import Assembler, Matrix
from nnx.backends.engine.launch import Launch
from nnx.backends.reference.dropout import threshold
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import FlatVector
from nnx.plan import Plan
from nnx.sharing import Sharing, pieces, ranges

Array = Any


def unsupported(model: Model) -> str | None:
    """Return what keeps this network from being compiled; None where nothing does."""
    for number, layer in enumerate(model.layers, 1):
        if not isinstance(layer, Dense):
            return f"layer {number} is a {type(layer).__name__}"
        if number < model.L and layer.g.builtin not in elementwise.CODES:
            return f"the activation {layer.g.name} of layer {number} has no compiled form"
    loss, g = model.loss, model.layers[-1].g  # type: ignore[attr-defined]
    kind = type(loss).__name__
    if kind not in _LOSSES or not type(loss).__module__.startswith("nnx."):
        return f"the loss {loss.name} has no compiled form"
    if loss.link != "identity" and g.builtin != loss.link:
        return f"{loss.name} has no compiled form with the output {g.name}"
    if loss.link == "identity" and (g.builtin not in elementwise.CODES or g.derivative_from == "Z"):
        return f"{loss.name} has no compiled form with the output {g.name}"
    return None


_LOSSES = {
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


def _parameter(loss: Loss) -> float:
    return float(getattr(loss, "label_smoothing", getattr(loss, "delta", 0.0)))


def rule_numbers(rule: UpdateRule) -> tuple[float, ...] | None:
    """The rule's number and its constants c0 ... c3; None where it has no compiled form."""
    if type(rule) is GradientDescentRule:
        return kernels.DESCENT, 0.0, 0.0, 0.0, 0.0
    if type(rule) is MomentumRule:
        kind = kernels.NESTEROV if rule.nesterov else kernels.MOMENTUM
        return kind, rule.beta, 0.0, 0.0, 0.0
    if type(rule) is RMSpropRule:
        return kernels.RMSPROP, rule.beta, rule.epsilon, 0.0, 0.0
    if type(rule) is AdamRule:
        kind = kernels.ADAM_HAT if rule.epsilon_hat else kernels.ADAM
        return kind, rule.beta1, rule.beta2, rule.epsilon, rule.weight_decay
    return None


def _count(part: slice) -> int:
    return int(part.stop - part.start)


class Program:
    """The instructions of all workers for one step over m examples, and the buffers they use.

    Parameters
    ----------
    model : Network
        Of dense layers that `unsupported` has nothing against.
    m : int
        Examples in a batch.
    workers : int
    gradient : FlatVector
        Receives the gradient; not that of W[1] where the update is part of its product.
    slots : mapping of str to array
        The optimizer's state vectors.
    rule : UpdateRule or None
        None leaves the parameters as they are.
    labels, weighted : bool
        Whether Y holds labels (m,), and whether the examples have weights.
    gathered : bool
        Whether each batch is picked out of the data by positions.
    """

    def __init__(
        self,
        model: Model,
        m: int,
        workers: int,
        gradient: FlatVector,
        slots: dict[str, Array],
        rule: UpdateRule | None,
        *,
        labels: bool,
        weighted: bool,
        gathered: bool,
    ) -> None:
        self.model, self.m, self.gradient, self.slots, self.rule = model, m, gradient, slots, rule
        self.labels, self.weighted, self.gathered = labels, weighted, gathered
        self.layers: list[Dense] = [la for la in model.layers if isinstance(la, Dense)]
        self.n, self.L = model.n, model.L
        self.dtype = np.dtype(model.dtype)
        self.plan = Plan(model, m, gathered=gathered, update=rule is not None, slots=len(slots))
        self.sharing = Sharing(self.n, m, workers, model.theta.size)
        self.workers, self.by_examples = self.sharing.workers, self.sharing.by_examples
        self.units_in_rows = self.sharing.units_in_rows
        self._buffers: list[Array] = []
        self._constants: list[float] = []
        self._W = [Matrix.of(views["W"]) for views in model.vector.layers]
        self._b = [_address(views["b"]) for views in model.vector.layers]
        self.fused = (
            not self.by_examples and type(rule) is GradientDescentRule and not model.penalty
        )
        y_columns = 1 if labels else self.n[-1]
        self._y_bytes = 8 if labels else y_columns * self.dtype.itemsize
        if gathered:
            self._X = Matrix.of(self._empty(m, self.n[0]))
            kind = np.int64 if labels else self.dtype
            self._Y = _address(self._keep(aligned((m, y_columns), kind)))
        else:
            row = self.n[0]
            self._X = Matrix(0, m, row, row, self.dtype.itemsize, op.X)
        write = self._by_examples if self.by_examples else self._by_units
        penalties = (model.penalty.l2 / m, model.penalty.l1 / m) if rule is not None else (0, 0)
        numbers = (rule_numbers(rule) if rule is not None else None) or (0.0,) * 5
        codes = [assembler.code() for assembler in write()]
        self.launch = Launch(
            codes,
            self._constants or [0.0],
            (*numbers, *penalties),
            m=m,
            dtype=model.dtype,
            seed=model.seed,
            row_bytes=(self.n[0] * self.dtype.itemsize, self._y_bytes, self.dtype.itemsize),
            gathered=gathered,
        )

    @property
    def bytes(self) -> int:
        """Memory of the buffers beside parameters, gradient and optimizer state."""
        return sum(buffer.nbytes for buffer in self._buffers)

    # -- buffers ----------------------------------------------------------------------------------

    def _keep(self, buffer: Array) -> Array:
        self._buffers.append(buffer)
        return buffer

    def _empty(self, rows: int, columns: int) -> Array:
        return self._keep(aligned((rows, columns), self.dtype))

    def _matrix(self, rows: int, columns: int, number: int) -> Matrix:
        """A matrix of layer `number`; where workers share its columns, they share no cache line."""
        if number == self.L:
            return Matrix.of(self._empty(rows, columns))
        return Matrix.of(self._empty(rows, self.sharing.padded(columns))[:, :columns])

    def _layer_buffers(self, rows: int, transposed: bool = False) -> tuple[list[Matrix], ...]:
        """A[l] for every layer, and what g' is written from: A[l] itself, or a Z[l] beside it."""
        A, caches = [], []
        for number, (layer, n) in enumerate(zip(self.layers, self.n[1:], strict=True), 1):
            shape = (n, rows) if transposed and number < self.L else (rows, n)
            A.append(self._matrix(*shape, number))
            keeps_Z = layer.g.derivative_from == "Z" and number < self.L
            caches.append(self._matrix(*shape, number) if keeps_Z else A[-1])
        return A, caches

    # -- the parts of both plans ------------------------------------------------------------------

    def _tail(
        self, asm: Assembler, number: int, z: Matrix, a: Matrix, first: int, by_row: bool
    ) -> None:
        """A[l] = g(Z[l] + b[l]); the output layer's g is applied with the loss."""
        g = self.layers[number - 1].g
        bias = self._b[number - 1] + first * self.dtype.itemsize
        if number == self.L:
            asm.tail(z, z, bias, by_row, elementwise.IDENTITY, 0.0)
        else:
            asm.tail(z, a, bias, by_row, elementwise.CODES[g.builtin or ""], float(_alpha(g)))

    def _drop(
        self, asm: Assembler, number: int, a: Matrix, example: int, unit: int, by_row: bool
    ) -> None:
        keep_prob = self.layers[number - 1].keep_prob
        if keep_prob < 1:
            asm.drop(
                a, example, unit, self.n[number], by_row, number, threshold(keep_prob),
                1 / keep_prob,
            )  # fmt: skip

    def _back(
        self, asm: Assembler, number: int, d: Matrix, cache: Matrix, sums: int, by_row: bool
    ) -> None:
        layer = self.layers[number - 1]
        # After dropout A[l] holds g(Z) / keep_prob where units were kept.
        unscale = layer.keep_prob if layer.g.derivative_from == "A" else 1.0
        code = elementwise.CODES[layer.g.builtin or ""]
        asm.back(d, cache, sums, by_row, code, float(_alpha(layer.g)), unscale)

    def _loss(self, asm: Assembler, z: Matrix, first: int, scratch: int, sums: int) -> None:
        loss, g = self.model.loss, self.layers[-1].g
        y = (self._Y if self.gathered else 0) + first * self._y_bytes
        weights = first * self.dtype.itemsize if self.weighted else -1
        asm.loss(
            z, y, self.labels, weights, _LOSSES[type(loss).__name__], _parameter(loss),
            elementwise.CODES.get(g.builtin or "", 0), float(_alpha(g)), scratch, sums,
        )  # fmt: skip

    def _gather(self, asm: Assembler, part: slice) -> None:
        if not self.gathered:
            return
        asm.operation(self.plan.gather)
        X, rows = self._X.part(part), _count(part)
        asm.gather(op.SOURCE_X, 8 * part.start, X.address, rows, self.n[0] * self.dtype.itemsize)
        y = self._Y + part.start * self._y_bytes
        asm.gather(op.SOURCE_Y, 8 * part.start, y, rows, self._y_bytes)

    def _finish(
        self, asm: Assembler, worker: int, others: Sequence[Array], own: Sequence[slice] = ()
    ) -> None:
        """Add the other workers' gradients to this worker's part of the vector, and update it.

        own : this worker's units of every layer, where it has computed their rows of dW.
        """
        size, gradient = self.dtype.itemsize, self.gradient
        asm.operation(self.plan.update)
        for first, count in self._parts(worker, own):
            offset = first * size
            for other in others:
                asm.add(_address(gradient.flat) + offset, _address(other) + offset, count)
            if self.rule is None:
                continue
            theta = _address(self.model.theta) + offset
            penalised = min(count, gradient.penalised - first)
            if self.model.penalty and penalised > 0:
                asm.penalise(theta, _address(gradient.flat) + offset, penalised)
            slots = [_address(slot) + offset for slot in self.slots.values()]
            slot1, slot2 = (slots + [theta, theta])[:2]
            asm.update(theta, _address(gradient.flat) + offset, slot1, slot2, count)
        self._barrier(asm)

    def _parts(self, worker: int, own: Sequence[slice]) -> list[tuple[int, int]]:
        """Parts (first, count) of the flat vector that this worker updates.

        Rows of dW that it has computed itself are in its cache; the rest is shared out evenly.
        """
        starts = [
            (_address(views["W"]) - _address(self.model.theta)) // self.dtype.itemsize
            for views in self.model.vector.layers
        ]
        starts.append(self.gradient.penalised)
        parts, rest = [], 0
        if own:
            rest = starts[self.L - 1]  # W[L], whose columns were shared out, and the biases
            for number in range(2 if self.fused else 1, self.L):
                n_prev, rows = self.n[number - 1], own[number]
                first = starts[number - 1] + rows.start * n_prev
                parts.append((first, _count(rows) * n_prev))
            if self.fused and self.L == 1:
                rest = starts[1]
        total = self.gradient.flat.size - rest
        even = ranges(total, self.workers, 64)[worker]
        return [part for part in [*parts, (rest + even.start, _count(even))] if part[1]]

    def _barrier(self, asm: Assembler) -> None:
        if self.workers > 1:
            asm.operation(self.plan.wait)
            asm.barrier()

    # -- by examples ------------------------------------------------------------------------------

    def _by_examples(self) -> Iterator[Assembler]:
        own = [self.gradient] + [self.model.zero_vector("d") for _ in range(1, self.workers)]
        self._buffers += [gradient.flat for gradient in own[1:]]
        for worker, part in enumerate(self.sharing.examples):
            asm = Assembler(self._constants)
            self._gather(asm, part)
            gradient = own[worker]
            asm.operation(self.plan.update)
            biases = gradient.flat[gradient.penalised :]
            asm.zero(_address(biases), biases.size)
            blocks = self.sharing.blocks(part)
            rows = self.sharing.rows(part)
            A, caches = self._layer_buffers(rows)
            scratch = self._empty(1, self.sharing.scratch(worker))
            for block in blocks:
                first, last = part.start + block.start, part.start + block.stop
                beta = op.SCALAR_ONE if block.start else op.SCALAR_ZERO
                self._block(asm, slice(first, last), A, caches, scratch, gradient, beta)
            self._barrier(asm)
            self._finish(asm, worker, [other.flat for other in own[1:]])
            yield asm

    def _block(
        self,
        asm: Assembler,
        part: slice,
        A: list[Matrix],
        caches: list[Matrix],
        scratch: Array,
        gradient: FlatVector,
        beta: int,
    ) -> None:
        """Forward and backward of some examples; their gradient is added to `gradient`."""
        rows = slice(0, _count(part))
        inputs = [self._X.part(part), *(a.part(rows) for a in A[:-1])]
        caches = [cache.part(rows) for cache in caches]
        for number in range(1, self.L + 1):
            Z, a = caches[number - 1], A[number - 1].part(rows)
            asm.operation(self.plan.product(number))
            asm.product(inputs[number - 1], self._W[number - 1], Z, transpose_b=True)
            asm.operation(self.plan.tail(number))
            self._tail(asm, number, Z, a, 0, False)
            self._drop(asm, number, a, part.start, 0, False)
        asm.operation(self.plan.loss)
        db = [_address(views["b"]) for views in gradient.layers]
        self._loss(asm, caches[-1], part.start, _address(scratch), db[-1])
        for number in range(self.L, 0, -1):
            asm.operation(self.plan.weight_gradient(number))
            dZ, dW = caches[number - 1], Matrix.of(gradient.layers[number - 1]["W"])
            asm.product(
                dZ, inputs[number - 1], dW, transpose_a=True, alpha=op.SCALAR_MEAN, beta=beta
            )
            if number > 1:
                width = self.n[number - 1]
                for piece in pieces(_count(part), width, scratch.size):
                    dA = Matrix.of(scratch)._replace(rows=_count(piece), columns=width, ld=width)
                    cache, first = caches[number - 2].part(piece), part.start + piece.start
                    asm.operation(self.plan.product_back(number - 1))
                    asm.product(dZ.part(piece), self._W[number - 1], dA)
                    asm.operation(self.plan.back(number - 1))
                    self._drop(asm, number - 1, dA, first, 0, False)
                    self._back(asm, number - 1, dA, cache, db[number - 2], False)

    # -- by units ---------------------------------------------------------------------------------

    def _by_units(self) -> Iterator[Assembler]:
        P, in_rows = self.workers, self.units_in_rows
        A, caches = self._layer_buffers(self.m, in_rows)
        examples, units = self.sharing.examples, self.sharing.units
        db_output = self._empty(P, self.sharing.db_row)
        # Each worker's part of the sum W[L] A[L-1], over its own units of layer L - 1.
        parts = [A[-1]]
        if self.L > 1:
            parts += [Matrix.of(self._empty(self.m, self.n[-1])) for _ in range(1, P)]
        for worker in range(P):
            own = [parts[worker] for parts in units]
            scratch = self._empty(1, self.sharing.scratch(worker))
            asm = Assembler(self._constants)
            self._zero_biases(asm, own, _address(db_output[worker]))
            self._gather(asm, examples[worker])
            if self.gathered:
                self._barrier(asm)
            for number in range(1, self.L):
                self._units_forward(asm, number, own[number], A, caches)
                if number < self.L - 1:
                    self._barrier(asm)
            if self.L > 1:
                self._output_part(asm, own[-2], A[-2], parts[worker])
                self._barrier(asm)
            self._output_forward(asm, examples[worker], parts, _address(scratch), db_output[worker])
            self._barrier(asm)
            if worker == 0:
                asm.operation(self.plan.update)
                target = _address(self.gradient.layers[-1]["b"])
                asm.zero(target, self.n[-1])
                for row in db_output:
                    asm.add(target, _address(row), self.n[-1])
            self._units_backward(asm, own, A, caches, scratch)
            self._barrier(asm)
            self._finish(asm, worker, [], own)
            yield asm

    def _zero_biases(self, asm: Assembler, own: list[slice], db_output: int) -> None:
        asm.operation(self.plan.update)
        for number in range(1, self.L):
            db = _address(self.gradient.layers[number - 1]["b"])
            asm.zero(db + own[number].start * self.dtype.itemsize, _count(own[number]))
        asm.zero(db_output, self.n[-1])

    def _units_of(self, matrix: Matrix, units: slice) -> Matrix:
        """Those units of a hidden layer's matrix."""
        return matrix.part(units) if self.units_in_rows else matrix.part(columns=units)

    def _units_forward(
        self, asm: Assembler, number: int, own: slice, A: list[Matrix], caches: list[Matrix]
    ) -> None:
        if not _count(own):
            return
        A_prev = self._X if number == 1 else A[number - 2]
        W, Z = self._W[number - 1].part(own), self._units_of(caches[number - 1], own)
        asm.operation(self.plan.product(number))
        if self.units_in_rows:
            asm.product(W, A_prev, Z, transpose_b=number == 1)
        else:
            asm.product(A_prev, W, Z, transpose_b=True)
        a = self._units_of(A[number - 1], own)
        asm.operation(self.plan.tail(number))
        self._tail(asm, number, Z, a, own.start, self.units_in_rows)
        self._drop(asm, number, a, 0, own.start, self.units_in_rows)

    def _output_part(self, asm: Assembler, own: slice, A_prev: Matrix, part: Matrix) -> None:
        """W[L] A[L-1] over this worker's units of layer L - 1.

        The other worker never reads A[L-1]: only sums of n_y numbers for each example cross over.
        """
        asm.operation(self.plan.product(self.L))
        if not _count(own):
            asm.zero(part.address, part.rows * part.columns)
            return
        A_prev, W = self._units_of(A_prev, own), self._W[-1].part(columns=own)
        asm.product(A_prev, W, part, transpose_a=self.units_in_rows, transpose_b=True)

    def _output_forward(
        self, asm: Assembler, examples: slice, parts: list[Matrix], scratch: int, db: Array
    ) -> None:
        """Z[L] of some examples, added up from its parts, their cost, and dZ[L]."""
        if not _count(examples):
            return
        Z, *others = (part.part(examples) for part in parts)
        if self.L == 1:
            asm.operation(self.plan.product(self.L))
            asm.product(self._X.part(examples), self._W[-1], Z, transpose_b=True)
        asm.operation(self.plan.tail(self.L))
        for other in others:
            asm.add(Z.address, other.address, Z.rows * Z.columns)
        self._tail(asm, self.L, Z, Z, 0, False)
        asm.operation(self.plan.loss)
        self._loss(asm, Z, examples.start, scratch, _address(db))

    def _units_backward(
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
            elif _count(own[number]):
                dZ = self._units_of(caches[number - 1], own[number])
                A_prev = self._X if number == 1 else A[number - 2]
                dW, scalars = self._gradient_of_W(number)
                across = self.units_in_rows
                asm.product(
                    dZ, A_prev, dW.part(own[number]), transpose_a=not across,
                    transpose_b=across and number > 1, **scalars,
                )  # fmt: skip
            if number > 1:
                if number < self.L:
                    self._barrier(asm)  # A[l-1] has been read, and dZ[l] is complete
                self._units_back(asm, number, own[number - 1], caches, scratch)

    def _gradient_of_W(self, number: int) -> tuple[Matrix, dict[str, int]]:
        """Where the gradient of W[l] goes: into W[1] itself where the update is fused."""
        if number == 1 and self.fused:
            return self._W[0], {"alpha": op.SCALAR_DESCEND, "beta": op.SCALAR_ONE}
        return Matrix.of(self.gradient.layers[number - 1]["W"]), {"alpha": op.SCALAR_MEAN}

    def _output_weight_gradient(self, asm: Assembler, own: slice, A: list[Matrix]) -> None:
        """dW[L], the columns of this worker's units of layer L - 1."""
        if not _count(own):
            return
        dW, scalars = self._gradient_of_W(self.L)
        if self.L == 1:
            A_prev, across = self._X.part(columns=own), False
        else:
            A_prev, across = self._units_of(A[-2], own), self.units_in_rows
        asm.product(
            A[-1], A_prev, dW.part(columns=own), transpose_a=True, transpose_b=across, **scalars
        )

    def _units_back(
        self, asm: Assembler, number: int, own: slice, caches: list[Matrix], scratch: Array
    ) -> None:
        """dZ[l-1] of this worker's units, in pieces, in the place of A[l-1] (or Z[l-1])."""
        in_rows, width = self.units_in_rows, _count(own)
        if not width:
            return
        db = _address(self.gradient.layers[number - 2]["b"])
        W, dZ = self._W[number - 1], caches[number - 1]
        long, other = (width, self.m) if in_rows else (self.m, width)
        for piece in pieces(long, other, scratch.size):
            if not _count(piece):
                continue
            dA = Matrix.of(scratch)._replace(rows=_count(piece), columns=other, ld=other)
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
            self._drop(asm, number - 1, dA, example, mine.start, in_rows)
            sums = db + mine.start * self.dtype.itemsize
            self._back(asm, number - 1, dA, cache, sums, in_rows)


def _alpha(g: Any) -> float:
    return getattr(g, "alpha", 0.0)


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
