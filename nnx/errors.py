"""The errors of nnx; `NnxError` is the base class of all."""

from nnx.backends.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DTypeError,
    MissingDependencyError,
    NnxError,
    OutOfMemoryError,
    ShapeError,
    UnknownNameError,
    unknown_name,
)

__all__ = [
    "CheckpointError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "MissingDependencyError",
    "NnxError",
    "OutOfMemoryError",
    "ShapeError",
    "UnknownNameError",
    "unknown_name",
]
