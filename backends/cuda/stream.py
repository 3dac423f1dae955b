"""Slabs of examples from pinned host memory, copied on a stream of their own while the GPU works.

Two pinned buffers and two places on the GPU take turns. The host waits for nothing but the copy out
of the buffer that it fills next, which was ordered two slabs ago; everything else waits by events:
a copy for the work on the slab that lay in its place, the work for the copy of its slab.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nnx.backends.stream import Field, Fill, shaped

if TYPE_CHECKING:
    from nnx.backends.cuda.backend import CudaBackend

Array = Any
SLOTS = 2


class PinnedStream:
    """What `HostStream` is, double-buffered for a GPU.

    The slabs are for work on the stream that is current where `feed` is iterated.

    Parameters
    ----------
    backend : CudaBackend
    cuda : namespace
        cupy.cuda.
    fields : sequence of Field
    columns : int
        Examples in a slab at most.
    """

    def __init__(
        self, backend: CudaBackend, cuda: Any, fields: Sequence[Field], columns: int
    ) -> None:
        self._active, self._cuda = backend.active, cuda

        def pinned(field: Field) -> Array:
            # The view keeps CuPy's object, and with it the memory.
            memory = np.frombuffer(cuda.alloc_pinned_memory(field.bytes(columns)), np.uint8)
            return shaped(memory, field, columns)

        def on_device(field: Field) -> Array:
            shape = (columns,) if field.rows is None else (field.rows, columns)
            return backend.empty(shape, field.dtype)

        with self._active():
            self._pinned = [[pinned(field) for field in fields] for _ in range(SLOTS)]
            self._slots = [[on_device(field) for field in fields] for _ in range(SLOTS)]
            self._copies = cuda.Stream(non_blocking=True)
            # Recorded when a slab has arrived, and when the work on it has been done.
            self._ready = [cuda.Event(disable_timing=True) for _ in range(SLOTS)]
            self._free = [cuda.Event(disable_timing=True) for _ in range(SLOTS)]

    def feed(self, fills: Iterable[Fill]) -> Iterator[tuple[Array, ...]]:
        """Yield for each fill the arrays on the GPU; see `Stream.feed`."""
        with self._active():
            work = self._cuda.get_current_stream()
            for event in self._free:  # what lay in this memory before may still be in use
                event.record(work)
        try:
            for number, fill in enumerate(fills):
                slot = number % SLOTS
                with self._active():
                    self._ready[slot].synchronize()
                    count = fill(self._pinned[slot])
                    self._copy(slot, count)
                    work.wait_event(self._ready[slot])
                yield tuple(array[..., :count] for array in self._slots[slot])
                with self._active():
                    self._free[slot].record(work)
        finally:
            with self._active():
                self._copies.synchronize()  # the pinned memory may now go

    def _copy(self, slot: int, count: int) -> None:
        """Order the copy of the first `count` examples."""
        runtime, copies = self._cuda.runtime, self._copies
        copies.wait_event(self._free[slot])
        for host, device in zip(self._pinned[slot], self._slots[slot], strict=True):
            size = host[..., :count].nbytes
            source, kind = host.__array_interface__["data"][0], runtime.memcpyHostToDevice
            runtime.memcpyAsync(device.data.ptr, source, size, kind, copies.ptr)
        self._ready[slot].record(copies)
