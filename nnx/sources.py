"""Examples that stay in host memory, or in a file, and are read in parts.

What is read comes in the dtype that is wanted, each example contiguous; only what is read is
converted, so that memory is needed for a part and never for the whole.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from nnx.backends import exchange
from nnx.backends.host import usable_cores

Array = Any
_CHUNK = 1 << 22  # bytes that a check looks at or a copy moves at once: they stay in a cache
_READERS = 8  # threads that read at once at most: a few keep a machine's memory busy
_LEAST = 1 << 20  # bytes that are worth a thread


def chunks(shape: Sequence[int], itemsize: int, readers: int = 1) -> Iterator[slice]:
    """Split the last axis of an array so that the parts of all readers have a few MiB."""
    size = itemsize
    for n in shape[:-1]:
        size *= n
    width = max(1, _CHUNK // readers // max(1, size))
    for start in range(0, shape[-1], width):
        yield slice(start, min(start + width, shape[-1]))


@cache
def _readers() -> ThreadPoolExecutor:
    """Threads that read parts of a slab side by side, made when they are first needed."""
    return ThreadPoolExecutor(min(usable_cores(), _READERS), "nnx-reader")


if hasattr(os, "register_at_fork"):
    # A forked child has none of its parent's threads.
    os.register_at_fork(after_in_child=_readers.cache_clear)


class Source:
    """A NumPy array, memory-mapped ones among them, one example per column.

    Parameters
    ----------
    array : ndarray (n, m) or (m,)
        In any byte order, alignment and strides. Never copied as a whole, never written.
    dtype : str
        In which the parts come.
    positions : int64 array (m',), optional
        The examples that this source consists of; by default all, in their order.
    """

    def __init__(self, array: Array, dtype: str, positions: Array | None = None) -> None:
        self.array, self.dtype = exchange.plain(array), np.dtype(dtype)
        self._positions = positions

    @property
    def readable(self) -> bool:
        """Whether the array's memory can be read as it is wanted, whatever its strides."""
        return self.array.dtype == self.dtype and self.array.flags.aligned

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, m), or (m,)."""
        shape: tuple[int, ...] = self.array.shape
        return shape if self._positions is None else (*shape[:-1], len(self._positions))

    @property
    def ndim(self) -> int:
        """2, or 1 for one number per example."""
        return self.array.ndim

    @property
    def nbytes(self) -> int:
        """What a copy in the wanted dtype takes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def ready(self) -> bool:
        """Whether the array is itself what a copy of all examples would be."""
        contiguous = self.array.flags.f_contiguous and self._positions is None
        return bool(self.readable and contiguous)

    def subset(self, positions: Array) -> Source:
        """Some of the examples; still nothing is copied."""
        inner = positions if self._positions is None else self._positions[positions]
        return Source(self.array, self.dtype.name, inner)

    def read(self, part: slice | Array, out: Array | None = None) -> Array:
        """Return the examples of a slice, or at integer positions; where `out` is given, in it."""
        if self._positions is not None:
            part = self._positions[part]
        rows = self.array.T
        if out is None:
            if isinstance(part, slice) and self.readable:
                return rows[part].T
            count = len(range(*part.indices(len(rows)))) if isinstance(part, slice) else len(part)
            out = np.empty((count, *rows.shape[1:]), self.dtype).T
        count = out.shape[-1]
        threads = min(usable_cores(), _READERS, out.nbytes // _LEAST)
        if isinstance(part, slice) or threads < 2:
            self._read(part, out, 1)
            return out
        edges = [count * i // threads for i in range(threads + 1)]
        parts = [slice(a, b) for a, b in pairwise(edges)]
        # NumPy copies without holding Python's lock.
        list(_readers().map(lambda some: self._read(part[some], out[..., some], threads), parts))
        return out

    def _read(self, part: slice | Array, out: Array, readers: int) -> None:
        """Write the examples of a slice, or at integer positions, into `out`; one of so many."""
        rows = self.array.T
        # np.take would first copy an array of another layout as a whole.
        if not isinstance(part, slice) and self.readable and rows.flags.c_contiguous:
            # mode="clip" writes straight into out; the positions are in range.
            np.take(rows, part, axis=0, out=out.T, mode="clip")
        elif isinstance(part, slice):
            out[...] = rows[part].T
        else:
            for some in chunks((*self.shape[:-1], len(part)), self.array.itemsize, readers):
                out[..., some] = rows[part[some]].T

    def chunks(self) -> Iterator[slice]:
        """Parts of a few MiB."""
        return chunks(self.shape, self.dtype.itemsize)
