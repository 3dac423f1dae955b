"""One NVIDIA GPU through CuPy: the readable floor, a matrix product and a fused kernel per line.

A kernel runs where all its arrays are of one dtype, float32 or float64, and laid out as it reads
them; everything else goes through the reference formulas. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import array_api_compat.cupy
import cupy
import numpy as np

from nnx.backends import exchange
from nnx.backends.base import Backend, Timer
from nnx.backends.cuda.fused import (
    elementwise_kernel,
    fits,
    has_kernel,
    loss_kernel,
    update_kernel,
)
from nnx.backends.cuda.graph import GraphStream, is_out_of_memory
from nnx.backends.cuda.launch import C_TYPES, primitive_kernels
from nnx.backends.cuda.products import cublaslt, why_no_cublaslt
from nnx.backends.cuda.stream import SLOTS, PinnedStream
from nnx.backends.errors import DTypeError
from nnx.backends.host import Memory
from nnx.backends.reference.activations import Activation
from nnx.backends.reference.dropout import threshold
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.updates import UpdateRule
from nnx.backends.stream import Field, Stream

Array = Any


class CudaBackend(Backend):
    """CuPy arrays on the GPU number `index`.

    Every method makes its device the current one while it runs and leaves the work on CuPy's
    current stream of that device.
    """

    slabs = SLOTS
    fused = True
    # Tensor cores want 16 bytes of everything: 8 numbers of 16 bits.
    multiple = 8
    trains_16_bit = True

    def __init__(self, index: int) -> None:
        super().__init__(array_api_compat.cupy, f"cuda:{index}")
        self.index = index
        self._gpu = cupy.cuda.Device(index)
        self._graphs: GraphStream | None = None
        self._cublaslt: Any = None
        self._no_graphs: dict[tuple[str, str], str | None] = {}
        self._launch = primitive_kernels(cupy).launch

    # -- arrays ---------------------------------------------------------------------------------

    def owns(self, x: object) -> bool:
        """Whether `x` is a CuPy array in this GPU's memory."""
        return isinstance(x, cupy.ndarray) and x.data.device_id == self.index

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool | None = None) -> Array:
        """Return `x` on this GPU, its memory order kept; see `Backend.asarray`.

        CUDA arrays of other libraries are taken over through DLPack, without a copy where they
        lie on this GPU. Copies from pinned host memory run on the current stream: leave the
        source as it is until the stream has passed them.
        """
        if not isinstance(x, cupy.ndarray):
            x = exchange.exportable(x)
            x = cupy.from_dlpack(x) if exchange.on_cuda(x) else exchange.to_numpy(x)
        if x.dtype.kind not in "fiub":
            raise DTypeError(f"wanted real numbers, got an array of dtype {x.dtype}")
        if isinstance(x, cupy.ndarray) and not self.owns(x):
            x, copy = self._from_other_gpu(x), None
        with self._gpu:
            return cupy.array(x, dtype=dtype, copy=copy, order="K")

    def _from_other_gpu(self, x: Array) -> Array:
        # Each stream has to wait for the other: before the copy what is queued may still write x,
        # after it x may be freed and its memory be given to another array.
        with x.device:
            theirs = cupy.cuda.get_current_stream()
            x = x if x.flags.c_contiguous or x.flags.f_contiguous else x.copy(order="K")
            written = theirs.record()
        with self._gpu:
            ours = cupy.cuda.get_current_stream()
            ours.wait_event(written)
            copied = x.copy(order="K")
            read = ours.record()
        with x.device:
            theirs.wait_event(read)
        return copied

    def to_numpy(self, x: Array) -> Any:
        """Return `x` in host memory, in the same memory order."""
        return x.get(order="A") if isinstance(x, cupy.ndarray) else exchange.to_numpy(x)

    def empty(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Return an uninitialised array; a matrix (n, m) keeps each column contiguous."""
        with self._gpu:
            return cupy.empty(shape, self.dtype(dtype), order="F" if len(shape) == 2 else "C")

    def zeros(self, shape: tuple[int, ...], dtype: str = "float32") -> Array:
        """Return zeros, laid out as `empty` does."""
        with self._gpu:
            return cupy.zeros(shape, self.dtype(dtype), order="F" if len(shape) == 2 else "C")

    # -- the device -----------------------------------------------------------------------------

    def active(self) -> AbstractContextManager[Any]:
        """Make this the current device for a block of plain array operations."""
        return self._gpu  # type: ignore[no-any-return]

    def synchronize(self) -> None:
        """Wait until the GPU has done all that was asked of it."""
        self._gpu.synchronize()

    @contextmanager
    def timer(self) -> Iterator[Timer]:
        """Time what the block puts on the current stream, with CUDA events; waits at its end."""
        result = Timer()
        with self._gpu:
            start, end = cupy.cuda.Event(), cupy.cuda.Event()
            start.record()
        yield result
        with self._gpu:
            end.record()
            end.synchronize()
            result.seconds = cupy.cuda.get_elapsed_time(start, end) / 1000

    def memory(self) -> Memory:
        """Return what this process's arrays use of the GPU's memory, and what is left.

        `free` counts the blocks that CuPy's pool keeps for reuse, since new arrays can have them,
        and no more than the pool's limit leaves.
        """
        pool = cupy.get_default_memory_pool()
        with self._gpu:
            free, total = cupy.cuda.runtime.memGetInfo()
            used, free, limit = pool.used_bytes(), free + pool.free_bytes(), pool.get_limit()
            if limit:
                free = max(0, min(free, limit - used))
            return Memory(used, free, total, None)

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether an error says that the GPU, its pool or pinned memory was used up."""
        return is_out_of_memory(error)

    def release(self) -> None:
        """Give the blocks that CuPy's pools keep for reuse back to the driver."""
        with self._gpu:
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    def stream(self, fields: Sequence[Field], columns: int) -> Stream:
        """Return what copies slabs from pinned memory while the GPU works; see `PinnedStream`."""
        return PinnedStream(self, cupy.cuda, fields, columns)

    def describe(self) -> dict[str, str]:
        """Return the GPU's name and compute capability, and the versions of what serves it."""
        runtime = cupy.cuda.runtime
        properties = runtime.getDeviceProperties(self.index)
        cuda = {"runtime": runtime.runtimeGetVersion(), "driver": runtime.driverGetVersion()}
        return {
            "device": self.device,
            "name": properties["name"].decode(),
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "cupy": cupy.__version__,
            **{f"cuda_{key}": f"{v // 1000}.{v % 1000 // 10}" for key, v in cuda.items()},
        }

    # -- the fast floor -------------------------------------------------------------------------

    def why_no_graphs(self, storage: str = "float32", compute: str = "float32") -> str | None:
        """Return what keeps steps from running as CUDA graphs; None where nothing does."""
        key = storage, compute
        if key not in self._no_graphs:
            reason = why_no_cublaslt() if self._cublaslt is None else None
            if reason is None:
                try:
                    with self._gpu:
                        reason = self.graphs().why_no_products(storage, compute)
                except Exception as error:  # whatever it is, training can do without
                    reason = f"cuBLASLt does not start: {error}"
                    if is_out_of_memory(error):
                        return reason  # not kept: there may be memory later
            self._no_graphs[key] = reason
        return self._no_graphs[key]

    @property
    def graphs_bytes(self) -> int:
        """Memory that the first graph will take for all that follow; 0 once it is taken."""
        return GraphStream.workspace_bytes if self._graphs is None else 0

    def use_cublaslt(self, api: Any) -> None:
        """Call these functions for matrix products, instead of those of nvmath-python."""
        self._cublaslt, self._graphs, self._no_graphs = api, None, {}

    def graphs(self) -> GraphStream:
        """Return the stream on which steps are recorded and replayed, made at its first use."""
        if self._graphs is None:
            with self._gpu:
                self._graphs = GraphStream(cupy, self._cublaslt or cublaslt())
        return self._graphs

    # -- the primitives -------------------------------------------------------------------------

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
        n, m, dtype = W.shape[0], A_prev.shape[1], W.dtype
        with self._gpu:
            if (
                A_prev.dtype != dtype
                or not fits(dtype, (n, 1), b)
                or not fits(dtype, (n, m), outputs=(A, Z))
            ):
                return super().dense_forward(W, b, A_prev, activation, A=A, Z=Z)
            if A is None:
                A = self.empty((n, m), dtype.name)
                Z = self.empty((n, m), dtype.name) if Z is None else Z
            linear = A if Z is None else Z
            # CuPy writes into C-contiguous outputs only: the transposed product is one.
            cupy.matmul(A_prev.T, W.T, out=linear.T)
            if not has_kernel(activation):
                linear += b
                A[...] = activation.forward(self.xp, linear)
            elif activation.builtin == "softmax":
                name = f"softmax_forward<{C_TYPES[dtype.name]}>"
                self._launch(name, m, linear, b, Z, A, n, m)
            else:
                name, alpha = elementwise_kernel("forward", activation, dtype)
                self._launch(name, A.size, linear, b, Z, A, alpha, n, A.size)
            return A, Z

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
        shape, dtype = (W.shape[1], dZ.shape[1]), W.dtype
        with self._gpu:
            if dZ.dtype != dtype or not fits(dtype, shape, outputs=(out,)):
                return super().dense_backward(W, dZ, activation_prev, cache_prev, out=out)
            out = self.empty(shape, dtype.name) if out is None else out
            cupy.matmul(dZ.T, W, out=out.T)
            return self.activation_backward(activation_prev, out, cache_prev, out=out)

    def activation_backward(
        self, activation: Activation, dA: Array, cache: Array, *, out: Array | None = None
    ) -> Array:
        """dZ = dA * g'; see `Backend.activation_backward`."""
        shape, dtype = dA.shape, dA.dtype
        with self._gpu:
            if activation.builtin == "identity":
                return self._put(dA, out)
            if not (
                has_kernel(activation)
                and dA.ndim == 2
                and fits(dtype, shape, dA, cache, outputs=(out,))
            ):
                return super().activation_backward(activation, dA, cache, out=out)
            out = self.empty(shape, dtype.name) if out is None else out
            if activation.builtin == "softmax":
                name = f"softmax_backward<{C_TYPES[dtype.name]}>"
                self._launch(name, shape[1], dA, cache, out, *shape)
            else:
                name, alpha = elementwise_kernel("backward", activation, dtype)
                self._launch(name, dA.size, dA, cache, out, alpha, dA.size)
            return out

    def weight_gradient(
        self, dZ: Array, A_prev: Array, *, dW: Array | None = None, db: Array | None = None
    ) -> tuple[Array, Array]:
        """dW[l] and db[l]; see `Backend.weight_gradient`."""
        dtype, m = dZ.dtype, dZ.shape[1]
        with self._gpu:
            if dtype.name not in C_TYPES or any(
                x is not None and x.dtype != dtype for x in (A_prev, dW, db)
            ):
                return super().weight_gradient(dZ, A_prev, dW=dW, db=db)
            # CuPy writes into C-contiguous outputs only, and a padded matrix is none.
            direct = dW if dW is None or dW.flags.c_contiguous else None
            product = cupy.matmul(dZ, A_prev.T, out=direct)
            product /= m
            dW = self._put(product, dW)
            db = cupy.sum(dZ, axis=1, keepdims=True, out=db)
            db /= m
            return dW, db

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
        """The cost J, a 0-d array on the GPU, and dZ[L]; see `Backend.loss_with_gradient`."""
        (n_y, m), dtype = A.shape, A.dtype
        kernel = loss_kernel(loss, activation, Z, A, Y, weights, dZ)
        with self._gpu:
            if kernel is None:
                return super().loss_with_gradient(loss, activation, Z, A, Y, weights, dZ=dZ)
            name, keep, rest = kernel
            dZ = self.empty((n_y, m), dtype.name) if dZ is None else dZ
            L = self.empty((m,), dtype.name)
            self._launch(name, m, Z, A, Y, weights, dZ, L, keep, rest, n_y, m)
            return cupy.mean(L), dZ

    def update(
        self,
        rule: UpdateRule,
        theta: Array,
        gradient: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Move theta by one update of `rule`, in one pass over all vectors."""
        vectors = [theta, gradient, *(slots[name] for name in rule.slots)]
        kernel = update_kernel(rule, theta.dtype, learning_rate, t)
        with self._gpu:
            if kernel is None or not fits(theta.dtype, theta.shape, *vectors):
                super().update(rule, theta, gradient, slots, learning_rate, t)
                return
            name, scalars = kernel
            self._launch(name, theta.size, *vectors, *scalars, theta.size)

    def gather(self, X: Array, index: Array, *, out: Array | None = None) -> Array:
        """X[:, index]; each example is copied as one contiguous run."""
        with self._gpu:
            if out is not None and out.dtype != X.dtype:
                return super().gather(X, index, out=out)
            taken = cupy.take(X.T, index, axis=0, out=None if out is None else out.T)
            return taken.T if out is None else out

    def dropout(self, A: Array, key: int, keep_prob: float, *, out: Array | None = None) -> Array:
        """A * D / keep_prob with the mask D of `key`; out may be A itself."""
        shape, dtype = A.shape, A.dtype
        with self._gpu:
            if not fits(dtype, shape, A, outputs=(out,)):
                return super().dropout(A, key, keep_prob, out=out)
            out = self.empty(shape, dtype.name) if out is None else out
            counter = np.uint64(key), np.uint64(threshold(keep_prob))
            scale = dtype.type(1 / keep_prob)
            self._launch(f"dropout<{C_TYPES[dtype.name]}>", A.size, A, out, *counter, scale, A.size)
            return out
