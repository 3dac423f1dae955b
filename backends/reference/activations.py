"""Activation functions g: A = g(Z), and their derivatives, on any Array API namespace.

Where it is possible the derivative is written from A, so that Z need not be kept.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from nnx.backends.errors import DataError, unknown_name

Array = Any
Namespace = Any


class Activation(ABC):
    """g[l], applied to a matrix Z[l] of shape (n[l], m), one example per column.

    Attributes
    ----------
    name : str
    derivative_from : {"A", "Z"}
        What `backward` reads: the activation A or the linear part Z.
    range : tuple of float
        The closed interval that holds every value of A; a loss checks that it can use them.
    builtin : str or None
        The key by which a backend finds its fused kernel; None for everyone else's activations.
    """

    name: str
    derivative_from: Literal["A", "Z"]
    range: tuple[float, float]
    builtin: str | None

    @abstractmethod
    def forward(self, xp: Namespace, Z: Array) -> Array:
        """Return A = g(Z), of the shape and dtype of Z."""

    @abstractmethod
    def backward(self, xp: Namespace, dA: Array, cache: Array) -> Array:
        """Return dZ from dA and `cache`, which is A or Z as `derivative_from` says."""


@dataclass(frozen=True)
class Elementwise(Activation):
    """An activation that treats every element alike: dZ = dA * g'(Z).

    Parameters
    ----------
    name : str
    g : callable (xp, Z) -> A
    derivative : callable (xp, cache) -> g'
        The derivative, written from A or from Z.
    derivative_from : {"A", "Z"}
    range : tuple of float, optional
        Closed interval of the values of A.
    alpha : float, optional
        The parameter of leaky ReLU and ELU.
    builtin : str, optional
        Leave it out: it marks nnx's own formulas, for which backends have fused kernels.

    Examples
    --------
    >>> import numpy as np
    >>> cube = Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
    >>> cube.backward(np, np.ones((1, 1)), np.full((1, 1), 2.0))
    array([[12.]])
    """

    name: str
    g: Callable[[Namespace, Array], Array]
    derivative: Callable[[Namespace, Array], Array]
    derivative_from: Literal["A", "Z"] = "A"
    range: tuple[float, float] = (-math.inf, math.inf)
    alpha: float = 0.0
    builtin: str | None = None

    def forward(self, xp: Namespace, Z: Array) -> Array:
        """Return A = g(Z)."""
        return self.g(xp, Z)

    def backward(self, xp: Namespace, dA: Array, cache: Array) -> Array:
        """Return dZ = dA * g'."""
        return dA * self.derivative(xp, cache)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle nnx's own by name, since their formulas are lambdas."""
        if self.builtin in ("leaky_relu", "elu"):
            return {"leaky_relu": leaky_relu, "elu": elu}[self.builtin], (self.alpha,)
        if self.builtin is not None:
            return get_activation, (self.name,)
        return super().__reduce_ex__(protocol)


@dataclass(frozen=True)
class Softmax(Activation):
    """a_j = exp(z_j) / sum_k exp(z_k), over the units of one example (a column)."""

    name: str = "softmax"
    derivative_from: Literal["A", "Z"] = "A"
    range: tuple[float, float] = (0.0, 1.0)
    builtin: str | None = "softmax"

    def forward(self, xp: Namespace, Z: Array) -> Array:
        """Return A; the largest z is subtracted first, so that nothing overflows."""
        E = xp.exp(Z - xp.max(Z, axis=0, keepdims=True))
        return E / xp.sum(E, axis=0, keepdims=True)

    def backward(self, xp: Namespace, dA: Array, cache: Array) -> Array:
        """Return dZ = A * (dA - sum_k A_k dA_k): the Jacobian is diag(a) - a a^T."""
        return cache * (dA - xp.sum(cache * dA, axis=0, keepdims=True))


def sigmoid(xp: Namespace, Z: Array) -> Array:
    """1 / (1 + exp(-Z)), without overflow: exp is only taken of numbers below zero."""
    E = xp.exp(-xp.abs(Z))
    return xp.where(Z >= 0, xp.ones_like(E), E) / (1 + E)


def _step(xp: Namespace, A: Array) -> Array:
    return xp.astype(A > 0, A.dtype)


def _elu(xp: Namespace, Z: Array, alpha: float) -> Array:
    return xp.where(Z > 0, Z, alpha * xp.expm1(xp.minimum(Z, xp.zeros_like(Z))))


def _softplus(xp: Namespace, Z: Array) -> Array:
    return xp.maximum(Z, xp.zeros_like(Z)) + xp.log1p(xp.exp(-xp.abs(Z)))


_GELU_C = math.sqrt(2 / math.pi)
_GELU_K = 0.044715


def _gelu(xp: Namespace, Z: Array) -> Array:
    """The tanh form of Hendrycks & Gimpel (2016), which GPU epilogues compute too."""
    return 0.5 * Z * (1 + xp.tanh(_GELU_C * (Z + _GELU_K * Z * Z * Z)))


def _gelu_derivative(xp: Namespace, Z: Array) -> Array:
    T = xp.tanh(_GELU_C * (Z + _GELU_K * Z * Z * Z))
    return 0.5 * (1 + T) + 0.5 * Z * (1 - T * T) * _GELU_C * (1 + 3 * _GELU_K * Z * Z)


def _silu_derivative(xp: Namespace, Z: Array) -> Array:
    S = sigmoid(xp, Z)
    return S * (1 + Z * (1 - S))


# Klambauer et al. (2017), "Self-normalizing neural networks", eq. 2 and the constants after it.
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805

_POSITIVE = (0.0, math.inf)


def leaky_relu(alpha: float = 0.01) -> Elementwise:
    """A = Z where Z > 0, else alpha Z; 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise DataError(f"leaky_relu: alpha must be between 0 and 1, got {alpha}")
    return Elementwise(
        "leaky_relu",
        lambda xp, Z: xp.where(Z > 0, Z, alpha * Z),
        lambda xp, A: xp.where(A > 0, xp.ones_like(A), xp.full_like(A, alpha)),
        alpha=alpha,
        builtin="leaky_relu",
    )


def elu(alpha: float = 1.0) -> Elementwise:
    """A = Z where Z > 0, else alpha (exp(Z) - 1); alpha > 0 (Clevert et al., 2015)."""
    if not alpha > 0:
        raise DataError(f"elu: alpha must be positive, got {alpha}")
    return Elementwise(
        "elu",
        lambda xp, Z: _elu(xp, Z, alpha),
        lambda xp, A: xp.where(A > 0, xp.ones_like(A), A + alpha),
        range=(-alpha, math.inf),
        alpha=alpha,
        builtin="elu",
    )


IDENTITY = Elementwise(
    "identity", lambda xp, Z: Z, lambda xp, A: xp.ones_like(A), builtin="identity"
)

ACTIVATIONS: dict[str, Activation] = {
    "identity": IDENTITY,
    "sigmoid": Elementwise(
        "sigmoid", sigmoid, lambda xp, A: A * (1 - A), range=(0.0, 1.0), builtin="sigmoid"
    ),
    "tanh": Elementwise(
        "tanh",
        lambda xp, Z: xp.tanh(Z),
        lambda xp, A: 1 - A * A,
        range=(-1.0, 1.0),
        builtin="tanh",
    ),
    "relu": Elementwise(
        "relu",
        lambda xp, Z: xp.maximum(Z, xp.zeros_like(Z)),
        _step,
        range=_POSITIVE,
        builtin="relu",
    ),
    "leaky_relu": leaky_relu(),
    "elu": elu(),
    "selu": Elementwise(
        "selu",
        lambda xp, Z: _SELU_SCALE * _elu(xp, Z, _SELU_ALPHA),
        lambda xp, A: xp.where(A > 0, xp.full_like(A, _SELU_SCALE), A + _SELU_SCALE * _SELU_ALPHA),
        range=(-_SELU_SCALE * _SELU_ALPHA, math.inf),
        builtin="selu",
    ),
    "gelu": Elementwise(
        "gelu", _gelu, _gelu_derivative, "Z", range=(-0.2, math.inf), builtin="gelu"
    ),
    "silu": Elementwise(
        "silu",
        lambda xp, Z: Z * sigmoid(xp, Z),
        _silu_derivative,
        "Z",
        range=(-0.3, math.inf),
        builtin="silu",
    ),
    "softplus": Elementwise(
        "softplus", _softplus, lambda xp, A: -xp.expm1(-A), range=_POSITIVE, builtin="softplus"
    ),
    "softmax": Softmax(),
    "exponential": Elementwise(
        "exponential",
        lambda xp, Z: xp.exp(Z),
        lambda xp, A: A,
        range=_POSITIVE,
        builtin="exponential",
    ),
}


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation of that name, or the object itself."""
    if isinstance(activation, Activation):
        return activation
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]
