"""The lecture's building blocks: forward takes A[l-1] and gives A[l] and a cache; backward takes
dA[l] and the cache and gives dA[l-1], dW[l], db[l]. `Layer` is the protocol of one's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from nnx.backends import backend_of
from nnx.backends.errors import DataError, ShapeError
from nnx.backends.reference.activations import IDENTITY, Activation, get_activation
from nnx.initialisers import Initialiser, get_initialiser, zeros
from nnx.inputs import check_number
from nnx.parameters import Parameter

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
    backend.check_same(W=W, b=b, A_prev=A_prev)
    A, Z = backend.dense_forward(W, b, A_prev, g)
    cache = DenseCache(A_prev, W, Z, A, g, keep_prob, key)
    return (A if keep_prob == 1 else backend.dropout(A, key, keep_prob)), cache


def linear_backward(dZ: Array, cache: DenseCache) -> tuple[Array, Array, Array]:
    """dA[l-1] = W[l]^T dZ[l], dW[l] = 1/m dZ[l] A[l-1]^T, db[l] = 1/m sum dZ[l]."""
    backend = backend_of(cache.W)
    dW, db = backend.weight_gradient(dZ, cache.A_prev)
    return backend.dense_backward(cache.W, dZ, IDENTITY, cache.A_prev), dW, db


def dense_backward(dA: Array, cache: DenseCache) -> tuple[Array, Array, Array]:
    """dZ[l] = dA[l] * g[l]'(Z[l]), then `linear_backward`.

    dA (n, m) -> dA_prev (n_prev, m), dW (n, n_prev), db (n, 1).
    """
    if tuple(dA.shape) != tuple(cache.A.shape):
        raise ShapeError(
            f"A is {tuple(cache.A.shape)}, so dA must be of the same shape; got {tuple(dA.shape)}"
        )
    backend = backend_of(cache.W)
    backend.check_same(dA=dA)
    if cache.keep_prob < 1:
        dA = backend.dropout(dA, cache.key, cache.keep_prob)
    kept = cache.A if cache.activation.derivative_from == "A" else cache.Z
    return linear_backward(backend.activation_backward(cache.activation, dA, kept), cache)


class Layer(ABC):
    """One layer of a network; a subclass is a layer of one's own.

    `units` is n[l], the height of the layer's output A[l] (n[l], m). Make the subclass a
    dataclass with plain fields, and `Network.save` can describe it.

    Examples
    --------
    A layer that multiplies each input by a learned number:

    >>> from dataclasses import dataclass
    >>> import nnx
    >>> @dataclass(frozen=True)
    ... class Scale(nnx.Layer):
    ...     units: int
    ...
    ...     def parameters(self, n_prev):
    ...         ones = lambda shape, rng: 1.0
    ...         return {"s": nnx.Parameter((self.units, 1), ones, penalised=False)}
    ...
    ...     def forward(self, parameters, A_prev, key):
    ...         return parameters["s"] * A_prev, (A_prev, parameters["s"])
    ...
    ...     def backward(self, dA, cache):
    ...         A_prev, s = cache
    ...         return s * dA, {"s": (dA * A_prev).mean(axis=1, keepdims=True)}
    >>> net = nnx.Network([Scale(3), nnx.Dense(1)], n_x=3, device="cpu")
    >>> list(net.parameters)
    ['s1', 'W2', 'b2']
    """

    units: int

    @abstractmethod
    def parameters(self, n_prev: int) -> Mapping[str, Parameter]:
        """Return the parameters of a layer with `n_prev` inputs, by name."""

    @abstractmethod
    def forward(
        self, parameters: Mapping[str, Array], A_prev: Array, key: int | None
    ) -> tuple[Array, Any]:
        """A_prev (n_prev, m) -> A (units, m), and the cache that `backward` needs.

        `key` is None outside training; in training it is a 64-bit number that differs from layer
        to layer and from step to step, for whatever is random.
        """

    @abstractmethod
    def backward(self, dA: Array, cache: Any) -> tuple[Array, Mapping[str, Array]]:
        """DA (units, m) -> dA_prev (n_prev, m), and the gradients by parameter name.

        dA is per example, not divided by m; the gradients are means over the m examples.
        """


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer of `units` units, with W (units, n_prev) and b (units, 1).

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
    initialiser: str | Initialiser | None = None

    def __post_init__(self) -> None:
        check_number("Dense: units", self.units, 1, whole=True)
        object.__setattr__(self, "units", int(self.units))  # NumPy's small integers overflow
        check_number("Dense: keep_prob", self.keep_prob, 0, strict=True)
        if self.keep_prob > 1:
            raise DataError(f"Dense: keep_prob must be in (0, 1], got {self.keep_prob!r}")
        get_initialiser(self.initialiser, self.g)

    @property
    def g(self) -> Activation:
        """The activation as an object."""
        return get_activation(self.activation)

    def parameters(self, n_prev: int) -> Mapping[str, Parameter]:
        """W (units, n_prev), b (units, 1)."""
        initialiser = get_initialiser(self.initialiser, self.g)
        return {
            "W": Parameter((self.units, n_prev), initialiser, penalised=True),
            "b": Parameter((self.units, 1), zeros, penalised=False),
        }

    def forward(
        self, parameters: Mapping[str, Array], A_prev: Array, key: int | None
    ) -> tuple[Array, DenseCache]:
        """`dense_forward`, with dropout where there is a key."""
        keep_prob = 1.0 if key is None else self.keep_prob
        return dense_forward(
            parameters["W"], parameters["b"], A_prev, self.g, keep_prob=keep_prob, key=key or 0
        )

    def backward(self, dA: Array, cache: DenseCache) -> tuple[Array, Mapping[str, Array]]:
        """`dense_backward`."""
        dA_prev, dW, db = dense_backward(dA, cache)
        return dA_prev, {"W": dW, "b": db}
