"""The lecture's building blocks: forward takes A[l-1] and gives A[l] and a cache; backward takes
dA[l] and the cache and gives dA[l-1], dW[l], db[l]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nnx.backends import backend_of
from nnx.backends.errors import DataError, ShapeError
from nnx.backends.reference.activations import Activation, get_activation
from nnx.initialisers import Initialiser, get_initialiser

Array = Any


class DenseCache(NamedTuple):
    """What the backward function of a dense layer needs of its forward function."""

    A_prev: Array
    W: Array
    Z: Array
    A: Array
    activation: Activation
    keep_prob: float = 1.0
    key: int = 0


def dense_forward(
    W: Array,
    b: Array,
    A_prev: Array,
    activation: str | Activation,
    *,
    keep_prob: float = 1.0,
    key: int = 0,
) -> tuple[Array, DenseCache]:
    """Z[l] = W[l] A[l-1] + b[l], A[l] = g[l](Z[l]), then inverted dropout where keep_prob < 1.

    Parameters
    ----------
    W : array (n, n_prev)
    b : array (n, 1)
    A_prev : array (n_prev, m)
    activation : str or Activation
    keep_prob : float, optional
        The probability with which dropout keeps a unit.
    key : int, optional
        Chooses the dropout mask; the same key gives the same mask on every device.

    Returns
    -------
    A : array (n, m)
    cache : DenseCache

    Raises
    ------
    ShapeError
        Names the array that does not fit, the shape found and the shape needed.
    """
    g = get_activation(activation)
    if W.ndim != 2 or A_prev.ndim != 2 or A_prev.shape[0] != W.shape[1]:
        raise ShapeError(
            f"W is {tuple(W.shape)}, so A_prev must be of shape "
            f"({W.shape[-1]}, m); got {tuple(A_prev.shape)}"
        )
    if tuple(b.shape) != (W.shape[0], 1):
        raise ShapeError(
            f"W is {tuple(W.shape)}, so b must be of shape ({W.shape[0]}, 1); got {tuple(b.shape)}"
        )
    backend = backend_of(W)
    backend.check_same(b=b, A_prev=A_prev)
    A, Z = backend.dense_forward(W, b, A_prev, g)
    cache = DenseCache(A_prev, W, Z, A, g, keep_prob, key)
    return (A if keep_prob == 1 else backend.dropout(A, key, keep_prob)), cache


def linear_backward(dZ: Array, cache: DenseCache) -> tuple[Array, Array, Array]:
    """dA[l-1] = W[l]^T dZ[l], dW[l] = 1/m dZ[l] A[l-1]^T, db[l] = 1/m sum dZ[l]."""
    dW, db = backend_of(cache.W).weight_gradient(dZ, cache.A_prev)
    return cache.W.T @ dZ, dW, db


def dense_backward(dA: Array, cache: DenseCache) -> tuple[Array, Array, Array]:
    """dZ[l] = dA[l] * g[l]'(Z[l]), then `linear_backward`.

    dA (n, m) -> dA_prev (n_prev, m), dW (n, n_prev), db (n, 1).
    """
    if tuple(dA.shape) != tuple(cache.A.shape):
        raise ShapeError(
            f"A is {tuple(cache.A.shape)}, so dA must be of the same shape; got {tuple(dA.shape)}"
        )
    backend = backend_of(cache.W)
    if cache.keep_prob < 1:
        dA = backend.dropout(dA, cache.key, cache.keep_prob)
    kept = cache.A if cache.activation.derivative_from == "A" else cache.Z
    return linear_backward(backend.activation_backward(cache.activation, dA, kept), cache)


@dataclass(frozen=True)
class Dense:
    """A fully connected layer of `units` units.

    Parameters
    ----------
    units : int
        n[l].
    activation : str or Activation
        g[l].
    keep_prob : float
        Dropout keeps a unit's activation with this probability while training.
    initialiser : str or callable (shape, rng) -> array, optional
        By default He for ReLU and its kin, LeCun for SELU, else Glorot; b[l] starts at zero.
    """

    units: int
    activation: str | Activation = "identity"
    keep_prob: float = 1.0
    initialiser: str | Initialiser | None = field(default=None)

    def __post_init__(self) -> None:
        if isinstance(self.units, bool) or not isinstance(self.units, int) or self.units < 1:
            raise DataError(f"Dense: units must be a positive integer, got {self.units!r}")
        if not 0 < self.keep_prob <= 1:
            raise DataError(f"Dense: keep_prob must be in (0, 1], got {self.keep_prob!r}")
        get_initialiser(self.initialiser, self.g)

    @property
    def g(self) -> Activation:
        """The activation as an object."""
        return get_activation(self.activation)
