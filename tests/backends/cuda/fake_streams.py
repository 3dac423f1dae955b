"""Streams, events, pinned memory and a memory pool of CuPy, played on the host.

Work that is put on a stream is done later: whenever the host calls, a drawn number of steps of
drawn streams happens, in each stream's order and not before the events it waits for. So a wait that
is missing shows up as a wrong result in some of the draws, as it would on a GPU on some days.
"""

import ctypes
import random
import types
import weakref
from collections import deque

import numpy as np


class Schedule:
    """All streams of a device."""

    def __init__(self, seed):
        self.draw, self.streams = random.Random(seed), []
        # Some devices are busy with other things, and some streams far behind the others.
        self.haste = self.draw.choice((0, 0.02, 0.1, 0.5))
        self.pace = [self.draw.choice((0.001, 1)) for _ in range(8)]

    def tick(self):
        if self.draw.random() < self.haste:
            for _ in range(self.draw.choice((1, 2, 5, 50))):
                self.step()

    def step(self):
        able = [s for s in self.streams if s.queue and s.queue[0][0]()]
        if able:
            paces = [self.pace[stream.ptr] for stream in able]
            _, action = self.draw.choices(able, paces)[0].queue.popleft()
            action()
        return bool(able)

    def until(self, done):
        while not done():
            assert self.step(), "the host waits for ever"

    def drain(self):
        self.until(lambda: not any(stream.queue for stream in self.streams))


def fake_cuda(schedule):
    """Return what the streaming code uses of cupy.cuda."""

    class Event:
        def __init__(self, block=False, disable_timing=False):
            assert disable_timing
            self.reached = [True]

        def record(self, stream):
            self.reached = reached = [False]
            stream.push(lambda: reached.__setitem__(0, True))

        def synchronize(self):
            reached = self.reached
            schedule.until(lambda: reached[0])

    class Stream:
        def __init__(self, non_blocking=False):
            self.queue, self.ptr = deque(), len(schedule.streams)
            schedule.streams.append(self)

        def push(self, action, condition=lambda: True):
            self.queue.append((condition, action))
            schedule.tick()

        def wait_event(self, event):
            reached = event.reached
            self.push(lambda: None, lambda: reached[0])

        def synchronize(self):
            schedule.until(lambda: not self.queue)

    def copy(target, source, size, kind, stream):
        assert kind == 1
        schedule.streams[stream].push(lambda: ctypes.memmove(target, source, size))

    current = Stream()
    runtime = types.SimpleNamespace(memcpyAsync=copy, memcpyHostToDevice=1)
    return types.SimpleNamespace(
        Event=Event,
        Stream=Stream,
        runtime=runtime,
        get_current_stream=lambda: current,
        # CuPy's pool rounds up.
        alloc_pinned_memory=lambda size: memoryview(np.full(-(-size // 512) * 512, 0xEE, np.uint8)),
    )


class OutOfMemoryError(MemoryError):
    """What CuPy raises."""


class Pool:
    """CuPy's memory pool: counts the arrays that are there, and refuses what is above its limit."""

    def __init__(self):
        self._limit, self._used, self._known = 0, 0, set()
        self.freed = 0

    def count(self, array):
        """Take in a new array of the device."""
        owner = array if array.base is None else array.base
        if id(owner) in self._known:
            return array
        if self._limit and self._used + owner.nbytes > self._limit:
            raise OutOfMemoryError(f"Out of memory allocating {owner.nbytes:,} bytes")
        self._known.add(id(owner))
        self._used += owner.nbytes
        weakref.finalize(owner, self._free, id(owner), owner.nbytes)
        return array

    def _free(self, key, size):
        self._known.discard(key)
        self._used -= size

    def used_bytes(self):
        return self._used

    def free_bytes(self):
        return 0

    def get_limit(self):
        return self._limit

    def set_limit(self, size):
        self._limit = size

    def free_all_blocks(self):
        self.freed += 1
