"""Arrays crossing the border: from any library to NumPy, and back to the kind that came in.

No array library is imported here: an array of a library cannot exist before the library is loaded.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from nnx.backends.errors import DTypeError

Array = Any
_CUDA_DEVICES = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged


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
    return get is not None and int(get()[0]) in _CUDA_DEVICES


def to_numpy(x: Any) -> np.ndarray[Any, Any]:
    """Return real numbers as a NumPy array; without a copy where they lie in host memory.

    Raises
    ------
    DTypeError
        Where `x` is sparse, or holds text, objects or complex numbers.
    """
    if hasattr(x, "detach"):  # a PyTorch tensor that requires a gradient refuses DLPack
        x = x.detach()
    if hasattr(x, "tocsr"):
        raise DTypeError(
            f"{kind_of(x)} is sparse; nnx.Network needs a dense array: pass x.toarray()"
        )
    if isinstance(x, np.ndarray):
        array = x
    elif hasattr(x, "get") and on_cuda(x):  # CuPy
        array = x.get(order="A")
    elif on_cuda(x):  # PyTorch or JAX on a GPU: through CuPy, which then copies to the host
        from nnx.backends.cuda import from_dlpack

        array = from_dlpack(x).get(order="A")
    elif hasattr(x, "__dlpack__"):
        array = np.from_dlpack(x)
    else:
        try:
            array = np.asarray(x)
        except (ValueError, TypeError) as error:
            raise DTypeError(
                f"{kind_of(x)} is not a rectangular array of numbers: {error}"
            ) from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"wanted real numbers, got an array of dtype {array.dtype}")
    return array


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
