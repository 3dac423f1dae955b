"""Losses L(a, y), one number per example, with their gradients, on any Array API namespace.

The cost is J = 1/m sum_i s_i L_i with example weights s whose mean is one. dA and dZ are the
derivatives of the summed per-example losses: the 1/m stands in `weight_gradient` alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

from nnx.backends.errors import DataError, unknown_name
from nnx.backends.reference.activations import Activation

Array = Any
Namespace = Any


class Loss(ABC):
    """A loss of the output A[L] (n_y, m) against the target Y.

    Attributes
    ----------
    name : str
    target : {"classes", "binary", "values"}
        What Y holds: one of n_y classes (labels (m,) or one-hot (n_y, m)), independent yes/no
        answers in [0, 1], or real values.
    domain : tuple of float
        The interval that A must lie in for the loss to be finite.
    link : str
        The built-in activation with which `linked_losses` and `linked_gradient` are exact and
        stable; "identity" means that Z and A are the same.
    """

    name: str
    target: Literal["classes", "binary", "values"]
    domain: tuple[float, float] = (-math.inf, math.inf)
    link: str = "identity"

    @abstractmethod
    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return the loss of each example, (m,)."""

    @abstractmethod
    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA, (n_y, m)."""

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return the loss of each example from Z, where the output activation is `link`."""
        return self.losses(xp, Z, Y)

    def linked_gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dZ from A, where the output activation is `link`."""
        return self.gradient(xp, A, Y)


def _mean_over_outputs(xp: Namespace, E: Array) -> Array:
    return xp.mean(E, axis=0)


def _clip(xp: Namespace, A: Array) -> Array:
    """Keep A away from 0 and 1, so that a logarithm and a quotient stay finite."""
    info = xp.finfo(A.dtype)
    low, high = (
        xp.full_like(A, float(info.smallest_normal)),
        xp.full_like(A, 1 - float(info.eps) / 2),
    )
    return xp.minimum(xp.maximum(A, low), high)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 1:
        raise DataError(f"label_smoothing must be in [0, 1), got {label_smoothing}")


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """L = -sum_j (y_j log a_j + (1 - y_j) log(1 - a_j)), the lecture's logistic loss.

    With the sigmoid: L = max(z, 0) - z y + log(1 + exp(-|z|)) and dZ = A - Y.
    """

    label_smoothing: float = 0.0
    name = "binary_cross_entropy"
    target = "binary"
    domain = (0.0, 1.0)
    link = "sigmoid"

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    def _smooth(self, Y: Array) -> Array:
        e = self.label_smoothing
        return Y * (1 - e) + e / 2 if e else Y

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,); A is clipped to the open interval (0, 1)."""
        A, Y = _clip(xp, A), self._smooth(Y)
        return -xp.sum(Y * xp.log(A) + (1 - Y) * xp.log1p(-A), axis=0)

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = (A - Y) / (A (1 - A))."""
        A, Y = _clip(xp, A), self._smooth(Y)
        return (A - Y) / (A * (1 - A))

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,), exact for every finite Z."""
        Y = self._smooth(Y)
        return xp.sum(
            xp.maximum(Z, xp.zeros_like(Z)) - Z * Y + xp.log1p(xp.exp(-xp.abs(Z))), axis=0
        )

    def linked_gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dZ = A - Y."""
        return A - self._smooth(Y)


@dataclass(frozen=True)
class CategoricalCrossEntropy(Loss):
    """L = -sum_j y_j log a_j. With softmax: dZ = A - Y."""

    label_smoothing: float = 0.0
    name = "categorical_cross_entropy"
    target = "classes"
    domain = (0.0, 1.0)
    link = "softmax"

    def __post_init__(self) -> None:
        _check_smoothing(self.label_smoothing)

    def _columns(self, xp: Namespace, Y: Array, like: Array) -> Array:
        """One column of class probabilities per example, from labels (m,) or columns (n_y, m)."""
        n_y = like.shape[0]
        if Y.ndim == 1:
            classes = xp.arange(n_y, dtype=Y.dtype, device=Y.device)
            Y = xp.astype(classes[:, None] == Y[None, :], like.dtype)
        e = self.label_smoothing
        return Y * (1 - e) + e / n_y if e else Y

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,); A is clipped away from zero."""
        return -xp.sum(self._columns(xp, Y, A) * xp.log(_clip(xp, A)), axis=0)

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = -Y / A."""
        return -self._columns(xp, Y, A) / _clip(xp, A)

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,) = log sum_j exp(z_j) - sum_j y_j z_j, exact for every finite Z."""
        V = Z - xp.max(Z, axis=0, keepdims=True)
        lse = xp.log(xp.sum(xp.exp(V), axis=0, keepdims=True))
        return xp.sum(self._columns(xp, Y, Z) * (lse - V), axis=0)

    def linked_gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dZ = A - Y."""
        return A - self._columns(xp, Y, A)


@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """L = 1/n_y sum_j (a_j - y_j)^2, so that J is the mean over all elements."""

    name = "mean_squared_error"
    target = "values"

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        return _mean_over_outputs(xp, (A - Y) * (A - Y))

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = 2/n_y (A - Y)."""
        return (A - Y) * (2 / A.shape[0])


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    """L = 1/n_y sum_j |a_j - y_j|; the derivative at zero is taken as zero."""

    name = "mean_absolute_error"
    target = "values"

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        return _mean_over_outputs(xp, xp.abs(A - Y))

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = 1/n_y sign(A - Y)."""
        return xp.sign(A - Y) / A.shape[0]


@dataclass(frozen=True)
class Huber(Loss):
    """L = 1/n_y sum_j h(a_j - y_j); h(e) = e^2/2 where |e| <= delta, else delta |e| - delta^2/2.

    Huber (1964), "Robust estimation of a location parameter", eq. 3.3.
    """

    delta: float = 1.0
    name = "huber"
    target = "values"

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise DataError(f"huber: delta must be positive, got {self.delta}")

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,)."""
        E = xp.abs(A - Y)
        Q = xp.minimum(E, xp.full_like(E, self.delta))
        return _mean_over_outputs(xp, Q * (E - 0.5 * Q))

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = 1/n_y (A - Y), its elements clipped to [-delta, delta] first."""
        E, limit = A - Y, xp.full_like(A, self.delta)
        return xp.maximum(xp.minimum(E, limit), -limit) / A.shape[0]


@dataclass(frozen=True)
class Poisson(Loss):
    """L = 1/n_y sum_j (a_j - y_j log a_j) for counts y; what depends on y alone is left out.

    With the exponential activation: L = exp(z) - y z and dZ = (A - Y)/n_y.
    """

    name = "poisson"
    target = "values"
    domain = (0.0, math.inf)
    link = "exponential"

    def _positive(self, xp: Namespace, A: Array) -> Array:
        """Keep A so far above zero that log(A) and y / A are finite for every count y."""
        return xp.maximum(A, xp.full_like(A, math.sqrt(float(xp.finfo(A.dtype).smallest_normal))))

    def losses(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return (m,); A is clipped away from zero."""
        A = self._positive(xp, A)
        return _mean_over_outputs(xp, A - Y * xp.log(A))

    def gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dA = 1/n_y (1 - Y / A)."""
        return (1 - Y / self._positive(xp, A)) / A.shape[0]

    def linked_losses(self, xp: Namespace, Z: Array, Y: Array) -> Array:
        """Return (m,)."""
        return _mean_over_outputs(xp, xp.exp(Z) - Y * Z)

    def linked_gradient(self, xp: Namespace, A: Array, Y: Array) -> Array:
        """Return dZ = (A - Y) / n_y."""
        return (A - Y) / A.shape[0]


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        BinaryCrossEntropy(),
        CategoricalCrossEntropy(),
        MeanSquaredError(),
        MeanAbsoluteError(),
        Huber(),
        Poisson(),
    )
}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss of that name, or the object itself."""
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise unknown_name("loss", loss, LOSSES)
    return LOSSES[loss]


def loss_with_gradient(
    xp: Namespace,
    loss: Loss,
    activation: Activation,
    Z: Array,
    A: Array,
    Y: Array,
    weights: Array | None = None,
) -> tuple[Array, Array]:
    """The cost J = 1/m sum_i s_i L_i, a 0-d array, and dZ[L], (n_y, m).

    Where the activation is the loss's link, both come from the fused and stable formulas.
    weights (m,) are the s_i, of mean one; None stands for ones.
    """
    if activation.builtin == loss.link:
        L = loss.linked_losses(xp, Z, Y)
        dZ = loss.linked_gradient(xp, A, Y)
    else:
        L = loss.losses(xp, A, Y)
        cache = A if activation.derivative_from == "A" else Z
        dZ = activation.backward(xp, loss.gradient(xp, A, Y), cache)
    if weights is None:
        return xp.mean(L), dZ
    return xp.mean(L * weights), dZ * weights[None, :]
