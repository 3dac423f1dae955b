"""Slabs of examples on their way from host memory to a device, one after the other.

Any backend can do it plainly; one with a memory of its own overlaps the copies with its work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from nnx.backends.base import Backend

Array = Any
# Writes the next examples into the host buffers, and returns how many they are.
Fill = Callable[[Sequence[Array]], int]


class Field(NamedTuple):
    """One of the arrays of a slab.

    Attributes
    ----------
    rows : int or None
        Numbers of each example; None for an array of one number each, (columns,).
    dtype : str
    """

    rows: int | None
    dtype: str

    def bytes(self, columns: int) -> int:
        """Memory of so many examples."""
        return columns * (1 if self.rows is None else self.rows) * np.dtype(self.dtype).itemsize


class Stream(Protocol):
    """What brings slabs to a device."""

    def feed(self, fills: Iterable[Fill]) -> Iterator[tuple[Array, ...]]:
        """Yield for each fill the arrays on the device, (rows, count) or (count,).

        They are valid until the next are asked for.
        """


class HostStream:
    """One buffer in host memory, filled and handed over again and again.

    Parameters
    ----------
    backend : Backend
        Where the slabs go.
    fields : sequence of Field
    columns : int
        Examples in a slab at most.
    """

    def __init__(self, backend: Backend, fields: Sequence[Field], columns: int) -> None:
        self._backend = backend
        self._buffers = [
            shaped(np.empty(field.bytes(columns), np.uint8), field, columns) for field in fields
        ]

    def feed(self, fills: Iterable[Fill]) -> Iterator[tuple[Array, ...]]:
        """Yield for each fill the arrays on the device; see `Stream.feed`."""
        for fill in fills:
            count = fill(self._buffers)
            parts = (buffer[..., :count] for buffer in self._buffers)
            yield tuple(self._backend.asarray(part) for part in parts)


def shaped(memory: Array, field: Field, columns: int) -> Array:
    """View bytes of host memory as the array of a field; a matrix keeps each column contiguous."""
    numbers = memory[: field.bytes(columns)].view(field.dtype)
    return numbers if field.rows is None else numbers.reshape(columns, field.rows).T
