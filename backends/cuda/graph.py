"""A stream on which planned steps are recorded as CUDA graphs and replayed.

It orders itself after CuPy's current stream and before what follows there, by events: the host
waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from nnx.backends.cuda.products import NoAlgorithmError, Planned, Product, Workspace
from nnx.backends.cuda.step_kernels import step_kernels
from nnx.backends.errors import DeviceError

_WORKSPACE = 32 << 20  # bytes: what cuBLAS recommends for Hopper, and plenty before
_TUNING_MS, _TUNING_RUNS = 2.0, 20
MOST_LAUNCHES = _TUNING_RUNS + 2  # of what `GraphStream.milliseconds` times


# How the runtime, the driver (loading a kernel) and cuBLASLt (its handle) say it.
_OUT_OF_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the GPU, CuPy's pool or pinned memory was used up."""
    text = str(error)
    return isinstance(error, MemoryError) or any(name in text for name in _OUT_OF_MEMORY)


class Launch(NamedTuple):
    """Something to launch on the current stream.

    Attributes
    ----------
    name : str
        The kernel's, or "product" and the epilogue.
    run : callable
    operation : str
        The key of the operation of `nnx.plan` whose time this is.
    """

    name: str
    run: Callable[[], None]
    operation: str = ""


Operation = Product | Launch


class GraphStream:
    """The non-blocking stream of one GPU for graphs, with its kernels, products and choices.

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
        self.kernels = step_kernels(cupy)
        self.stream = cupy.cuda.Stream(non_blocking=True)
        with self.stream:
            self._memory = cupy.empty((_WORKSPACE,), "uint8")
        self._workspace = Workspace(self._memory.data.ptr, _WORKSPACE)
        self._before = cupy.cuda.Event(disable_timing=True)
        self._after = cupy.cuda.Event(disable_timing=True)
        # One thread records or launches at a time: a capture would swallow another's launches.
        self._lock = threading.RLock()
        # What was the fastest, for products and for alternatives that are alike. A stream belongs
        # to one device and one version of the library, so these need not be part of the key. None:
        # no algorithm runs this product.
        self._algorithms: dict[Hashable, bytes | None] = {}
        self._alternatives: dict[Hashable, int] = {}
        self._mask_at_zero: dict[tuple[str, str], bool] = {}

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

    @property
    def version(self) -> int:
        """Of cuBLASLt, such as 130100 for 13.1."""
        return int(self._api.get_version())

    def why_no_products(self, storage: str, compute: str) -> str | None:
        """Return what keeps small products of these dtypes from running, or None."""
        # On whatever lies at the end of the workspace: only whether they run matters.
        size, end = 16, self._workspace.address + _WORKSPACE
        a, b, d = (end - part * 8 * size * size for part in (3, 2, 1))
        layouts = ((True, False), (False, False), (False, True))
        try:
            with self.ordered():
                for layout in layouts:
                    product = Product(size, size, size, a, b, d, *layout, storage, storage, compute)
                    self.plan(product)()
                self.stream.synchronize()
        except Exception as error:  # whatever else it is, the step can do without
            if is_out_of_memory(error):
                raise
            return f"cuBLASLt does not multiply {storage} matrices here: {error}"
        return None

    # -- choosing -------------------------------------------------------------------------------

    def settle(self, alternatives: Sequence[Sequence[Operation]]) -> list[Launch]:
        """Return the launches of the fastest alternative; all have the same effect.

        An alternative with a product that no algorithm runs is left out. Each is timed once in a
        process for all that are alike; it runs on whatever its buffers hold.

        Raises
        ------
        DeviceError
            Where none remains.
        """
        found: dict[int, list[Launch]] = {}
        for number, operations in enumerate(alternatives):
            try:
                found[number] = [self._launch(operation) for operation in operations]
            except NoAlgorithmError as error:
                reason = error
        if not found:
            raise DeviceError(f"{reason}; TrainingStep(..., compiled=False) does without") from None
        if len(found) == 1:
            return next(iter(found.values()))
        key = tuple(
            tuple(o.key if isinstance(o, Product) else o.name for o in operations)
            for operations in alternatives
        )
        if key not in self._alternatives:
            times = {
                number: self.milliseconds_in_graph([launch.run for launch in launches])
                for number, launches in found.items()
            }
            self._alternatives[key] = min(times, key=times.__getitem__)
        return found[self._alternatives[key]]

    def plan(self, product: Product) -> Planned:
        """Return the product with the algorithm that is the fastest of those proposed and runs.

        Raises
        ------
        NoAlgorithmError
        """
        key = product.key
        if key not in self._algorithms:
            try:
                self._algorithms[key] = self._fastest(product)
            except NoAlgorithmError:
                self._algorithms[key] = None
                raise
        algorithm = self._algorithms[key]
        if algorithm is None:
            raise NoAlgorithmError(f"cuBLASLt has no algorithm that runs {product}")
        return self._planned(product, algorithm)

    def _planned(self, product: Product, algorithm: bytes | None = None) -> Planned:
        where = self._api, self._handle, self._workspace, self.stream.ptr
        return Planned(product, *where, algorithm)

    def _fastest(self, product: Product) -> bytes:
        planned = self._planned(product)
        times = {}
        for algorithm in planned.proposals:
            planned.use(algorithm)
            try:
                times[algorithm] = self.milliseconds_in_graph([planned])
            except Exception as error:  # what is proposed may still refuse to run
                if is_out_of_memory(error):
                    raise
                reason = error
        if not times:
            raise NoAlgorithmError(f"cuBLASLt's algorithms do not run {product}: {reason}")
        return min(times, key=times.__getitem__)

    def _launch(self, operation: Operation) -> Launch:
        if isinstance(operation, Launch):
            return operation
        return Launch(f"product {operation.epilogue}", self.plan(operation))

    def mask_at_zero(self, storage: str, compute: str) -> bool:
        """Whether ReLU's mask, as cuBLASLt writes it, has the bit of an exact zero.

        Its documentation does not say. The derivative at zero is then one, on this device.
        """
        key = storage, compute
        if key not in self._mask_at_zero:
            with self.ordered():
                self._mask_at_zero[key] = self._ask_for_mask(storage, compute)
        return self._mask_at_zero[key]

    def _ask_for_mask(self, storage: str, compute: str) -> bool:
        # Zeros at the end of the workspace, of which so small a product uses the beginning: A and
        # B, D, the bias, the mask.
        size, parts = 16, 4
        zeros = self._memory[-parts * 2048 :]
        zeros[...] = 0
        a, d, bias, aux = (zeros.data.ptr + part * 2048 for part in range(parts))
        product = Product(
            size, size, size, a, a, d, True, False, storage, storage, compute, "RELU_AUX_BIAS",
            bias, aux, 128,
        )  # fmt: skip
        try:
            self.plan(product)()
        except NoAlgorithmError:
            return False  # kernels alone, and they can do as the formula has it
        return bool(zeros.get()[(parts - 1) * 2048] & 1)

    # -- timing ---------------------------------------------------------------------------------

    def milliseconds(self, launches: Sequence[Callable[[], None]]) -> float:
        """Time launches one by one on this stream, on the GPU's clock; the host waits.

        What is shorter than its launch from Python takes as long as that.
        """
        return self._time(launches, self._runs(launches))

    def milliseconds_in_graph(self, launches: Sequence[Callable[[], None]]) -> float:
        """Time launches as a graph replays them, on the GPU's clock; the host waits."""
        runs = self._runs(launches)
        graph = self.capture([launch for _ in range(runs) for launch in launches])
        replay = [lambda: graph.launch(self.stream)]
        self._time(replay, 1)  # brings the graph to the device
        return self._time(replay, 1) / runs

    def _runs(self, launches: Sequence[Callable[[], None]]) -> int:
        """How often to repeat launches; afterwards all is loaded, so that they can be captured."""
        first = self._time(launches, 1)
        first = min(first, self._time(launches, 1))
        return int(min(_TUNING_RUNS, max(1.0, _TUNING_MS / max(first, 1e-3))))

    def capture(self, launches: Sequence[Callable[[], None]]) -> Any:
        """Record launches as a graph. All they need must be loaded, for instance by running them.

        The graph keeps addresses only: what lies there must live as long as it.
        """
        with self.stream:
            self.stream.begin_capture()
            try:
                for launch in launches:
                    launch()
            finally:
                graph = self.stream.end_capture()
        return graph

    def each(self, launches: Sequence[Launch]) -> list[float]:
        """Run launches and return the milliseconds from the start of each to that of the next."""
        events = [self.cupy.cuda.Event() for _ in range(len(launches) + 1)]
        self.stream.record(events[0])
        for launch, event in zip(launches, events[1:], strict=True):
            launch.run()
            self.stream.record(event)
        events[-1].synchronize()
        elapsed = self.cupy.cuda.get_elapsed_time
        return [float(elapsed(start, end)) for start, end in pairwise(events)]

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
            launches = [launch.run for launch in self.launches]
            self._graphs[steps] = self._stream.capture(launches * steps)
        return self._graphs[steps]
