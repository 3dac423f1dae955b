"""The kernels of step_*.cu: what they are called and where they are; no CuPy is needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from nnx.backends.cuda.launch import STRUCTS, Kernels, kernel_source
from nnx.backends.reference.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
)
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)

SHARED = "step.cuh"
FILES = {
    "step_layers.cu": (
        "gather", "dropout", "forward", "backward", "relu_forward", "relu_backward",
        "bias_gradient",
    ),
    "step_cost.cu": ("softmax", "loss"),
    "step_vector.cu": ("begin", "tick", "inspect", "unscale", "update", "cast"),
}  # fmt: skip
# How matrices can be stored -> C's type; and the NumPy dtype of an array that holds such numbers.
STORAGE = {"float32": "float", "float64": "double", "float16": "f16", "bfloat16": "bf16"}
HOLDERS = {"float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "uint16"}

LOSSES: dict[type[Loss], str] = {
    BinaryCrossEntropy: "BinaryCrossEntropy",
    ClippedBinaryCrossEntropy: "ClippedBinaryCrossEntropy",
    Poisson: "Poisson",
    PoissonDeviance: "PoissonDeviance",
    MeanSquaredError: "Squared",
    HalfSquaredError: "HalfSquared",
    MeanAbsoluteError: "Absolute",
    Huber: "HuberLoss",
}
RULES: dict[type[UpdateRule], str] = {
    GradientDescentRule: "GradientDescent",
    MomentumRule: "Momentum",
    RMSpropRule: "RMSprop",
    AdamRule: "Adam",
}
HAS_LOSS: tuple[type[Loss], ...] = (
    CategoricalCrossEntropy, ClippedCategoricalCrossEntropy, *LOSSES,
)  # fmt: skip

STATE_BYTES, SCALE_BYTES = 256, 16
SUM_BLOCKS = 1024  # at most, of a kernel that ends in a sum over its blocks


def first_scale(value: float) -> np.ndarray:
    """Return the bytes of a struct Scale before the first step."""
    cells = np.array([0, -1, 0, 0], np.int32)
    cells[:1].view(np.float32)[0] = value
    return cells.view(np.uint8)


def file_of(name: str) -> str:
    """Return the file that holds a kernel."""
    kernel = name.partition("<")[0].removeprefix("step_")
    (file,) = (file for file, kernels in FILES.items() if kernel in kernels)
    return file


@cache
def step_source(file: str) -> str:
    """Return the text of a file of kernels after what they share."""
    return kernel_source(SHARED, file)


def step_kernels(cupy: Any) -> Kernels:
    """Return the kernels of a training step."""
    return Kernels(cupy, lambda name: step_source(file_of(name)))


def step_names(file: str) -> tuple[str, ...]:
    """Return every instantiation of a file's kernels, as C++ name expressions."""
    names = {"step_begin", "step_tick", "step_unscale<float>"}
    for kind in STORAGE:
        names.update(_names(kind))
    return tuple(sorted(name for name in names if file_of(name) == file))


def _names(kind: str) -> Iterator[str]:
    C = STORAGE[kind]
    T = "double" if kind == "float64" else "float"
    for kernel in ("gather", "dropout", "relu_forward", "relu_backward", "bias_gradient"):
        yield f"step_{kernel}<{C}>"
    yield f"step_inspect<{T}>"
    if kind in ("float16", "bfloat16"):
        yield f"step_cast<{C}>"
    for name, struct in STRUCTS.items():
        if name != "relu":  # has kernels of its own, with a mask
            yield f"step_forward<{C}, {struct}>"
        if name not in ("relu", "identity"):
            yield f"step_backward<{C}, {struct}>"
    yield from (f"step_softmax<{C}, {target}>" for target in (T, "i64"))
    yield from (f"step_loss<{C}, {loss}>" for loss in LOSSES.values())
    yield from (f"step_update<{C}, {rule}>" for rule in RULES.values())
