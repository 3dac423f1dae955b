"""nnx.backends: where arrays live and primitives run, on NumPy, CuPy or any Array API namespace."""

from nnx.backends.base import Backend, Timer
from nnx.backends.host import Memory
from nnx.backends.registry import available_devices, backend_of, get_backend, register_backend

__all__ = [
    "Backend",
    "Memory",
    "Timer",
    "available_devices",
    "backend_of",
    "get_backend",
    "register_backend",
]
