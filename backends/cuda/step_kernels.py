"""The kernels of step.cu: what they are called for a network's parts; no CuPy is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from nnx.backends.cuda.launch import STRUCTS
from nnx.backends.reference.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
)
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)

FILE = "step.cu"
# How matrices can be stored -> C's type; and the NumPy dtype of an array that holds such numbers.
STORAGE = {"float32": "float", "float64": "double", "float16": "f16", "bfloat16": "bf16"}
HOLDERS = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "uint16"}

LOSSES: dict[type[Loss], str] = {
    BinaryCrossEntropy: "BinaryCrossEntropy",
    Poisson: "Poisson",
    MeanSquaredError: "Squared",
    MeanAbsoluteError: "Absolute",
    Huber: "HuberLoss",
}
RULES: dict[type[UpdateRule], str] = {
    GradientDescentRule: "GradientDescent",
    MomentumRule: "Momentum",
    RMSpropRule: "RMSprop",
    AdamRule: "Adam",
}
HAS_LOSS: tuple[type[Loss], ...] = (CategoricalCrossEntropy, *LOSSES)

STATE_BYTES, SCALE_BYTES = 256, 16
SUM_BLOCKS = 1024  # at most, of a kernel that ends in a sum over its blocks


def first_scale(value: float) -> np.ndarray:
    """Return the bytes of a struct Scale before the first step."""
    cells = np.array([0, -1, 0, 0], np.int32)
    cells[:1].view(np.float32)[0] = value
    return cells.view(np.uint8)


def step_names(
    storage: Iterable[str] = tuple(STORAGE),
    activations: Iterable[str] = tuple(STRUCTS),
    losses: Iterable[type[Loss]] = HAS_LOSS,
    rules: Iterable[type[UpdateRule]] = tuple(RULES),
) -> tuple[str, ...]:
    """Return the instantiations for such networks, by default all, as C++ name expressions."""
    activations, losses, rules = tuple(activations), tuple(losses), tuple(rules)
    names = {"step_begin", "step_tick"}
    for kind in storage:
        names.update(_names(kind, activations, losses, rules))
    return tuple(sorted(names))


def _names(
    kind: str,
    activations: tuple[str, ...],
    losses: tuple[type[Loss], ...],
    rules: tuple[type[UpdateRule], ...],
) -> Iterator[str]:
    C = STORAGE[kind]
    T = "double" if kind == "float64" else "float"
    for kernel in ("gather", "dropout", "relu_forward", "relu_backward", "bias_gradient"):
        yield f"step_{kernel}<{C}>"
    yield f"step_inspect<{T}>"
    if kind == "float16":
        yield "step_unscale<float>"
    if kind in ("float16", "bfloat16"):
        yield f"step_cast<{C}>"
    for name in activations:
        if name != "relu":  # has kernels of its own, with a mask
            yield f"step_forward<{C}, {STRUCTS[name]}>"
        if name not in ("relu", "identity"):
            yield f"step_backward<{C}, {STRUCTS[name]}>"
    for loss in losses:
        if loss is CategoricalCrossEntropy:
            yield from (f"step_softmax<{C}, {target}>" for target in (T, "i64"))
        else:
            yield f"step_loss<{C}, {LOSSES[loss]}>"
    for rule in rules:
        yield f"step_update<{C}, {RULES[rule]}>"
