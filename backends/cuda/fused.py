"""Which kernel of kernels.cu serves a primitive, and the scalars it takes; no CuPy is needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nnx.backends.cuda.launch import C_TYPES, STRUCTS
from nnx.backends.reference.activations import Activation, Elementwise, Softmax
from nnx.backends.reference.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
    MeanSquaredError,
)
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)

Array = Any


def fits(
    dtype: Any, shape: tuple[int, ...], *arrays: Array, outputs: Iterable[Array | None] = ()
) -> bool:
    """Whether kernels can take the arrays, and the outputs where they are given.

    They must be of one dtype and one shape, and each column must be contiguous.
    """
    given = (*arrays, *(x for x in outputs if x is not None))
    return dtype.name in C_TYPES and all(
        x.dtype == dtype and x.shape == shape and x.flags.f_contiguous for x in given
    )


def has_kernel(activation: Activation) -> bool:
    """Whether `activation` is one of nnx's own; everyone else's brings its formulas along."""
    if isinstance(activation, Elementwise):
        return activation.builtin in STRUCTS
    return type(activation) is Softmax


def elementwise_kernel(family: str, activation: Activation, dtype: Any) -> tuple[str, Any]:
    """Return the name and the alpha of the "forward" or "backward" kernel of an activation."""
    assert isinstance(activation, Elementwise)
    assert activation.builtin is not None
    name = f"{family}<{C_TYPES[dtype.name]}, {STRUCTS[activation.builtin]}>"
    return name, dtype.type(activation.alpha)


def loss_kernel(
    loss: Loss,
    activation: Activation,
    Z: Array,
    A: Array,
    Y: Array,
    weights: Array | None,
    dZ: Array | None,
) -> tuple[str, Any, Any] | None:
    """Return the kernel for these arrays, and `keep` and `rest` of the targets y * keep + rest.

    None where there is none: a loss without its link, other dtypes or layouts, one's own loss.
    """
    (n_y, m), dtype, link = A.shape, A.dtype, activation.builtin
    if (
        link != loss.link
        or not has_kernel(activation)
        or not fits(dtype, (n_y, m), Z, A, outputs=(dZ,))
        or not fits(dtype, (m,), outputs=(weights,))
    ):
        return None
    T, scalar = C_TYPES[dtype.name], dtype.type
    if type(loss) is CategoricalCrossEntropy:
        keep, rest = scalar(1 - loss.label_smoothing), scalar(loss.label_smoothing / n_y)
        if Y.dtype == np.int64 and Y.shape == (m,) and Y.flags.f_contiguous:
            return f"{loss.name}<{T}, i64>", keep, rest
        return (f"{loss.name}<{T}, {T}>", keep, rest) if fits(dtype, (n_y, m), Y) else None
    if not fits(dtype, (n_y, m), Y):
        return None
    if type(loss) is BinaryCrossEntropy:
        e = loss.label_smoothing
        return f"{loss.name}<{T}>", scalar(1 - e), scalar(e / 2)
    if type(loss) is MeanSquaredError:
        return f"{loss.name}<{T}>", scalar(1), scalar(0)
    return None


def update_kernel(
    rule: UpdateRule, dtype: Any, learning_rate: float, t: int
) -> tuple[str, list[Any]] | None:
    """Return the kernel of a rule and the scalars it takes after the vectors; None without one."""
    if dtype.name not in C_TYPES:
        return None
    scalars: tuple[float, ...]
    if type(rule) is GradientDescentRule:
        scalars = (learning_rate,)
    elif type(rule) is MomentumRule:
        scalars = (learning_rate, rule.beta, rule.nesterov)
    elif type(rule) is RMSpropRule:
        scalars = (learning_rate, rule.beta, 1 - rule.beta, rule.epsilon)
    elif type(rule) is AdamRule:
        step, epsilon = rule.scalars(learning_rate, t)
        shrink = 1 - learning_rate * rule.weight_decay
        betas = (rule.beta1, 1 - rule.beta1, rule.beta2, 1 - rule.beta2)
        scalars = (step, epsilon, shrink, *betas)
    else:
        return None
    return f"{rule.name}<{C_TYPES[dtype.name]}>", [dtype.type(x) for x in scalars]
