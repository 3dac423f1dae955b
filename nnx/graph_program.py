"""A training step for a GPU as a list of launches, the same for every step.

tick, gather, then for l = 1 ... L the product of layer l with its activation, the cost with dZ[L],
and for l = L ... 1 the products for dW[l] and dZ[l-1], last the update. Activations, derivatives
and bias gradients are part of a product (an epilogue of cuBLASLt) where it has one and that is
faster than a kernel beside a plain product: with ReLU everywhere, 3L + 3 launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnx.backends.cuda import step_kernels
from nnx.backends.cuda.graph import GraphStream, Launch, Operation, Recording
from nnx.backends.cuda.launch import STRUCTS, blocks_for
from nnx.backends.cuda.products import Planned, Product
from nnx.backends.reference.activations import Activation
from nnx.backends.reference.dropout import GOLDEN, MASK64, mix, threshold
from nnx.backends.reference.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)
from nnx.backends.reference.updates import AdamRule, MomentumRule, RMSpropRule, UpdateRule
from nnx.graph_layout import Buffer, Layout, needs_scratch
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import FlatVector
from nnx.plan import Plan
from nnx.precision import numbers

Array = Any

PATIENCE = 2000  # steps with a finite gradient before float16's scale doubles
# Steps of a graph: so many that launching it costs little beside running it.
_STEPS, _FLOP_OF_MANY = 32, 2e10
_EPILOGUES = {"relu": "RELU", "gelu": "GELU"}


def unsupported(model: Model) -> str | None:
    """Return what keeps this network from running as a graph; None where nothing does."""
    for number, layer in enumerate(model.layers, 1):
        if not isinstance(layer, Dense):
            return f"layer {number} is a {type(layer).__name__}"
        if number < model.L and layer.g.builtin not in STRUCTS:
            return f"the activation {layer.g.name} of layer {number} has no kernel"
    loss, g = model.loss, model.layers[-1].g  # type: ignore[attr-defined]
    if type(loss) not in step_kernels.HAS_LOSS:
        return f"the loss {loss.name} has no kernel"
    linked = g.builtin == loss.link if loss.link != "identity" else g.builtin in STRUCTS
    return None if linked else f"{loss.name} has no kernel with the output {g.name}"


@dataclass(frozen=True)
class Memory:
    """What a program works on, kept alive by its graphs.

    Attributes
    ----------
    work, ledger : uint8 array
        As `Layout` shares them out.
    gradient : FlatVector
    slots : dict of str to array
        The optimizer's state.
    copy : array or None
        Theta in 16 bits.
    scale : uint8 array or None
        float16's scale.
    """

    work: Array
    ledger: Array
    gradient: FlatVector
    slots: dict[str, Array]
    copy: Array | None
    scale: Array | None


class GraphProgram:
    """The launches of one step over m examples.

    Parameters
    ----------
    model : Network
        That `unsupported` has nothing against.
    layout : Layout
    memory : Memory
    stream : GraphStream
    m : int
    rule : UpdateRule or None
        None computes the gradient and leaves the parameters as they are.
    clip : float or None
        The norm to which the gradient is clipped.
    labels : bool
        Whether Y holds labels.
    X : int or None
        The address of a batch that is read where it is.
    """

    def __init__(
        self,
        model: Model,
        layout: Layout,
        memory: Memory,
        stream: GraphStream,
        m: int,
        *,
        rule: UpdateRule | None,
        clip: float | None,
        labels: bool,
        X: int | None,
    ) -> None:
        self.model, self.layout, self.memory, self.m = model, layout, memory, m
        self.layers = [layer for layer in model.layers if isinstance(layer, Dense)]
        self.storage, self.compute = numbers(model.precision, model.dtype)
        self._T = np.dtype(model.dtype).type
        self._C = step_kernels.STORAGE[self.storage]
        self._in_place = self.storage == model.dtype
        self._stream = stream
        self._views = {name: _view(memory.work, buffer) for name, buffer in layout.work.items()} | {
            name: _view(memory.ledger, buffer) for name, buffer in layout.ledger.items()
        }
        self._X = X
        self._have_db: set[int] = set()
        self.launches = [
            *self._forward(rule),
            *_part_of([self._cost(labels)], "loss"),
            *self._backward(),
            *_part_of(self._finish(rule, clip), "update"),
        ]
        slots = 0 if rule is None else len(rule.slots)
        self.plan = Plan(model, m, gathered=X is None, update=rule is not None, slots=slots)
        many = int(max(1, min(_STEPS, _FLOP_OF_MANY / max(self.plan.flop, 1))))
        self.recording = Recording(stream, self.launches, many, keep=(memory, model.theta))

    def begin(
        self, Y: Array, weights: Array | None, order: Array | None, rates: Array | None,
        rate: float, t: int, cost: Array, X: Array,
    ) -> None:  # fmt: skip
        """Say where the data of the coming steps lie; t counts the steps before them."""
        addresses = [np.uint64(_address(x)) for x in (X, Y, weights, order, rates, cost)]
        state = self._views["state"]
        self._stream.kernels.bind("step_begin", 1, state, *addresses, np.float64(rate), t)()
        if self.memory.copy is not None:
            # The parameters may have been written to since the last step.
            count = self.model.theta.size // 8
            arrays = (self.model.theta, self.memory.copy)
            self._stream.kernels.bind(f"step_cast<{self._C}>", blocks_for(count), *arrays, count)()

    def profile(self, steps: int) -> Array:
        """Take steps launch by launch; return the seconds of each operation of `plan` in one.

        What a product does in its epilogue counts with it. NaN for what has no launch of its own.
        """
        seconds = np.full(len(self.plan.operations), np.nan)
        for _ in range(steps):
            times = self._stream.each(self.launches)
            for launch, milliseconds in zip(self.launches, times, strict=True):
                number = self.plan.number(launch.operation)
                seconds[number] = np.nan_to_num(seconds[number]) + milliseconds / 1000 / steps
        return seconds

    # -- parts of launches ----------------------------------------------------------------------

    def _kernel(self, name: str, blocks: int, *arguments: Any) -> Launch:
        return Launch(name, self._stream.kernels.bind(name, blocks, *arguments))

    def _settle(self, *alternatives: Sequence[Operation]) -> list[Launch]:
        return self._stream.settle(alternatives)

    def _at(self, name: str) -> int:
        """The address of a buffer."""
        return _address(self._views[name])

    def _input(self, number: int) -> int:
        """The address of A[l]."""
        return self._X if number == 0 and self._X is not None else self._at(f"A{number}")

    def _dZ(self, number: int) -> Array:
        """dZ[l]: in the place of A[l], or of Z[L] where it has the same dtype."""
        if number < self.model.L:
            return self._views[f"A{number}"]
        return self._views[f"Z{number}" if self._in_place else f"dZ{number}"]

    def _parameter(self, name: str, number: int) -> int:
        """The address of W[l] or b[l] as products read them."""
        copy = self.memory.copy
        flat = self.model.theta if copy is None else copy
        return self._inside(flat, name, number)

    def _gradient(self, name: str, number: int) -> int:
        return self._inside(self.memory.gradient.flat, name, number)

    def _inside(self, flat: Array, name: str, number: int) -> int:
        start = self.model.vector.starts[number - 1][name]
        return _address(flat) + start * int(flat.dtype.itemsize)

    def _bias(self, number: int) -> Array:
        """b[l] in the master dtype, rounded up."""
        start = self.model.vector.starts[number - 1]["b"]
        return self.model.theta[start : start + self.layout.ld[number]]

    def _shape(self, number: int) -> tuple[int, int, int]:
        return self.model.n[number], self.layout.ld[number], self.m

    def _elements(self, number: int) -> int:
        """Blocks for the matrix of a layer, each thread taking eight elements at a time."""
        return blocks_for(self.layout.ld[number] * self.m // 8)

    def _dropout(self, number: int) -> tuple[Any, ...]:
        """Seed, layer, threshold and scale; the threshold 2^32 keeps everything."""
        keep_prob = self.layers[number - 1].keep_prob
        seed = mix((self.model.seed + GOLDEN) & MASK64)
        scale = self._T(1 / keep_prob)
        return np.uint64(seed), number, np.uint64(threshold(keep_prob)), scale

    def _drops(self, number: int) -> bool:
        return self.layers[number - 1].keep_prob < 1

    def _drop(self, number: int) -> list[Launch]:
        """Dropout of A[l], or of dZ[l] in its place, where no kernel has it with the activation."""
        if not self._drops(number):
            return []
        state, A, seed = self._views["state"], self._views[f"A{number}"], self._dropout(number)
        name, blocks = f"step_dropout<{self._C}>", self._elements(number)
        return [self._kernel(name, blocks, state, A, *seed, *self._shape(number))]

    # -- forward --------------------------------------------------------------------------------

    def _forward(self, rule: UpdateRule | None) -> list[Launch]:
        state, memory = self._views["state"], self.memory
        beta1, beta2, epsilon, decay = (np.float64(x) for x in _corrections(rule))
        hat = int(isinstance(rule, AdamRule) and rule.epsilon_hat)
        scalars = (beta1, beta2, epsilon, hat, decay)
        launches = [self._kernel("step_tick", 1, state, memory.scale, *scalars, PATIENCE)]
        if self._X is None:
            name, A = f"step_gather<{self._C}>", self._views["A0"]
            launches.append(self._kernel(name, self._elements(0), state, A, *self._shape(0)))
        launches = _part_of(launches, "gather")
        for number in range(1, self.model.L):
            launches += _part_of(self._activate(number), f"A{number}", f"Z{number}")
        L = self.model.L
        product = self._settle([self._linear(L, self._at(f"Z{L}"), self.model.dtype)])
        return launches + _part_of(product, f"Z{L}")

    def _linear(self, number: int, out: int, dtype: str, **epilogue: Any) -> Product:
        """W[l] A[l-1]: W[l], row by row, is a column-major matrix to be transposed."""
        return Product(
            rows=self.layout.ld[number],
            columns=self.m,
            inner=self.layout.ld[number - 1],
            a=self._parameter("W", number),
            b=self._input(number - 1),
            d=out,
            transpose_a=True,
            transpose_b=False,
            operands=self.storage,
            result=dtype,
            compute=self.compute,
            **epilogue,
        )

    def _activate(self, number: int) -> list[Launch]:
        """A[l] of a hidden layer."""
        g, A = self.layers[number - 1].g, self._at(f"A{number}")
        bias = {"bias": self._parameter("b", number)}
        if g.builtin == "relu":
            bias |= self._mask(number)
            fused = self._linear(number, A, self.storage, epilogue="RELU_AUX_BIAS", **bias)
            plain = self._linear(number, A, self.storage)
            mask = self._views[f"mask{number}"], self.layout.mask_ld(number) // 8
            # The same bit whichever alternative is the faster.
            at_zero = int(self._stream.mask_at_zero(self.storage, self.compute))
            kernel = self._kernel(
                f"step_relu_forward<{self._C}>", self._elements(number),
                self._views[f"A{number}"], self._bias(number), *mask, at_zero, *self._shape(number),
            )  # fmt: skip
            return self._settle([fused], [plain, kernel]) + self._drop(number)
        to = f"Z{number}" if g.derivative_from == "Z" else f"A{number}"
        plain = self._linear(number, self._at(to), self.storage)
        unfused: list[Operation] = [plain, self._elementwise_forward(number, g, to)]
        if g.builtin == "gelu":
            bias |= self._mask(number)
            fused = self._linear(number, A, self.storage, epilogue="GELU_AUX_BIAS", **bias)
        elif g.builtin == "identity":
            fused = self._linear(number, A, self.storage, epilogue="BIAS", **bias)
        else:
            return self._settle(unfused)
        return self._settle([fused, *self._drop(number)], unfused)

    def _mask(self, number: int) -> dict[str, int]:
        """What an epilogue keeps for the way back: the sign of Z[l], or Z[l] itself."""
        if self.layers[number - 1].g.builtin == "relu":
            return {"aux": self._at(f"mask{number}"), "aux_ld": self.layout.mask_ld(number)}
        return {"aux": self._at(f"Z{number}"), "aux_ld": self.layout.ld[number]}

    def _elementwise_forward(self, number: int, g: Activation, product: str) -> Launch:
        Z = self._views[f"Z{number}"] if g.derivative_from == "Z" else None
        arrays = (self._views[product], Z, self._views[f"A{number}"], self._bias(number))
        return self._kernel(
            f"step_forward<{self._C}, {STRUCTS[g.builtin or '']}>", self._elements(number),
            self._views["state"], *arrays, self._T(_alpha(g)), *self._dropout(number),
            *self._shape(number),
        )  # fmt: skip

    # -- the cost -------------------------------------------------------------------------------

    def _cost(self, labels: bool) -> Launch:
        """J and dZ[L], divided by m; in float16 multiplied by its scale instead."""
        loss, g, L, T = self.model.loss, self.layers[-1].g, self.model.L, self._T
        n = self.model.n_y
        lanes = 1
        while lanes < 32 and lanes * 4 < n:
            lanes *= 2
        blocks = blocks_for(self.m * lanes, step_kernels.SUM_BLOCKS)
        arrays = (self._views[f"Z{L}"], self._bias(L), self._dZ(L))
        sums = (self._views["partial"], self._views["done"])
        start = (self._views["state"], self.memory.scale, *arrays, *sums)
        share = T(1 if self.memory.scale is not None else 1 / self.m)
        end = (share, *self._shape(L), lanes)
        smoothing = getattr(loss, "label_smoothing", 0.0)
        if isinstance(loss, CategoricalCrossEntropy):
            target = "i64" if labels else _C_MASTER[self.model.dtype]
            targets = (T(1 - smoothing), T(smoothing / n))
            name = f"step_softmax<{self._C}, {target}>"
            return self._kernel(name, blocks, *start, T(self._eps(loss)), *targets, *end)
        targets = (T(1 - smoothing), T(smoothing / 2))
        summed = isinstance(loss, BinaryCrossEntropy | PoissonDeviance)
        each = T(1 if summed else 1 / n)
        steep = T(1) if isinstance(loss, HalfSquaredError) else each
        code = list(STRUCTS).index(g.builtin or "")
        delta = _delta(loss) or self._eps(loss)
        scalars = (code, T(_alpha(g)), T(delta), *targets, each, steep)
        name = f"step_loss<{self._C}, {step_kernels.LOSSES[type(loss)]}>"
        return self._kernel(name, blocks, *start, *scalars, *end)

    def _eps(self, loss: Loss) -> float:
        """Where the cost of a probability is clipped; 0 where it is not."""
        clips = isinstance(loss, ClippedBinaryCrossEntropy | ClippedCategoricalCrossEntropy)
        return float(np.finfo(self.model.dtype).eps) if clips else 0.0

    # -- backward -------------------------------------------------------------------------------

    def _backward(self) -> list[Launch]:
        launches = []
        for number in range(self.model.L, 0, -1):
            launches += _part_of(self._weight_gradient(number), f"dW{number}")
            if number > 1:
                prev = number - 1
                launches += _part_of(self._back(number), f"dZ{prev}", f"dA{prev}")
        return launches

    def _weight_gradient(self, number: int) -> list[Launch]:
        """dW[l] = dZ[l] A[l-1]^T, row by row; and db[l], unless dZ[l] came with it."""

        def product(**epilogue: Any) -> Product:
            return Product(
                rows=self.layout.ld[number - 1],
                columns=self.layout.ld[number],
                inner=self.m,
                a=self._input(number - 1),
                b=_address(self._dZ(number)),
                d=self._gradient("W", number),
                transpose_a=False,
                transpose_b=True,
                operands=self.storage,
                result=self.model.dtype,
                compute=self.compute,
                **epilogue,
            )

        if number in self._have_db:
            return self._settle([product()])
        fused = product(epilogue="BGRADB", bias=self._gradient("b", number))
        return self._settle([fused], [product(), self._bias_gradient(number)])

    def _bias_gradient(self, number: int) -> Launch:
        ld, chunks, views = self.layout.ld[number], self.layout.chunks, self._views
        start = self.model.vector.starts[number - 1]["b"]
        db = self.memory.gradient.flat[start : start + ld]
        return self._kernel(
            f"step_bias_gradient<{self._C}>", -(-ld // 32) * chunks,
            self._dZ(number), db, views["sums"], views["done"][1:], chunks, ld, self.m,
        )  # fmt: skip

    def _back(self, number: int) -> list[Launch]:
        """dZ[l-1] = W[l]^T dZ[l] * g'; with db[l-1] where one product can have both."""
        prev = number - 1
        g, A = self.layers[prev - 1].g, self._at(f"A{prev}")
        if g.builtin == "identity":
            return self._settle([self._dA(number, A)]) + self._drop(prev)
        if needs_scratch(g):
            plain = self._dA(number, self._at("scratch"))
            return self._settle([plain, self._elementwise_backward(prev, g, "scratch")])
        plain = self._dA(number, A)
        if g.builtin == "relu":
            mask = self._views[f"mask{prev}"], self.layout.mask_ld(prev) // 8
            kernel = self._kernel(
                f"step_relu_backward<{self._C}>", self._elements(prev),
                self._views[f"A{prev}"], *mask, *self._shape(prev)[1:],
            )  # fmt: skip
            tail = [kernel, *self._drop(prev)]
        else:
            tail = [self._elementwise_backward(prev, g, f"A{prev}")]
        if g.builtin not in _EPILOGUES:
            return self._settle([plain, *tail])
        name, aux = f"D{_EPILOGUES[g.builtin]}", self._mask(prev)
        if self._drops(prev) or not self._in_place:
            # Dropout comes before the sum; and a sum in 16 bits would be too coarse.
            fused = self._dA(number, A, epilogue=name, **aux)
            return self._settle([fused, *self._drop(prev)], [plain, *tail])
        self._have_db.add(prev)
        db = self._gradient("b", prev)
        fused = self._dA(number, A, epilogue=f"{name}_BGRAD", bias=db, **aux)
        return self._settle([fused], [plain, *tail, self._bias_gradient(prev)])

    def _dA(self, number: int, out: int, **epilogue: Any) -> Product:
        return Product(
            rows=self.layout.ld[number - 1],
            columns=self.m,
            inner=self.layout.ld[number],
            a=self._parameter("W", number),
            b=_address(self._dZ(number)),
            d=out,
            transpose_a=False,
            transpose_b=False,
            operands=self.storage,
            result=self.storage,
            compute=self.compute,
            **epilogue,
        )

    def _elementwise_backward(self, number: int, g: Activation, dA: str) -> Launch:
        kept = "A" if g.derivative_from == "A" else "Z"
        # After dropout A[l] holds g(Z) / keep_prob where units were kept.
        unscale = self.layers[number - 1].keep_prob if kept == "A" else 1.0
        arrays = [self._views[name] for name in (dA, f"{kept}{number}", f"A{number}")]
        return self._kernel(
            f"step_backward<{self._C}, {STRUCTS[g.builtin or '']}>", self._elements(number),
            self._views["state"], *arrays, self._T(_alpha(g)), *self._dropout(number),
            self._T(unscale), *self._shape(number),
        )  # fmt: skip

    # -- the flat vector ------------------------------------------------------------------------

    def _finish(self, rule: UpdateRule | None, clip: float | None) -> list[Launch]:
        model, memory, T = self.model, self.memory, self._T
        state, gradient = self._views["state"], memory.gradient.flat
        count, penalised = model.theta.size // 8, model.vector.penalised // 8
        blocks = blocks_for(count, step_kernels.SUM_BLOCKS)
        sums = (self._views["partial"], self._views["done"])
        unshare = T(1 / self.m)
        penalties = (0.0, 0.0)
        if rule is not None:
            penalties = (model.penalty.l2 / self.m, model.penalty.l1 / self.m)
        end = (*(T(x) for x in penalties), unshare)
        launches = []
        if memory.scale is not None or clip is not None:
            name, counts = f"step_inspect<{_C_MASTER[model.dtype]}>", (count, penalised)
            arrays = (state, memory.scale, model.theta, gradient, *sums)
            limit = np.float64(clip or 0)
            launches.append(self._kernel(name, blocks, *arrays, *end, limit, *counts))
        if rule is None:
            if memory.scale is not None:
                arguments = (memory.scale, gradient, unshare, count)
                launches.append(self._kernel("step_unscale<float>", blocks, *arguments))
            return launches
        slots = [memory.slots[name] for name in rule.slots]
        arrays = (model.theta, gradient, *(slots + [None, None])[:2], memory.copy)
        betas = [T(x) for x in _betas(rule)]
        name = f"step_update<{self._C}, {step_kernels.RULES[type(rule)]}>"
        launches.append(
            self._kernel(
                name, blocks, state, memory.scale, *arrays, *sums, *betas, *end, count, penalised
            )
        )
        return launches


def _part_of(launches: list[Launch], operation: str, product: str | None = None) -> list[Launch]:
    """Say to which operations launches belong; products may belong to one of their own."""
    return [
        launch._replace(
            operation=product if product and isinstance(launch.run, Planned) else operation
        )
        for launch in launches
    ]


_C_MASTER = {"float32": "float", "float64": "double"}


def _corrections(rule: UpdateRule | None) -> tuple[float, float, float, float]:
    """Beta1, beta2, epsilon and weight decay, from which each step's scalars follow."""
    if isinstance(rule, AdamRule):
        return rule.beta1, rule.beta2, rule.epsilon, rule.weight_decay
    return 0.0, 0.0, rule.epsilon if isinstance(rule, RMSpropRule) else 0.0, 0.0


def _betas(rule: UpdateRule) -> tuple[float, float, float, float]:
    """Beta1, 1 - beta1, beta2, 1 - beta2, as the kernel of a rule takes them."""
    if isinstance(rule, AdamRule):
        return rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2
    if isinstance(rule, MomentumRule):
        return rule.beta, 0.0, float(rule.nesterov), 0.0
    if isinstance(rule, RMSpropRule):
        return rule.beta, 1 - rule.beta, 0.0, 0.0
    return 0.0, 0.0, 0.0, 0.0


def _alpha(g: Activation) -> float:
    return float(getattr(g, "alpha", 0.0))


def _delta(loss: Loss) -> float:
    return float(getattr(loss, "delta", 0.0))


def _address(array: Array | None) -> int:
    return 0 if array is None else int(array.data.ptr)


def _view(memory: Array, buffer: Buffer) -> Array:
    nbytes = buffer.size * np.dtype(buffer.dtype).itemsize
    return memory[buffer.start : buffer.start + nbytes].view(buffer.dtype)
