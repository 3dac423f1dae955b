"""A stream on which planned steps are recorded as CUDA graphs and replayed.

It orders itself after CuPy's current stream and before what follows there, by events: the host
waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from nnx.backends.cuda.products import NoAlgorithmError, Planned, Product, Workspace
from nnx.backends.errors import DeviceError

_WORKSPACE = 32 << 20  # bytes: what cuBLAS recommends for Hopper, and plenty before
_TUNING_MS, _TUNING_RUNS = 2.0, 20
MOST_LAUNCHES = _TUNING_RUNS + 2  # of what is timed


class Launch(NamedTuple):
    """Something to launch on the current stream, and what it is called in plans."""

    name: str
    run: Callable[[], None]


Operation = Product | Launch


class GraphStream:
    """The non-blocking stream of one GPU for graphs, with its products and their choices.

    Parameters
    ----------
    cupy : module
    api : object
        cuBLASLt, see `nnx.backends.cuda.products`.
    """

    workspace_bytes = _WORKSPACE

    def __init__(self, cupy: Any, api: Any) -> None:
        self.cupy, self._api = cupy, api
        self._handle = api.create()
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self._memory = cupy.empty((_WORKSPACE,), "uint8")
        self._workspace = Workspace(self._memory.data.ptr, _WORKSPACE)
        self._before = cupy.cuda.Event(disable_timing=True)
        self._after = cupy.cuda.Event(disable_timing=True)
        # One thread records or launches at a time: a capture would swallow another's launches.
        self._lock = threading.RLock()
        # (product or alternatives) -> number of the fastest. A stream belongs to one device and one
        # version of the library, so these need not be part of the key.
        self.choices: dict[Hashable, int] = {}

    @contextmanager
    def ordered(self) -> Iterator[None]:
        """Make this the current stream: after all queued on the one before, and it then waits."""
        with self._lock:
            theirs = self.cupy.cuda.get_current_stream()
            theirs.record(self._before)
            self.stream.wait_event(self._before)
            try:
                with self.stream:
                    yield
            finally:
                self.stream.record(self._after)
                theirs.wait_event(self._after)

    # -- choosing -------------------------------------------------------------------------------

    def settle(self, alternatives: Sequence[Sequence[Operation]]) -> list[Launch]:
        """Return the launches of the fastest alternative; all have the same effect.

        An alternative with a product that cuBLASLt has no algorithm for is left out. Each is timed
        once in a process for all that are alike; it runs on whatever its buffers hold.

        Raises
        ------
        DeviceError
            Where none remains.
        """
        found: list[tuple[int, list[Launch]]] = []
        for number, operations in enumerate(alternatives):
            try:
                found.append((number, [self._launch(operation) for operation in operations]))
            except NoAlgorithmError as error:
                reason = error
        if not found:
            raise DeviceError(f"{reason}; TrainingStep(..., compiled=False) does without") from None
        if len(found) == 1:
            return found[0][1]
        key = tuple(
            tuple(o.key if isinstance(o, Product) else o.name for o in operations)
            for operations in alternatives
        )
        if key not in self.choices:
            times = [
                self.milliseconds([launch.run for launch in launches]) for _, launches in found
            ]
            self.choices[key] = found[times.index(min(times))][0]
        return dict(found)[self.choices[key]]

    def plan(self, product: Product) -> Planned:
        """Return the product with the algorithm that is the fastest of those proposed.

        Raises
        ------
        NoAlgorithmError
        """
        planned = Planned(product, self._api, self._handle, self._workspace, self.stream.ptr)
        if planned.algorithms > 1:
            key = product.key
            if key not in self.choices:
                times = []
                for number in range(planned.algorithms):
                    planned.use(number)
                    times.append(self._milliseconds_or_inf(planned))
                self.choices[key] = times.index(min(times))
            planned.use(self.choices[key])
        return planned

    def _launch(self, operation: Operation) -> Launch:
        if isinstance(operation, Launch):
            return operation
        return Launch(f"product {operation.epilogue}", self.plan(operation))

    def _milliseconds_or_inf(self, planned: Planned) -> float:
        try:
            return self.milliseconds([planned])
        except Exception:  # a proposed algorithm may still refuse to run
            return float("inf")

    def milliseconds(self, launches: Sequence[Callable[[], None]]) -> float:
        """Time launches on this stream, on the GPU's clock; the host waits."""
        first = self._time(launches, 1)  # loads what has to be loaded
        first = min(first, self._time(launches, 1))
        runs = int(min(_TUNING_RUNS, max(1.0, _TUNING_MS / max(first, 1e-3))))
        return self._time(launches, runs)

    def _time(self, launches: Sequence[Callable[[], None]], runs: int) -> float:
        start, end = self.cupy.cuda.Event(), self.cupy.cuda.Event()
        self.stream.record(start)
        for _ in range(runs):
            for launch in launches:
                launch()
        self.stream.record(end)
        end.synchronize()
        return float(self.cupy.cuda.get_elapsed_time(start, end)) / runs


class Recording:
    """A step that is launched as a graph: `many` of them at once, or one.

    Parameters
    ----------
    stream : GraphStream
    launches : sequence of Launch
        The same for every step.
    many : int
        Steps of the larger graph.
    keep : object
        What must live as long as the graphs: they hold addresses only.
    """

    def __init__(
        self, stream: GraphStream, launches: Sequence[Launch], many: int, keep: Any
    ) -> None:
        self.launches, self.many = tuple(launches), many
        self._stream, self._keep = stream, keep
        self._warm = False
        self._graphs: dict[int, Any] = {}

    def replay(self, steps: int) -> None:
        """Take so many steps, inside `GraphStream.ordered`.

        The first step of all is launched piece by piece: that loads every kernel, which must not
        happen while a graph is recorded.
        """
        if steps and not self._warm:
            for launch in self.launches:
                launch.run()
            self._warm = True
            steps -= 1
        for size in (self.many, 1):
            while steps >= size:
                self.graph(size).launch(self._stream.stream)
                steps -= size

    def graph(self, steps: int) -> Any:
        """The graph of so many steps, recorded at its first use."""
        if steps not in self._graphs:
            stream = self._stream.stream
            with stream:
                stream.begin_capture()
                try:
                    for _ in range(steps):
                        for launch in self.launches:
                            launch.run()
                finally:
                    graph = stream.end_capture()
            self._graphs[steps] = graph
        return self._graphs[steps]
