"""The errors of nnx; `NnxError` is the base class of all."""

from nnx.backends.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DTypeError,
    MissingDependencyError,
    NnxError,
    ShapeError,
    UnknownNameError,
)

__all__ = [
    "CheckpointError",
    "DTypeError",
    "DataError",
    "DeviceError",
    "MissingDependencyError",
    "NnxError",
    "ShapeError",
    "UnknownNameError",
]
