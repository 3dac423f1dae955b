"""The L-layer network as the lecture writes it: parameters, forward, cost, backward."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

import numpy as np

from nnx.backends import Backend, get_backend
from nnx.backends.errors import DataError, ShapeError, unknown_name
from nnx.backends.floating import as_by_default
from nnx.backends.reference.dropout import at_example, make_key
from nnx.backends.reference.losses import Loss, get_loss
from nnx.inputs import bring_in, check_number, check_weights, check_X, check_Y
from nnx.layers import Dense, Layer, linear_backward
from nnx.named_views import NamedViews
from nnx.parameters import FlatVector
from nnx.penalties import Penalty
from nnx.precision import check_device, check_precision

Array = Any


class _HasBackend(Protocol):
    backend: Backend


_M = TypeVar("_M", bound=_HasBackend)
_P = ParamSpec("_P")
_R = TypeVar("_R")

DTYPES = ("float32", "float64")
_LOSS_OF_OUTPUT = {
    "softmax": "categorical_cross_entropy",
    "sigmoid": "binary_cross_entropy",
    "exponential": "poisson",
}


def on_its_device(
    method: Callable[Concatenate[_M, _P], _R],
) -> Callable[Concatenate[_M, _P], _R]:
    """Run a method with its object's device as the current one."""

    @wraps(method)
    def wrapped(self: _M, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self.backend.active():
            return method(self, *args, **kwargs)

    return wrapped


class Caches(list[Any]):
    """The caches of layers 1, ..., L, in order, and the output A[L] (n_y, m)."""

    A_L: Array


class Model:
    """The mathematics of `Network`, which documents the parameters.

    Attributes
    ----------
    layers : tuple of Layer
    n : tuple of int
        (n_x, n[1], ..., n[L]).
    loss : Loss
    penalty : Penalty
    backend : Backend
    dtype : str
    precision : str or None
    seed : int
    vector : FlatVector
        theta and its views.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        n_x: int,
        loss: str | Loss | None = None,
        device: str | Backend = "auto",
        dtype: str = "float32",
        precision: str | None = None,
        seed: int = 0,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        check_number("n_x", n_x, 1, whole=True)
        check_number("seed", seed, 0, whole=True)
        self.layers = _checked_layers(layers)
        self.n = (int(n_x), *(int(layer.units) for layer in self.layers))
        self.loss = _checked_loss(loss, self.layers[-1])
        self.penalty = Penalty(l2, l1)
        self.dtype = _checked_dtype(dtype)
        self.precision = check_precision(precision, self.dtype)
        self.seed = int(seed)
        self.backend = get_backend(device)
        check_device(self.precision, self.backend)
        self.vector = self.zero_vector()
        rng = np.random.default_rng(self.seed)
        for views, specification in zip(self.vector.layers, self._specifications(), strict=True):
            for name, parameter in specification.items():
                start = np.broadcast_to(
                    parameter.initialiser(parameter.shape, rng), parameter.shape
                )
                views[name][...] = self.backend.asarray(start, self.dtype)

    # -- what it consists of --------------------------------------------------------------------

    @property
    def n_x(self) -> int:
        """Number of inputs."""
        return self.n[0]

    @property
    def n_y(self) -> int:
        """Number of outputs."""
        return self.n[-1]

    @property
    def L(self) -> int:
        """Number of layers, the inputs not counted."""
        return len(self.layers)

    @property
    def device(self) -> str:
        """Where the parameters live, such as "cpu" or "cuda:0"."""
        return self.backend.device

    @property
    def theta(self) -> Array:
        """All parameters in one flat vector, of which `parameters` are views."""
        return self.vector.flat

    @property
    def parameters(self) -> NamedViews:
        """The parameters "W1", "b1", ..., "WL", "bL", a mapping with a fixed set of names.

        `parameters["W1"] = W` checks W and copies it in, `parameters["W1"][...] = W` writes without
        a check; `update` takes several at once, and `parameters = {...}` all of them.
        """
        return self.vector.views

    @parameters.setter
    def parameters(self, values: Mapping[str, Any]) -> None:
        self.vector.views.replace(values)

    @property
    def n_parameters(self) -> int:
        """How many numbers the network learns."""
        return sum(int(np.prod(p.shape)) for p in self.parameters.values())

    def zero_vector(self, prefix: str = "", backend: Backend | None = None) -> FlatVector:
        """Return zeros laid out as theta: for gradients (prefix "d") and optimizers' state.

        They lie on the network's device, or on that of `backend`.
        """
        multiple = self.backend.multiple
        where = backend or self.backend
        return FlatVector(self._specifications(), where, self.dtype, prefix, multiple)

    def _specifications(self) -> list[Mapping[str, Any]]:
        return [
            layer.parameters(n_prev) for layer, n_prev in zip(self.layers, self.n[:-1], strict=True)
        ]

    def copy(
        self,
        *,
        device: str | Backend | None = None,
        dtype: str | None = None,
        precision: str | None = "same",
    ) -> Self:
        """Return an equal network with parameters of its own, on `device`, in `dtype`.

        A precision that the device does not have is kept: the network predicts there as
        everywhere, and an error says what to do where it is trained.
        """
        new = copy.copy(self)
        new.backend = self.backend if device is None else get_backend(device)
        new.dtype = self.dtype if dtype is None else _checked_dtype(dtype)
        if precision != "same":
            new.precision = check_precision(precision, new.dtype)
            check_device(new.precision, new.backend)
        elif new.dtype != self.dtype:
            new.precision = None
        new.vector = new.zero_vector()
        for name, view in new.parameters.items():
            view[...] = new.backend.asarray(self.parameters[name], new.dtype)
        return new

    # -- forward, cost, backward ----------------------------------------------------------------

    @on_its_device
    @as_by_default
    def forward(
        self, X: Any, *, train: bool = False, t: int = 0, first: int = 0, check: bool = True
    ) -> tuple[Array, Caches]:
        """A[l] = g[l](W[l] A[l-1] + b[l]) for l = 1, ..., L.

        Parameters
        ----------
        X : array_like (n_x, m)
            One example per column.
        train : bool
            Whether dropout applies.
        t : int
            The number of the training step, which chooses the dropout masks.
        first : int
            The position of X's first example in the batch, where X is a later block of one: its
            dropout masks are those that it has there.
        check : bool
            False leaves out the search for NaN and infinity.

        Returns
        -------
        A_L : array (n_y, m)
        caches : list
            For each layer what its backward function needs.

        Raises
        ------
        ShapeError, DTypeError, DataError
        """
        A = check_X(X, self.n_x, self.backend, self.dtype, finite=check)
        caches = Caches()
        for number, layer in enumerate(self.layers, 1):
            key = make_key(self.seed, t, number) if train else None
            if key is not None and first:
                key = at_example(key, first, self.n[number])
            self._check_input(A, number)
            A, cache = layer.forward(self.vector.layers[number - 1], A, key)
            caches.append(cache)
        if A.ndim != 2 or A.shape[0] != self.n_y:
            raise ShapeError(
                f"layer {self.L} has {self.n_y} units, so it must return A[{self.L}] of shape "
                f"({self.n_y}, m); got {tuple(A.shape)}"
            )
        caches.A_L = A
        return A, caches

    def _check_input(self, A: Array, number: int) -> None:
        needed = self.n[number - 1]
        if A.ndim == 2 and A.shape[0] == needed:
            return
        W = self.parameters.get(f"W{number}")
        whose = f"layer {number} takes n[{number - 1}] = {needed} inputs, so it needs"
        if W is not None:
            whose = f"W[{number}] is {tuple(W.shape)}, so layer {number} needs"
        raise ShapeError(f"{whose} A[{number - 1}] of shape ({needed}, m); got {tuple(A.shape)}")

    @on_its_device
    @as_by_default
    def cost(
        self, A_L: Array, Y: Any, *, caches: Sequence[Any] | None = None, sample_weight: Any = None
    ) -> float:
        """J = 1/m sum_i s_i L(a_i, y_i), plus the penalties.

        Parameters
        ----------
        A_L : array (n_y, m)
            The output of `forward`.
        Y : array_like
            Labels (m,), or one-hot columns or values (n_y, m).
        caches : list, optional
            The caches of the same `forward`: with them the cost is exact even where a
            probability in A_L has been rounded to 0 or 1.
        sample_weight : array_like (m,), optional
            The s_i, scaled to mean one.
        """
        A_L = self._check_output(A_L)
        m = A_L.shape[1]
        losses = self.losses(A_L, self.check_Y(Y, m), caches)
        weights = self._mean_one(sample_weight, m)
        xp = self.backend.xp
        J = xp.mean(losses if weights is None else losses * weights)
        if self.penalty:
            J = J + self.penalty.cost(xp, self.theta[: self.vector.penalised], m)
        return float(J)

    def losses(self, A_L: Array, Y: Array, caches: Sequence[Any] | None) -> Array:
        """The loss of each example, (m,), for Y from `check_Y`; from Z[L] where that is exact."""
        xp, layer = self.backend.xp, self.layers[-1]
        if caches is not None and isinstance(layer, Dense) and layer.g.builtin == self.loss.link:
            return self.loss.linked_losses(xp, caches[-1].Z, Y)
        return self.loss.losses(xp, A_L, Y)

    def check_Y(self, Y: Any, m: int) -> Array:
        """Return the targets of m examples in the form that the loss reads; see `nnx.inputs`."""
        return check_Y(Y, self.loss, self.n_y, m, self.backend, self.dtype)

    @on_its_device
    @as_by_default
    def backward(self, Y: Any, caches: Sequence[Any], *, sample_weight: Any = None) -> NamedViews:
        """dW[l] = 1/m dZ[l] A[l-1]^T, db[l] = 1/m sum of dZ[l], for l = L, ..., 1.

        Parameters
        ----------
        Y : array_like
            Labels (m,), or one-hot columns or values (n_y, m).
        caches : list
            From `forward`.
        sample_weight : array_like (m,), optional

        Returns
        -------
        mapping
            "dW1", "db1", ..., "dWL", "dbL": the gradient of `cost`, penalties included.
        """
        if not isinstance(caches, Caches) or len(caches) != self.L:
            raise DataError("caches must be the second result of this network's forward")
        m = int(caches.A_L.shape[1])
        Y = self.check_Y(Y, m)
        gradient = self.zero_vector("d")
        self.backward_into(gradient, Y, caches, self._mean_one(sample_weight, m))
        if self.penalty:
            part = slice(gradient.penalised)
            self.penalty.add_gradient(self.backend.xp, self.theta[part], gradient.flat[part], m)
        return gradient.views

    def backward_into(
        self, gradient: FlatVector, Y: Array, caches: Caches, weights: Array | None
    ) -> Array:
        """`backward` without checks and penalties, into `gradient`; return J, a 0-d array."""
        J, dA, gradients = self._backward_output(Y, caches, weights)
        for number in range(self.L, 0, -1):
            if number < self.L:
                dA, gradients = self.layers[number - 1].backward(dA, caches[number - 1])
            for name, view in gradient.layers[number - 1].items():
                view[...] = gradients[name]
        return J

    def _backward_output(
        self, Y: Array, caches: Caches, weights: Array | None
    ) -> tuple[Array, Array, Mapping[str, Array]]:
        """The output layer's step: from the loss straight to dZ[L] where the layer is dense."""
        layer, cache, xp = self.layers[-1], caches[-1], self.backend.xp
        if isinstance(layer, Dense):
            J, dZ = self.backend.loss_with_gradient(
                self.loss, layer.g, cache.Z, cache.A, Y, weights
            )
            dA, dW, db = linear_backward(dZ, cache)
            return J, dA, {"W": dW, "b": db}
        losses, dA = self.loss.losses(xp, caches.A_L, Y), self.loss.gradient(xp, caches.A_L, Y)
        if weights is not None:
            losses, dA = losses * weights, dA * weights[None, :]
        return xp.mean(losses), *layer.backward(dA, cache)

    def _check_output(self, A_L: Any) -> Array:
        A_L = bring_in("A[L]", A_L, self.backend, self.dtype)
        if A_L.ndim != 2 or A_L.shape[0] != self.n_y or A_L.shape[1] == 0:
            raise ShapeError(f"A[L] must be of shape ({self.n_y}, m); got {tuple(A_L.shape)}")
        return A_L

    def _mean_one(self, sample_weight: Any, m: int) -> Array | None:
        weights = check_weights(sample_weight, None, None, self.loss, m, self.backend, self.dtype)
        return None if weights is None else weights / self.backend.xp.mean(weights)


def _checked_layers(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    layers = tuple(layers)
    if not layers:
        raise DataError("layers is empty; a network needs one layer or more")
    for number, layer in enumerate(layers, 1):
        if not isinstance(layer, Layer):
            raise DataError(
                f"layers[{number - 1}] must be an nnx.Layer such as Dense, got {layer!r}"
            )
        check_number(f"the units of layers[{number - 1}]", layer.units, 1, whole=True)
    last = layers[-1]
    if isinstance(last, Dense) and last.keep_prob < 1:
        raise DataError("the output layer must keep all its units: its keep_prob must be 1")
    if isinstance(last, Dense) and last.g.builtin == "softmax" and last.units == 1:
        raise DataError("softmax over one unit is always 1; use sigmoid, or one unit per class")
    return layers


def _checked_loss(loss: str | Loss | None, output: Layer) -> Loss:
    g = output.g if isinstance(output, Dense) else None
    if loss is None:
        name = None if g is None else g.builtin
        return get_loss(_LOSS_OF_OUTPUT.get(name or "", "mean_squared_error"))
    found = get_loss(loss)
    if g is None:
        return found
    low, high = found.domain
    if g.range[0] < low or g.range[1] > high:
        raise DataError(
            f"{found.name} needs outputs in [{low:g}, {high:g}], and {g.name} gives "
            f"[{g.range[0]:g}, {g.range[1]:g}]; use {found.link!r} for the output layer"
        )
    return found


def _checked_dtype(dtype: str) -> str:
    name = getattr(dtype, "__name__", None) or str(dtype)
    if name not in DTYPES:
        raise unknown_name("dtype", name, DTYPES)
    return name
