"""scikit-learn's losses where their values differ from nnx's; their gradients are the same.

Formulas of `sklearn/neural_network/_base.py`. A training run that compares costs, to stop early or
to lower its learning rate, decides as scikit-learn's only where the costs are scikit-learn's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from nnx.backends.reference.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Loss,
)

Array = Any
Namespace = Any


def clip_bounds(eps: float) -> tuple[float, float]:
    """The least and the largest -log(a) of a probability a that is kept in [eps, 1 - eps]."""
    return -math.log(1 - eps), -math.log(eps)


def _clipped(xp: Namespace, negative_log: Array) -> Array:
    low, high = clip_bounds(float(xp.finfo(negative_log.dtype).eps))
    high = xp.full_like(negative_log, high)
    return xp.minimum(xp.maximum(negative_log, xp.full_like(negative_log, low)), high)


@dataclass(frozen=True)
class ClippedCategoricalCrossEntropy(CategoricalCrossEntropy):
    """L = -sum_j y_j log clip(a_j, eps, 1 - eps), eps that of the dtype; dZ = A - Y."""

    name = "clipped_categorical_cross_entropy"

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        # log(0) would warn where the clipped value is wanted anyway.
        tiny = xp.full_like(A, float(xp.finfo(A.dtype).smallest_normal))
        logs = -xp.log(xp.maximum(A, tiny))
        return xp.sum(self._columns(xp, Y, A) * _clipped(xp, logs), axis=0)

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,), from -log a_j = log sum_k exp(z_k) - z_j."""
        V = Z - xp.max(Z, axis=0, keepdims=True)
        logs = xp.log(xp.sum(xp.exp(V), axis=0, keepdims=True)) - V
        return xp.sum(self._columns(xp, Y, Z) * _clipped(xp, logs), axis=0)


@dataclass(frozen=True)
class ClippedBinaryCrossEntropy(BinaryCrossEntropy):
    """L = -sum_j (y_j log c_j + (1 - y_j) log(1 - c_j)), c = clip(a, eps, 1 - eps); dZ = A - Y."""

    name = "clipped_binary_cross_entropy"

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        eps, Y = xp.full_like(A, float(xp.finfo(A.dtype).eps)), self._smooth(Y)
        C = xp.minimum(xp.maximum(A, eps), 1 - eps)
        return -xp.sum(Y * xp.log(C) + (1 - Y) * xp.log1p(-C), axis=0)

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,), from -log a = log(1 + exp(-z)) and -log(1 - a) = log(1 + exp(z))."""
        Y, rest = self._smooth(Y), xp.log1p(xp.exp(-xp.abs(Z)))
        yes, no = (xp.maximum(side, xp.zeros_like(Z)) + rest for side in (-Z, Z))
        return xp.sum(Y * _clipped(xp, yes) + (1 - Y) * _clipped(xp, no), axis=0)


@dataclass(frozen=True)
class HalfSquaredError(Loss):
    """The value 1/(2 n_y) sum_j (a_j - y_j)^2 with the gradient A - Y.

    The gradient is n_y times that of the value, as scikit-learn's is.
    """

    name = "half_squared_error"
    target = "values"

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        return 0.5 * xp.mean((A - Y) * (A - Y), axis=0)

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return A - Y."""
        return A - Y


@dataclass(frozen=True)
class PoissonDeviance(Loss):
    """L = sum_j (y_j log(y_j / a_j) - y_j + a_j), half of the deviance; with the exponential
    activation dZ = A - Y."""

    name = "poisson_deviance"
    target = "values"
    domain = (0.0, math.inf)
    link = "exponential"

    def _constant(self, xp: Namespace, Y: Array) -> Array:
        """y log y - y, which is 0 at 0 and NaN below."""
        return Y * xp.log(xp.where(Y == 0, xp.ones_like(Y), Y)) - Y

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        logs = xp.where(Y == 0, xp.zeros_like(A), xp.log(A))
        return xp.sum(self._constant(xp, Y) - Y * logs + A, axis=0)

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = 1 - Y / A."""
        return 1 - Y / A

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,)."""
        return xp.sum(self._constant(xp, Y) - Y * Z + xp.exp(Z), axis=0)

    def linked_gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dZ = A - Y."""
        return A - Y
