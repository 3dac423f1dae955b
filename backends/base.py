"""One device: where its arrays live and how the primitives run there.

`Backend` works on any Array API namespace whose arrays can be written in place, through the
reference formulas. A faster backend overrides a primitive; it never changes what it means.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from nnx.backends import exchange
from nnx.backends.errors import DTypeError
from nnx.backends.floating import as_by_default
from nnx.backends.host import Memory, host_memory
from nnx.backends.reference import dense, dropout, losses
from nnx.backends.reference.activations import Activation
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.updates import UpdateRule
from nnx.backends.stream import Field, HostStream, Stream

Array = Any
_NO_OTHER = nullcontext()  # there is no other device; it holds nothing, so one serves all


@as_by_default  # small numbers may underflow
def _astype(xp: Any, x: Array, dtype: Any) -> Array:
    return xp.astype(x, dtype)


class Timer:
    """The result of `Backend.timer`: `seconds` is set when the block ends."""

    seconds: float = 0.0


class Backend:
    """The reference backend: any Array API namespace, e.g. array-api-strict.

    Parameters
    ----------
    xp : namespace
        Creates the arrays; they must support in-place operators.
    device : str
        The name by which `get_backend` finds this backend, such as "cpu" or "cuda:0".

    Attributes
    ----------
    slabs : int
        How many slabs a stream holds in the memory of the device.
    fused : bool
        Whether nnx's own activations, losses and masks run without temporary arrays.
    multiple : int
        Weight matrices take up multiples of so many rows and columns in the flat vector.
    trains_16_bit : bool
        Whether training steps can compute in bfloat16 and float16.
    """

    slabs = 1
    fused = False
    multiple = 1
    trains_16_bit = False

    def __init__(self, xp: Any, device: str) -> None:
        self.xp = xp
        self.device = device

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.device!r})"

    # -- arrays ---------------------------------------------------------------------------------

    def owns(self, x: object) -> bool:
        """Whether `x` is an array of this device already."""
        return exchange.namespace_of(x) is self.xp

    def dtype(self, name: str) -> Any:
        """Return this namespace's dtype of that name, such as "float32"."""
        return getattr(self.xp, name)

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool | None = None) -> Array:
        """Return `x` on this device.

        Parameters
        ----------
        x : array_like
            NumPy or CuPy arrays, anything with DLPack (PyTorch, JAX) or `__array__`, lists.
        dtype : str, optional
            "float32", "float64", "int64", ...; by default that of `x`.
        copy : bool, optional
            True always copies; otherwise only where the device or the dtype makes it necessary.

        Raises
        ------
        DTypeError
            Where `x` does not hold real numbers.
        """
        if not self.owns(x):
            x = self._from_host(exchange.to_numpy(x), dtype)
        elif not self.xp.isdtype(x.dtype, ("bool", "integral", "real floating")):
            raise DTypeError(f"wanted real numbers, got an array of dtype {x.dtype}")
        if dtype is not None and x.dtype != self.dtype(dtype):
            return _astype(self.xp, x, self.dtype(dtype))
        return self.xp.asarray(x, copy=True) if copy else x

    def _from_host(self, x: Any, dtype: str | None) -> Array:
        """Bring a NumPy array over; the standard has no float16, which is converted before."""
        if x.dtype.char == "e" and not hasattr(self.xp, "float16"):
            x = x.astype(dtype or "float32")
        return self.xp.asarray(x)

    def to_numpy(self, x: Array) -> Any:
        """Return `x` as a NumPy array; without a copy where it lies in host memory."""
        return exchange.to_numpy(x)

    def empty(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Return an uninitialised array; a matrix (n, m) keeps each column contiguous."""
        if len(shape) == 2:
            return self.xp.empty((shape[1], shape[0]), dtype=self.dtype(dtype)).T
        return self.xp.empty(shape, dtype=self.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Return zeros, laid out as `empty` does."""
        x = self.empty(shape, dtype)
        x[...] = 0
        return x

    # -- the device -----------------------------------------------------------------------------

    def active(self) -> AbstractContextManager[Any]:
        """Make this the current device for a block of plain array operations."""
        return _NO_OTHER

    def synchronize(self) -> None:
        """Wait until the device has done all that was asked of it."""

    @contextmanager
    def timer(self) -> Iterator[Timer]:
        """Time a block on the device's own clock: `with backend.timer() as t: ...; t.seconds`."""
        result = Timer()
        self.synchronize()
        start = time.perf_counter()
        yield result
        self.synchronize()
        result.seconds = time.perf_counter() - start

    def memory(self) -> Memory:
        """Return the memory figures of the device, in bytes."""
        return host_memory()

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that there was no memory left, on this device or on the host."""
        return isinstance(error, MemoryError)

    def release(self) -> None:
        """Give memory that is kept for reuse, but not in use, back to the device."""

    def stream(self, fields: Sequence[Field], columns: int) -> Stream:
        """Return what brings slabs of at most `columns` examples here; see `HostStream`."""
        return HostStream(self, fields, columns)

    def describe(self) -> dict[str, str]:
        """Return the device's name and the libraries that serve it, for records."""
        return {"device": self.device, "namespace": self.xp.__name__}

    def why_no_graphs(self, storage: str = "float32", compute: str = "float32") -> str | None:
        """Return what keeps training steps from running as CUDA graphs; None where nothing does.

        storage and compute are the dtypes of matrices and products, see `nnx.precision`.
        """
        return f"device {self.device!r} is not nnx's own CPU or GPU backend"

    # -- the primitives -------------------------------------------------------------------------

    def _put(self, result: Array, out: Array | None) -> Array:
        if out is None or out is result:
            return result
        out[...] = result
        return out

    @as_by_default
    def dense_forward(
        self,
        W: Array,
        b: Array,
        A_prev: Array,
        activation: Activation,
        *,
        A: Array | None = None,
        Z: Array | None = None,
    ) -> tuple[Array, Array | None]:
        """A[l] = g[l](W[l] A[l-1] + b[l]).

        W (n, n_prev), b (n, 1), A_prev (n_prev, m) -> A (n, m), Z (n, m). A and Z are written
        into where they are given. Z is None where A was given, Z was not, and nothing kept it.
        """
        a, z = dense.dense_forward(self.xp, W, b, A_prev, activation)
        keep = A is None or Z is not None
        return self._put(a, A), self._put(z, Z) if keep else None

    @as_by_default
    def dense_backward(
        self,
        W: Array,
        dZ: Array,
        activation_prev: Activation,
        cache_prev: Array,
        *,
        out: Array | None = None,
    ) -> Array:
        """dZ[l-1] = W[l]^T dZ[l] * g[l-1]'.

        W (n, n_prev), dZ (n, m), cache_prev (n_prev, m) -> dZ_prev (n_prev, m).
        """
        return self._put(dense.dense_backward(self.xp, W, dZ, activation_prev, cache_prev), out)

    @as_by_default
    def weight_gradient(
        self, dZ: Array, A_prev: Array, *, dW: Array | None = None, db: Array | None = None
    ) -> tuple[Array, Array]:
        """dW[l] = 1/m dZ[l] A[l-1]^T, (n, n_prev); db[l] = 1/m sum of dZ[l], (n, 1)."""
        w, v = dense.weight_gradient(self.xp, dZ, A_prev)
        return self._put(w, dW), self._put(v, db)

    @as_by_default
    def activation_backward(
        self, activation: Activation, dA: Array, cache: Array, *, out: Array | None = None
    ) -> Array:
        """dZ = dA * g'; cache is A or Z, as `activation.derivative_from` says. All (n, m)."""
        return self._put(activation.backward(self.xp, dA, cache), out)

    @as_by_default
    def loss_with_gradient(
        self,
        loss: Loss,
        activation: Activation,
        Z: Array,
        A: Array,
        Y: Array,
        weights: Array | None = None,
        *,
        dZ: Array | None = None,
    ) -> tuple[Array, Array]:
        """The cost J (a 0-d array on the device) and dZ[L] (n_y, m); weights (m,) of mean one."""
        J, d = losses.loss_with_gradient(self.xp, loss, activation, Z, A, Y, weights)
        return J, self._put(d, dZ)

    @as_by_default
    def update(
        self,
        rule: UpdateRule,
        theta: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Move theta by one update of `rule`, in place; t counts from 1."""
        rule.apply(self.xp, theta, gradient, slots, learning_rate, t)

    def gather(self, X: Array, index: Array, *, out: Array | None = None) -> Array:
        """X[:, index], (n, k), or X[index], (k,), for integer positions `index` (k,) in range."""
        return self._put(dense.gather(self.xp, X, index), out)

    @as_by_default
    def dropout(self, A: Array, key: int, keep_prob: float, *, out: Array | None = None) -> Array:
        """A * D / keep_prob with the mask D of `key`; out may be A itself."""
        return self._put(dropout.dropout(self.xp, A, key, keep_prob), out)

    def check_same(self, **arrays: Array) -> None:
        """Raise DTypeError unless every array is of this device."""
        for name, x in arrays.items():
            if not self.owns(x):
                raise DTypeError(
                    f"{name} is {exchange.kind_of(x)}, not an array of device {self.device!r}; "
                    f"convert it with get_backend({self.device!r}).asarray(...)"
                )
