"""The errors of nnx; `NnxError` is the base class of all, `DeviceWarning` the one warning."""

from nnx.backends.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DeviceWarning,
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
    "DeviceWarning",
    "MissingDependencyError",
    "NnxError",
    "OutOfMemoryError",
    "ShapeError",
    "UnknownNameError",
    "unknown_name",
]
