"""Streams, events and graphs of CuPy, for the host. What a capture forbids fails here too."""

import ctypes
import itertools
import types
from typing import ClassVar

import numpy as np

_numbers = itertools.count(1)


class Clock:
    """Time as events see it: each launch takes what `cost` says, by default a microsecond."""

    now = 0.0
    cost = staticmethod(lambda name: 0.001)


class Stream:
    """What cupy.cuda.Stream is: work is done at once, or put into the graph being captured."""

    known: ClassVar[dict] = {}
    stack: ClassVar[list] = []

    def __init__(self, null=False, non_blocking=False):
        self.ptr = 0 if null else next(_numbers)
        self.non_blocking = non_blocking
        self.log, self._graph = [], None
        Stream.known[self.ptr] = self

    def __enter__(self):
        Stream.stack.append(self)
        return self

    def __exit__(self, *_):
        assert Stream.stack.pop() is self

    def submit(self, name, work):
        if self._graph is not None:
            self._graph.nodes.append((name, work))
            return
        self.log.append(name)
        Clock.now += Clock.cost(name)
        work()

    @property
    def capturing(self):
        return self._graph is not None

    def begin_capture(self):
        assert self.ptr, "cannot capture on the default (legacy) stream"
        assert self.non_blocking
        self._graph = Graph()

    def end_capture(self):
        graph, self._graph = self._graph, None
        return graph

    def record(self, event=None):
        assert not self.capturing
        event = event or Event()
        event.time, event.stream = Clock.now, self
        return event

    def wait_event(self, event):
        assert not self.capturing
        self.log.append(("wait", event.stream))

    def synchronize(self):
        assert not self.capturing, "synchronised during a capture"


class Event:
    """What cupy.cuda.Event is."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.timed, self.time, self.stream = not disable_timing, None, None

    def record(self, stream=None):
        (stream or current_stream()).record(self)

    def synchronize(self):
        not_while_capturing("synchronised")


class Graph:
    """What cupy.cuda.Graph is."""

    def __init__(self):
        self.nodes, self.launches = [], 0

    def debug_dot_str(self, flags=0):
        lines = [f'"graph_1_node_{i}"[style="solid" label="{i}"];' for i in range(len(self.nodes))]
        return "\n".join(["digraph dot {", *lines, "}"])

    def launch(self, stream=None):
        stream = stream or current_stream()
        assert not stream.capturing
        self.launches += 1
        stream.log.append(("graph", len(self.nodes)))
        for name, work in self.nodes:
            Clock.now += Clock.cost(name)
            work()


NULL = Stream(null=True)


def current_stream():
    """The innermost stream of a `with` block."""
    return Stream.stack[-1] if Stream.stack else NULL


def not_while_capturing(what):
    """Fail if a graph is being captured on any stream."""
    assert not any(stream.capturing for stream in Stream.known.values()), f"{what} in a capture"


def elapsed(start, end):
    """Milliseconds between two events."""
    assert start.timed
    assert end.timed
    return end.time - start.time


def copy(target, source, size, kind, stream):
    """cupy.cuda.runtime.memcpyAsync, from host memory"""
    assert kind == 1
    Stream.known[stream].submit("copy", lambda: ctypes.memmove(target, source, size))


def pinned(size):
    """cupy.cuda.alloc_pinned_memory, whose pool rounds up"""
    return memoryview(np.full(-(-size // 512) * 512, 0xEE, np.uint8))


def cuda(Device):
    """The module cupy.cuda."""
    runtime = types.SimpleNamespace(
        getDeviceProperties=lambda index: {"name": b"Host", "major": 9, "minor": 0},
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13010,
        memGetInfo=lambda: (1 << 34, 1 << 35),
        memcpyAsync=copy,
        memcpyHostToDevice=1,
    )
    return types.SimpleNamespace(
        Device=Device,
        Stream=Stream,
        Event=Event,
        get_current_stream=current_stream,
        get_elapsed_time=elapsed,
        alloc_pinned_memory=pinned,
        runtime=runtime,
    )
