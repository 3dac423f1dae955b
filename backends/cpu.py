"""The CPU through NumPy: outputs are preallocated, tails run in place in cache-sized blocks."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any

import numpy as np

from nnx.backends import exchange
from nnx.backends.base import Backend
from nnx.backends.floating import as_by_default
from nnx.backends.reference.activations import Activation
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.sklearn_losses import ClippedCategoricalCrossEntropy
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    UpdateRule,
)

Array = Any
_ALIGN = 256  # bytes: whole cache lines, so that no two arrays share one and vectors do not cross
_SHORT = 33  # with fewer units a column is worth moving before it is reduced
_BLOCK = 16_384  # elements per block of an update: its few float32 blocks stay in a 1 MiB cache


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """An uninitialised C-ordered array that begins, and ends with its padding, on a cache line."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    room = np.empty(-(-size // _ALIGN) * _ALIGN + _ALIGN, np.uint8)
    start = -room.__array_interface__["data"][0] % _ALIGN
    return room[start : start + size].view(kind).reshape(shape)


@as_by_default  # small numbers may underflow
def _converted(array: Array, dtype: str) -> Array:
    return np.array(array, dtype=dtype, order="K")


class CpuBackend(Backend):
    """NumPy arrays in host memory."""

    def __init__(self) -> None:
        super().__init__(np, "cpu")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.device!r})"

    def owns(self, x: object) -> bool:
        """Whether `x` is a NumPy array, and none of those whose arithmetic is another."""
        if type(x) is np.ndarray:
            return True
        return isinstance(x, np.ndarray) and not isinstance(x, np.matrix | np.ma.MaskedArray)

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool | None = None) -> Array:
        """Return `x` as a NumPy array; in DLPack's and NumPy's own memory where it can be."""
        array = exchange.to_numpy(x)
        if dtype is None or array.dtype == dtype:
            return np.array(array, copy=copy, order="K")
        return _converted(array, dtype)

    def empty(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Return an uninitialised array on cache lines of its own; a matrix as Fortran order."""
        return aligned(shape[::-1], dtype).T if len(shape) == 2 else aligned(shape, dtype)

    def describe(self) -> dict[str, str]:
        """Return the processor's name and NumPy's version."""
        return {
            "device": "cpu",
            "name": platform.processor() or platform.machine(),
            "numpy": np.__version__,
        }

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
        """A[l] = g[l](W[l] A[l-1] + b[l]); see `Backend.dense_forward`."""
        if A is None:
            A = self.empty((W.shape[0], A_prev.shape[1]), W.dtype.name)
            Z = self.empty(A.shape, W.dtype.name) if Z is None else Z
        linear = A if Z is None else Z
        np.matmul(A_prev.T, W.T, out=linear.T)
        linear += b
        if activation.builtin == "relu":
            np.maximum(linear, 0, out=A)
        elif activation.builtin == "tanh":
            np.tanh(linear, out=A)
        elif activation.builtin == "softmax" and A.size:
            # NumPy reduces short columns one by one; rows, and a product with ones, go at once.
            rows = np.ascontiguousarray(linear) if len(linear) < _SHORT else linear
            np.subtract(linear, np.maximum.reduce(rows, axis=0), out=A)
            np.exp(A, out=A)
            A /= A.T @ np.ones(len(A), A.dtype)
        elif activation.builtin != "identity" or Z is not None:
            A[...] = activation.forward(np, linear)
        return A, Z

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
        """dZ[l-1] = W[l]^T dZ[l] * g[l-1]'; see `Backend.dense_backward`."""
        if out is None:
            out = self.empty(cache_prev.shape, W.dtype.name)
        np.matmul(dZ.T, W, out=out.T)
        return self.activation_backward(activation_prev, out, cache_prev, out=out)

    @as_by_default
    def activation_backward(
        self, activation: Activation, dA: Array, cache: Array, *, out: Array | None = None
    ) -> Array:
        """dZ = dA * g'; see `Backend.activation_backward`."""
        if activation.builtin == "relu":
            return np.multiply(dA, cache > 0, out=out)
        if activation.builtin == "identity":
            return self._put(dA, out)
        return self._put(activation.backward(np, dA, cache), out)

    @as_by_default
    def weight_gradient(
        self, dZ: Array, A_prev: Array, *, dW: Array | None = None, db: Array | None = None
    ) -> tuple[Array, Array]:
        """dW[l] and db[l]; see `Backend.weight_gradient`."""
        m = dZ.shape[1]
        dW = np.matmul(dZ, A_prev.T, out=dW)
        dW /= m
        # A product with ones adds in blocks, as np.sum does, but reads dZ at the speed of memory.
        db = np.matmul(dZ, np.full((m, 1), 1 / m, dtype=dZ.dtype), out=db)
        return dW, db

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
        """J and dZ[L]; see `Backend.loss_with_gradient`. Labels with softmax take a short way."""
        if (
            type(loss) is not ClippedCategoricalCrossEntropy
            or activation.builtin != "softmax"
            or loss.label_smoothing
            or Y.ndim != 1
        ):
            return super().loss_with_gradient(loss, activation, Z, A, Y, weights, dZ=dZ)
        examples, eps = np.arange(Y.shape[0]), np.finfo(A.dtype).eps
        L = -np.log(np.minimum(np.maximum(A[Y, examples], eps), 1 - eps))
        dZ = np.empty_like(A) if dZ is None else dZ
        dZ[...] = A
        dZ[Y, examples] -= 1
        if weights is None:
            return np.add.reduce(L) / L.size, dZ
        dZ *= weights
        return np.add.reduce(L * weights) / L.size, dZ

    def gather(self, X: Array, index: Array, *, out: Array | None = None) -> Array:
        """X[:, index]; each example is copied as one contiguous run."""
        # mode="clip" writes straight into out; the positions are in range by contract.
        taken = np.take(X.T, index, axis=0, out=None if out is None else out.T, mode="clip")
        return taken.T if out is None else out

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
        """One update, block by block, so that each vector passes through the cache once."""
        if type(rule) not in (AdamRule, GradientDescentRule, MomentumRule):
            rule.apply(np, theta, gradient, slots, learning_rate, t)
            return
        for start in range(0, theta.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            views = {name: slot[part] for name, slot in slots.items()}
            rule.apply(np, theta[part], gradient[part], views, learning_rate, t)
