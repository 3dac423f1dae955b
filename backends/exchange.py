"""Arrays crossing the border: from any library to NumPy, and back to the kind that came in.

No array library is imported here: an array of a library cannot exist before the library is loaded.

What comes in may lie in memory in any way: in another byte order, at odd addresses, in strides, as
a subclass. Compiled code and matrix products read memory as it lies, so all of nnx works on what
`native` returns, and only what reads in parts takes arrays as `host_array` finds them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nnx.backends.errors import DTypeError
from nnx.backends.floating import as_by_default

Array = Any
_CUDA_DEVICES = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged
_FIRST_ADDED = 256  # the numbers of the dtypes that are not NumPy's own
_UNREADABLE = (BufferError, RuntimeError, TypeError, ValueError)
_REAL = frozenset("?bBhHiIlLqQefdg")
# What compiled code can read, in this machine's byte order.
_READY = frozenset(map(np.dtype, _REAL - {"g"}))


def kind_of(x: object) -> str:
    """Return the type's full name, for messages."""
    cls = type(x)
    return (
        cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    )


def namespace_of(x: object) -> Any:
    """Return the Array API namespace that `x` belongs to; None where it has none."""
    if isinstance(x, np.ndarray):
        return np
    if type(x).__module__.startswith("cupy"):
        import array_api_compat.cupy

        return array_api_compat.cupy
    get = getattr(x, "__array_namespace__", None)
    return None if get is None else get()


def on_cuda(x: Any) -> bool:
    """Whether a DLPack object lies in CUDA memory."""
    get = getattr(x, "__dlpack_device__", None)
    if get is None:
        return False
    try:
        return int(get()[0]) in _CUDA_DEVICES
    except ValueError:  # a device that DLPack has no number for, such as PyTorch's "meta"
        return False


def exportable(x: Any) -> Any:
    """Return an array in the form in which its library hands it over as it is; mostly `x` itself.

    Raises
    ------
    DTypeError
        Where `x` is sparse.
    """
    if isinstance(x, np.ndarray):
        return x
    if hasattr(x, "detach"):  # a PyTorch tensor that requires a gradient refuses DLPack
        x = x.detach()
        if hasattr(x, "resolve_neg"):  # and one whose sign is still to be turned goes without it
            x = x.resolve_neg()
    dense = _dense_method(x)
    if dense is not None:
        raise DTypeError(f"{kind_of(x)} is sparse; here a dense array is needed: pass x.{dense}()")
    if "bfloat16" in str(getattr(x, "dtype", "")):  # which NumPy and DLPack readers lack
        return x.float() if hasattr(x, "float") else x.astype("float32")
    return x


def _dense_method(x: Any) -> str | None:
    """The method that makes a sparse array dense; None where `x` is not sparse."""
    if hasattr(x, "to_dense") and str(getattr(x, "layout", "")) != "torch.strided":  # PyTorch
        return "to_dense"
    if hasattr(x, "tocsr"):  # SciPy, CuPy, Sparse
        return "toarray" if hasattr(x, "toarray") else "todense"
    # JAX's sparse arrays have nothing else by which NumPy could read them.
    readable = hasattr(x, "__array__") or hasattr(x, "__dlpack__")
    return "todense" if hasattr(x, "todense") and not readable else None


def host_array(x: Any) -> np.ndarray[Any, Any]:
    """Return real numbers as a NumPy array; without a copy where they lie in host memory.

    It lies there as it was found, in any byte order and alignment.

    Raises
    ------
    DTypeError
        Where `x` is sparse, has masked entries, or holds text, objects or complex numbers.
    """
    array = plain(x) if isinstance(x, np.ndarray) else _brought(exportable(x))
    if array.dtype not in _READY and not is_real(array.dtype):
        raise DTypeError(f"wanted real numbers, got an array of dtype {array.dtype}")
    return array


def _brought(x: Any) -> np.ndarray[Any, Any]:
    """Return another library's array in host memory."""
    if hasattr(x, "get") and on_cuda(x):  # CuPy
        return x.get(order="A")  # type: ignore[no-any-return]
    if on_cuda(x):  # PyTorch or JAX on a GPU: through CuPy, which then copies to the host
        from nnx.backends.cuda import from_dlpack

        return from_dlpack(x).get(order="A")  # type: ignore[no-any-return]
    return _read(x)


def _read(x: Any) -> np.ndarray[Any, Any]:
    """Return what DLPack, `__array__` or NumPy makes of `x`."""
    problem = "is not a rectangular array of numbers"
    if hasattr(x, "__dlpack__"):
        try:
            return np.from_dlpack(x)
        except _UNREADABLE as error:
            problem = f"cannot be read through DLPack ({error}), nor otherwise"
    try:
        return np.asarray(x)
    except _UNREADABLE as error:
        raise DTypeError(f"{kind_of(x)} {problem}: {error}") from None


def plain(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array of whichever subclass as an ndarray, in the same memory.

    Raises
    ------
    DTypeError
        Where it has masked entries: what lies beneath a mask is no value.
    """
    if type(x) is np.ndarray:
        return x
    ma = sys.modules.get("numpy.ma")
    if ma is not None and isinstance(x, ma.MaskedArray) and ma.is_masked(x):
        raise DTypeError(
            f"{int(ma.count_masked(x))} of {x.size} entries are masked; fill them, as with "
            "x.filled(...), or leave out their examples"
        )
    return np.asarray(x)


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether a dtype is one of real numbers, those that other libraries add among them."""
    if dtype.num < _FIRST_ADDED:
        return dtype.char in _REAL
    return _is_added(dtype) and np.can_cast(dtype, np.float32)


def _is_added(dtype: np.dtype[Any]) -> bool:
    """Whether another library made it: NumPy reads such numbers, and has no arithmetic for them."""
    return dtype.num >= _FIRST_ADDED and dtype.isbuiltin == 2


def native(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return an array as compiled code can read it: of NumPy's own dtypes, in this machine's byte
    order, aligned.

    Mostly it is the array itself; strides and memory order stay. bfloat16 and its kin become
    float32, long doubles float64. What holds no numbers is put in order likewise.
    """
    dtype = array.dtype
    if array.flags.aligned and (dtype in _READY or (dtype.isnative and not is_real(dtype))):
        return array
    return _converted(array)


@as_by_default  # long doubles may underflow
def _converted(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    dtype = array.dtype
    if dtype.char == "g" and dtype.num < _FIRST_ADDED:
        dtype = np.dtype(np.float64)
    elif dtype.num >= _FIRST_ADDED:
        if not is_real(dtype):
            return array
        dtype = np.dtype(np.float32)
    # A copy in any case: astype would leave an array at an odd address where it is.
    return np.array(array, dtype.newbyteorder("="), copy=True, order="K")


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Return real numbers as a NumPy array that can be computed with; see `native`.

    Without a copy where they lie in host memory in this form.

    Raises
    ------
    DTypeError
        Where `x` is sparse, has masked entries, or holds text, objects or complex numbers.
    """
    if type(x) is np.ndarray and x.dtype in _READY and x.flags.aligned:
        return x
    return native(host_array(x))


def like(result: Array, original: Any) -> Array:
    """Return `result` as the kind of array that `original` is, on `original`'s device.

    NumPy arrays, lists and everything else that is no array of another library give NumPy.
    """
    own = namespace_of(original)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(original, torch.Tensor):
        source = result if on_cuda(result) else np.ascontiguousarray(to_numpy(result))
        return torch.from_dlpack(source).to(original.device)
    if own is None or own is np:
        return to_numpy(result)
    if own is namespace_of(result):
        return result
    return own.asarray(to_numpy(result), device=getattr(original, "device", None))
