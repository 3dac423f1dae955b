"""Examples that stay in host memory, or in a file, and are read in parts.

What is read comes in the dtype that is wanted, each example contiguous; only what is read is
converted, so that memory is needed for a part and never for the whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Array = Any
_CHUNK = 1 << 22  # bytes that a check looks at or a copy moves at once: they stay in a cache


def chunks(shape: Sequence[int], itemsize: int) -> Iterator[slice]:
    """Split the last axis of an array so that a part has a few MiB."""
    size = itemsize
    for n in shape[:-1]:
        size *= n
    width = max(1, _CHUNK // max(1, size))
    for start in range(0, shape[-1], width):
        yield slice(start, min(start + width, shape[-1]))


class Source:
    """A NumPy array, memory-mapped ones among them, one example per column.

    Parameters
    ----------
    array : ndarray (n, m) or (m,)
        Never copied as a whole, never written.
    dtype : str
        In which the parts come.
    positions : int64 array (m',), optional
        The examples that this source consists of; by default all, in their order.
    """

    def __init__(self, array: Array, dtype: str, positions: Array | None = None) -> None:
        self.array, self.dtype = np.asarray(array), np.dtype(dtype)
        self._positions = positions

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, m), or (m,)."""
        m = self.array.shape[-1] if self._positions is None else len(self._positions)
        return (*self.array.shape[:-1], m)

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
        array = self.array
        contiguous = array.flags.f_contiguous and array.flags.aligned
        return bool(array.dtype == self.dtype and contiguous and self._positions is None)

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
            if isinstance(part, slice) and self.array.dtype == self.dtype:
                return rows[part].T
            count = len(range(*part.indices(len(rows)))) if isinstance(part, slice) else len(part)
            out = np.empty((count, *rows.shape[1:]), self.dtype).T
        # np.take would first copy an array of another layout as a whole.
        if (
            not isinstance(part, slice)
            and self.array.dtype == self.dtype
            and rows.flags.c_contiguous
        ):
            # mode="clip" writes straight into out; the positions are in range.
            np.take(rows, part, axis=0, out=out.T, mode="clip")
        elif isinstance(part, slice):
            out[...] = rows[part].T
        else:
            for some in chunks((*self.shape[:-1], len(part)), self.array.itemsize):
                out[..., some] = rows[part[some]].T
        return out

    def chunks(self) -> Iterator[slice]:
        """Parts of a few MiB."""
        return chunks(self.shape, self.dtype.itemsize)
