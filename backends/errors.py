"""The exceptions of nnx: one base class, and a class per kind of mistake a caller can act on.

They live here because the backends raise them too; `nnx.errors` shows the same names to users.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NnxError(Exception):
    """Base class of every error that nnx raises on purpose."""


class ShapeError(NnxError, ValueError):
    """An array does not have the shape that the network needs."""


class DTypeError(NnxError, TypeError):
    """An array holds something that is not a real number, or mixes devices or precisions."""


class DataError(NnxError, ValueError):
    """A value is out of range: NaN in the input, an empty batch, a label, a bad setting."""


class UnknownNameError(NnxError, ValueError):
    """A name that nnx does not know; the message gives the nearest known one."""


class DeviceError(NnxError, RuntimeError):
    """A device that is not there or cannot be used; the message says what is missing."""


class OutOfMemoryError(NnxError, MemoryError):
    """More memory is needed than a device has; the message says how much, and what would fit.

    Attributes
    ----------
    needed, free : int
        In bytes.
    batch_size : int or None
        The largest size, of those tried, that would fit: halves of the one asked for.
    """

    def __init__(
        self, message: str, needed: int = 0, free: int = 0, batch_size: int | None = None
    ) -> None:
        super().__init__(message)
        self.needed, self.free, self.batch_size = needed, free, batch_size


class CheckpointError(NnxError, ValueError):
    """A file is not a model that nnx can open; the message names the file and the field."""


class MissingDependencyError(NnxError, ImportError):
    """An optional library is not installed.

    Parameters
    ----------
    package : str
        The library, as its users call it.
    extra : str
        The extra of `nnx-learn` that brings it.
    purpose : str
        What it is needed for.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f'{purpose} needs {package}, which is not installed: pip install "nnx-learn[{extra}]"'
        )
        self.package, self.extra = package, extra


class DeviceWarning(UserWarning):
    """A model asks for a device that is not here, and another one does the work."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> UnknownNameError:
    """Return the error for an unknown `name`, with the nearest known one and the whole list."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return UnknownNameError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names)})")
