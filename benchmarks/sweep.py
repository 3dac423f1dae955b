"""The throughput sweep: every cell beside the bare matrix products of its shapes.

For each cell: build the network and its data on the device, warm up, calibrate, then time
nnx and the two memory orders of the products in turn (see `nnx.benchmarks.timing`), on the CPU
each in a process of its own (see `nnx.benchmarks.contender`).
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnx.backends import get_backend
from nnx.benchmarks.calls import names_for
from nnx.benchmarks.cell import Cell
from nnx.benchmarks.closer import closer_points
from nnx.benchmarks.contender import Contenders, contenders_on
from nnx.benchmarks.products import bytes_needed, flop
from nnx.benchmarks.settings import CLOSER_SHARE, DTYPES, Point, Settings
from nnx.benchmarks.timing import MINIMUM_SAMPLES, Sampling, alternate

# Keep a margin for the allocator and for what the rest of the machine does.
MEMORY_SHARE = 0.8
# Time that a cell takes whatever its size (building, calibrating), in FLOP for weighing.
_CELL_FLOP = 2e8


def sweep(settings: Settings) -> Iterator[Cell]:
    """Measure the grid of `settings` and its closer looks, giving each cell as it is done.

    Every device gets an equal part of the budgets, and what those before it left over. The
    cheap cells of a device come first, so that a budget that runs out costs the fewest of them.
    """
    looks = (
        (_grid(settings), settings.budget_seconds),
        (_closer(settings), settings.parts_seconds * CLOSER_SHARE * len(settings.devices)),
    )
    spent = [0.0 for _ in looks]
    for number, device in enumerate(settings.devices):
        with contenders_on(device, settings.optimizer, settings.seed) as contenders:
            for look, (all_points, budget) in enumerate(looks):
                here = sorted((p for p in all_points if p.device == device), key=_weight)
                begun = time.perf_counter()
                part = (budget - spent[look]) / (len(settings.devices) - number)
                yield from _sweep_device(here, settings, contenders, begun + part)
                spent[look] += time.perf_counter() - begun


def measure_again(settings: Settings, cells: Sequence[Cell]) -> Iterator[Cell]:
    """Measure these cells once more, in their order."""
    for device in dict.fromkeys(cell.device for cell in cells):
        with contenders_on(device, settings.optimizer, settings.seed) as contenders:
            for cell in cells:
                if cell.device == device:
                    yield _measure(_point(cell), settings, contenders, settings.budget_seconds)


def points(settings: Settings) -> list[Point]:
    """List all that `sweep` will measure."""
    return [*_grid(settings), *_closer(settings)]


def _grid(settings: Settings) -> list[Point]:
    return settings.points() if "grid" in settings.parts else []


def _closer(settings: Settings) -> list[Point]:
    return [point for device in settings.devices for point in closer_points(settings, device)]


def _sweep_device(
    points: Sequence[Point], settings: Settings, contenders: Contenders, end: float
) -> Iterator[Cell]:
    """Measure points of one device, until `end` on the host's clock."""
    pace = _Pace()
    for number, point in enumerate(points):
        left = end - time.perf_counter()
        limit = left * _weight(point) / sum(_weight(later) for later in points[number:])
        # Where the budget allows, quick cells may borrow from it: the rest hardly notices.
        limit = max(limit, min(2.0, left / 10))
        cell = _skip_reason(point, pace, left) or _measure(point, settings, contenders, limit)
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
    if free is not None and needed > MEMORY_SHARE * free:
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


def _measure(
    point: Point, settings: Settings, contenders: Contenders, limit_seconds: float
) -> Cell:
    """Build and time one cell."""
    sampling = Sampling(
        settings.samples, settings.sample_seconds, limit_seconds, settings.warm_seconds
    )
    try:
        ready = contenders.prepare(point, names_for(point))
        return _cell(point, timings=alternate(ready, sampling))
    except MemoryError as error:
        # CuPy's OutOfMemoryError is one too.
        return _skipped(point, f"out of memory: {error}")


def _flop(point: Point) -> int:
    return flop(point.sizes, point.m, point.pass_)


def _bytes(point: Point) -> int:
    # A GPU's own precisions keep float32 parameters, and at most float32 matrices.
    itemsize = np.dtype(point.dtype).itemsize if point.dtype in DTYPES else 4
    return bytes_needed(point.sizes, point.m, itemsize)


def _weight(point: Point) -> float:
    """Share of the budget that a cell deserves, in FLOP."""
    return _CELL_FLOP + _flop(point) * (2 if point.dtype == "float64" else 1)


def _point(cell: Cell) -> Point:
    return Point(cell.device, cell.dtype, cell.pass_, cell.m, cell.n_h, cell.layers, part=cell.part)


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
        part=point.part,
        **outcome,
    )
