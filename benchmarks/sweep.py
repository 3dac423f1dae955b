"""The throughput sweep: every cell of the grid beside the bare matrix products of its shapes.

For each cell: build the network and its data on the device, warm up, calibrate, then time
nnx and the two memory orders of the products in turn (see `nnx.benchmarks.timing`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.benchmarks.cell import LIMITS, NETWORK, Cell
from nnx.benchmarks.products import bare_products, bytes_needed, flop
from nnx.benchmarks.settings import N_X, N_Y, Point, Settings
from nnx.benchmarks.timing import MINIMUM_SAMPLES, Call, Sampling, alternate

# Keep a margin for the allocator and for what the rest of the machine does.
MEMORY_SHARE = 0.8
# A step must leave the weights about where they began: values that vanish become
# subnormal numbers, which are slow to multiply.
_LEARNING_RATE = 1e-6
# Time that a cell takes whatever its size (building, calibrating), in FLOP for weighing.
_CELL_FLOP = 2e8


def sweep(settings: Settings) -> Iterator[Cell]:
    """Measure the grid of `settings`, giving each cell as it is done.

    Every device gets an equal part of the budget, and what those before it left over. The
    cheap cells of a device come first, so that a budget that runs out costs the fewest of them.
    """
    end = time.perf_counter() + settings.budget_seconds
    points = sorted(settings.points(), key=_weight)
    for number, device in enumerate(settings.devices):
        now = time.perf_counter()
        part = (end - now) / (len(settings.devices) - number)
        yield from _sweep_device(
            [point for point in points if point.device == device], settings, now + part
        )


def _sweep_device(points: Sequence[Point], settings: Settings, end: float) -> Iterator[Cell]:
    """Measure the points of one device, until `end` on the host's clock."""
    pace = _Pace()
    for number, point in enumerate(points):
        left = end - time.perf_counter()
        limit = left * _weight(point) / sum(_weight(later) for later in points[number:])
        # Where the budget allows, quick cells may borrow from it: the rest hardly notices.
        limit = max(limit, min(2.0, left / 10))
        cell = _skip_reason(point, pace, left) or _measure(point, settings, limit)
        pace.note(cell)
        yield cell


class _Pace:
    """FLOP/s that a device has shown, by dtype, to foresee how long a cell will take."""

    def __init__(self) -> None:
        self._best: dict[str, float] = {}

    def note(self, cell: Cell) -> None:
        """Take the speed of a cell into account."""
        if cell.measured:
            seen = cell.flop / cell.nnx.median
            self._best[cell.dtype] = max(self._best.get(cell.dtype, 0.0), seen)

    def seconds(self, point: Point, calls: int) -> float:
        """Foresee the time of `calls` calls, at the best pace seen; 0 when none was."""
        best = self._best.get(point.dtype)
        return calls * _flop(point) / best if best else 0.0


def _skip_reason(point: Point, pace: _Pace, left: float) -> Cell | None:
    """Return the cell as skipped if memory or time does not suffice for it."""
    backend = get_backend(point.device)
    needed, free = _bytes(point), backend.memory().free
    # A system that does not tell its free memory says 0.
    if free and needed > MEMORY_SHARE * free:
        return _skipped(
            point,
            f"needs about {needed / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
            f" on {point.device} (a cell may use {MEMORY_SHARE:.0%} of it)",
        )
    # Two calls of each contender to warm up and calibrate, then the samples.
    foreseen = pace.seconds(point, 3 * (2 + MINIMUM_SAMPLES))
    if left <= 0 or foreseen > left:
        return _skipped(
            point,
            f"would take about {foreseen:.1f} s, and {max(left, 0):.1f} s of the budget are left",
        )
    return None


def _measure(point: Point, settings: Settings, limit_seconds: float) -> Cell:
    """Build and time one cell."""
    backend = get_backend(point.device)
    sampling = Sampling(settings.samples, settings.sample_seconds, limit_seconds)
    try:
        calls: dict[str, Call] = {
            NETWORK: network_call(point, optimizer=settings.optimizer, seed=settings.seed)
        }
        for order, name in LIMITS.items():
            calls[name] = bare_products(
                backend, point.sizes, point.m, point.dtype, point.pass_, order
            )
        timings = alternate(backend, calls, sampling)
    except MemoryError as error:
        # CuPy's OutOfMemoryError is one too.
        return _skipped(point, f"out of memory: {error}")
    return _cell(point, timings=timings)


def network_call(
    point: Point, *, optimizer: str = "GradientDescent", seed: int = 0
) -> Callable[[], object]:
    """Return a function that runs the pass of `point` once, with network and data ready."""
    net = nnx.MLP(point.sizes, device=point.device, dtype=point.dtype, seed=seed)
    X, Y = synthetic_data(net.backend, point.m, point.dtype, seed)
    if point.pass_ == "forward":
        return lambda: net.forward(X, check=False)
    if point.pass_ == "backward":
        return lambda: net.backward(Y, net.forward(X, train=True, check=False)[1])
    step = nnx.TrainingStep(net, point.m, getattr(nnx, optimizer)(learning_rate=_LEARNING_RATE))
    return lambda: step(X, Y)


def synthetic_data(backend: Backend, m: int, dtype: str, seed: int) -> tuple[Any, Any]:
    """Draw X (n_x, m), each example contiguous, and labels Y (m,), on the device."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, N_X), dtype=np.dtype(dtype).type).T
    return backend.asarray(X), backend.asarray(rng.integers(0, N_Y, m))


def _flop(point: Point) -> int:
    return flop(point.sizes, point.m, point.pass_)


def _bytes(point: Point) -> int:
    return bytes_needed(point.sizes, point.m, np.dtype(point.dtype).itemsize)


def _weight(point: Point) -> float:
    """Share of the budget that a cell deserves, in FLOP."""
    return _CELL_FLOP + _flop(point) * (2 if point.dtype == "float64" else 1)


def _skipped(point: Point, reason: str) -> Cell:
    return _cell(point, reason=reason)


def _cell(point: Point, **outcome: Any) -> Cell:
    return Cell(
        device=point.device,
        dtype=point.dtype,
        pass_=point.pass_,
        m=point.m,
        n_h=point.n_h,
        layers=point.layers,
        flop=_flop(point),
        bytes_needed=_bytes(point),
        **outcome,
    )
