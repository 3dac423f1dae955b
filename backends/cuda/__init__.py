"""NVIDIA GPUs through CuPy. Importing this module does not import CuPy; using a device does."""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from nnx.backends.base import Backend
from nnx.backends.errors import DeviceError

_EXTRAS = 'pip install "nnx-learn[cuda13]" (CUDA 13 drivers) or "nnx-learn[cuda12]" (CUDA 12)'


@cache
def why_unusable() -> str | None:
    """Return what keeps CUDA devices from being used here; None where nothing does."""
    if importlib.util.find_spec("cupy") is None:
        return f"CuPy is not installed: {_EXTRAS}"
    try:
        import cupy
    except ImportError as error:
        return f"CuPy is installed but cannot be imported ({error}); reinstall it with {_EXTRAS}"
    if cupy.cuda.runtime.driverGetVersion() == 0:
        return (
            "CuPy is installed (extra cuda12 or cuda13), but there is no NVIDIA driver: "
            "libcuda.so.1 was not found. Install the driver, or run where it is "
            "(in a container: --gpus all)"
        )
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CuPy and the NVIDIA driver are there, but CUDA does not start: {error}"
    return None if count else "CuPy and the NVIDIA driver are there, but no GPU is visible"


def count_devices() -> int:
    """Return how many CUDA devices can be used here."""
    if why_unusable() is not None:
        return 0
    import cupy

    return int(cupy.cuda.runtime.getDeviceCount())


def make_backend(device: str) -> Backend:
    """Return the backend of "cuda" or "cuda:N".

    Raises
    ------
    DeviceError
        Says which of CuPy, the driver or the device is missing.
    """
    reason = why_unusable()
    if reason is not None:
        raise DeviceError(f"device {device!r} cannot be used: {reason}")
    _, _, number = device.partition(":")
    if number and not number.isdigit():
        raise DeviceError(f"device {device!r}: wanted 'cuda' or 'cuda:N' with a device number N")
    index, count = int(number or 0), count_devices()
    if index >= count:
        raise DeviceError(
            f"device {device!r} is not there: {count} CUDA device(s), cuda:0 to cuda:{count - 1}"
        )
    from nnx.backends.cuda.backend import CudaBackend

    return CudaBackend(index)


def from_dlpack(x: Any) -> Any:
    """Return a CuPy view of a DLPack object in CUDA memory.

    Raises
    ------
    DeviceError
        Where CuPy cannot be used; the message says what is missing.
    """
    reason = why_unusable()
    if reason is not None:
        raise DeviceError(f"an array on a GPU cannot be read: {reason}")
    import cupy

    return cupy.from_dlpack(x)
