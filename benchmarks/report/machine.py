"""What the machine could do and where the time goes: ceiling, roofline, operations, memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnx.benchmarks.cell import Cell
from nnx.benchmarks.findings import Operations, Peak
from nnx.benchmarks.plots import TITLES
from nnx.benchmarks.report.canvas import (
    INK,
    LIMIT,
    MUTED,
    Axis,
    Chart,
    Mark,
    Panel,
    counts,
    linear,
    logarithmic,
    mark,
    named,
)
from nnx.benchmarks.report.throughput import HIDDEN_LABEL, LIMIT_ENTRY, Series, network
from nnx.benchmarks.report.wording import count, figures, listed, percent, seconds, trimmed

CEILING = ("measured ceiling of a large matrix product", Mark(INK, linewidth=1.6))
# Operations that take less than this share of a step are drawn together.
_LEAST_SHARE = 0.03
_REST = "all others"
_MIB = 2**20


def charts(series: Sequence[Series]) -> Iterator[Chart]:
    """The charts of this subject, as far as something was found for them."""
    yield from _gflops(series)
    yield from _roofline(series)
    yield from _where_time_goes(series)
    yield from _memory(series)


def peak_of(one: Series, dtype: str) -> Peak | None:
    """The peak of a device in one dtype, where it was measured."""
    for peak in one.source.record.findings.peaks:
        if (peak.device, peak.dtype) == (one.device, dtype):
            found: Peak = peak
            return found
    return None


# -- GFLOP/s --------------------------------------------------------------------------------------


def _gflops(series: Sequence[Series]) -> Iterator[Chart]:
    chosen: dict[str, tuple[Series, list[Cell]]] = {}
    for one in series:
        grid = one.part("grid")
        if grid:
            layers, dtype = min((cell.layers, cell.dtype) for cell in grid)
            cells = [cell for cell in grid if (cell.layers, cell.dtype) == (layers, dtype)]
            # The largest m at which every width was measured, else the largest.
            widths = {cell.n_h for cell in cells}
            full = [m for m in {c.m for c in cells} if widths == {c.n_h for c in cells if c.m == m}]
            m = max(full or [cell.m for cell in cells])
            chosen[one.name] = one, [cell for cell in cells if cell.m == m]
    if not chosen:
        return
    passes = [p for p in TITLES if any(c.pass_ == p for _, cells in chosen.values() for c in cells)]
    looks = {pass_: mark(number, len(TITLES)) for number, pass_ in enumerate(passes)}
    words, peaks = [], False
    for name, (one, cells) in chosen.items():
        top = max(cells, key=lambda cell: cell.gflop_per_second)
        peak = peak_of(one, top.dtype)
        peaks = peaks or peak is not None
        of = (
            f", {percent(top.gflop_per_second / peak.gflop_per_second)} of the ceiling of "
            f"{figures(peak.gflop_per_second)}"
            if peak
            else ""
        )
        words.append(
            f"{name}, m = {count(top.m)}: at most {figures(top.gflop_per_second)} GFLOP/s{of} "
            f"({TITLES[top.pass_]}, n_h = {top.n_h})"
        )
    first = next(iter(chosen.values()))[1][0]
    yield Chart(
        "gflops",
        "Arithmetic achieved, against the ceiling",
        "Operations of the matrix products per second at the largest m with every width, network "
        f"{network(first)}. "
        f"{'. '.join(words)}. Dashed: the products of the same shapes alone.",
        f"GFLOP/s against hidden units, both logarithmic. {'. '.join(words)}.",
        Axis(HIDDEN_LABEL, partial(counts, [c.n_h for _, cells in chosen.values() for c in cells])),
        Axis("arithmetic (GFLOP/s)", partial(logarithmic, trimmed)),
        [
            Panel(name if len(chosen) > 1 else "", partial(_draw_gflops, one, cells, looks))
            for name, (one, cells) in chosen.items()
        ],
        legend=[
            *((TITLES[pass_], look) for pass_, look in looks.items()),
            LIMIT_ENTRY,
            *([CEILING] if peaks else []),
        ],
        columns=2,
        half=len(chosen) == 1,
    )


def _draw_gflops(
    one: Series, cells: Sequence[Cell], looks: Mapping[str, Mark], axes: Any, wide: bool
) -> None:
    for pass_, look in looks.items():
        curve = sorted((c for c in cells if c.pass_ == pass_), key=lambda cell: cell.n_h)
        n_h = [cell.n_h for cell in curve]
        axes.plot(n_h, [cell.gflop_per_second for cell in curve], **look.line())
        limits = [cell.flop / cell.limit.median / 1e9 for cell in curve]
        axes.plot(n_h, limits, color=look.color, **LIMIT)
    if peak := peak_of(one, cells[0].dtype):
        axes.axhline(peak.gflop_per_second, color=INK, linewidth=1.6)
        sheet = (peak.data_sheet or {}).get("matmul_gflop_per_second")
        if sheet:
            axes.axhline(sheet, color=INK, linewidth=1.2, linestyle=":")
            axes.annotate("data sheet", (0.02, sheet), xycoords=("axes fraction", "data"),
                          xytext=(0, 4), textcoords="offset points", color=MUTED)  # fmt: skip


# -- roofline -------------------------------------------------------------------------------------


def _all_operations(series: Sequence[Series]) -> list[tuple[Series, Operations]]:
    return [
        (one, found)
        for one in series
        for found in one.source.record.findings.operations
        if found.shape.device == one.device
    ]


def _shape_name(found: Operations) -> str:
    shape = found.shape
    depth = f", {shape.layers} layers" if shape.layers > 1 else ""
    return f"m = {count(shape.m)}, n_h = {count(shape.n_h)}{depth}"


def _roofline(series: Sequence[Series]) -> Iterator[Chart]:
    known = [
        (one, found)
        for one, found in _all_operations(series)
        if peak_of(one, found.shape.dtype) is not None
    ]
    if not known:
        return
    devices = list({one.name: one for one, _ in known}.values())
    shapes = list(dict.fromkeys(_shape_name(found) for _, found in known))
    looks = {name: mark(number, len(shapes)) for number, name in enumerate(shapes)}
    words = []
    for one in devices:
        peak = peak_of(one, next(f.shape.dtype for o, f in known if o is one))
        if peak:
            ridge = peak.gflop_per_second / peak.bandwidth_gb_per_second
            words.append(
                f"{one.name}: {figures(peak.gflop_per_second)} GFLOP/s and "
                f"{figures(peak.bandwidth_gb_per_second)} GB/s, so below {figures(ridge)} FLOP per "
                "byte memory is the limit"
            )
    yield Chart(
        "roofline",
        "Roofline: each operation of a training step",
        "A dot for each operation: how much arithmetic it does per byte that it must move, and how "
        "fast it ran. The roof is what the machine showed in this run. Dots above the slope work "
        f"from the caches. {'. '.join(words)}.",
        f"GFLOP/s against arithmetic intensity, both logarithmic. {'. '.join(words)}.",
        Axis("arithmetic intensity (FLOP / byte)", partial(logarithmic, trimmed)),
        Axis("arithmetic (GFLOP/s)", partial(logarithmic, trimmed)),
        [
            Panel(
                one.name if len(devices) > 1 else "",
                partial(_draw_roofline, one, [f for o, f in known if o is one], looks),
            )
            for one in devices
        ],
        legend=[
            *((name, Mark(look.color, look.marker, "none")) for name, look in looks.items()),
            ("roof", CEILING[1]),
        ],
        columns=2,
        height=400,
    )


def _draw_roofline(
    one: Series, found: Sequence[Operations], looks: Mapping[str, Mark], axes: Any, wide: bool
) -> None:
    intensities = [0.5]
    for operations in found:
        look = looks[_shape_name(operations)]
        dots = [
            (each.flop / each.bytes, each.flop / each.seconds / 1e9)
            for each in operations.operations
            if each.flop and each.bytes and each.seconds > 0
        ]
        if dots:
            axes.plot(
                *zip(*dots, strict=True), **{**look.line(), "linestyle": "none", "alpha": 0.9}
            )
            intensities += [dot[0] for dot in dots]
    peak = peak_of(one, found[0].shape.dtype)
    if peak:
        ridge = peak.gflop_per_second / peak.bandwidth_gb_per_second
        low, high = min(intensities) / 1.5, max(*intensities, 4 * ridge)
        roof = np.array([low, ridge, high])
        axes.plot(roof, np.minimum(roof * peak.bandwidth_gb_per_second, peak.gflop_per_second),
                  color=INK, linewidth=1.6)  # fmt: skip


# -- where the time goes --------------------------------------------------------------------------


def _where_time_goes(series: Sequence[Series]) -> Iterator[Chart]:
    known = _all_operations(series)
    if not known:
        return
    order: dict[str, float] = {}
    for _, found in known:
        for name, took in _shares(found).items():
            order[name] = max(order.get(name, 0.0), took)
    names = [name for name in order if name != _REST] + [_REST] * (_REST in order)
    looks = {name: mark(number, len(names)) for number, name in enumerate(names)}
    words = [
        f"{one.name}, {_shape_name(found)}: "
        f"{listed(f'{n} {percent(s)}' for n, s in _largest(found))} of "
        f"{seconds(found.step_seconds)}"
        for one, found in known
    ]
    devices: dict[str, list[Operations]] = {}
    for one, found in known:
        devices.setdefault(one.name, []).append(found)
    rows = max(map(len, devices.values()))
    yield Chart(
        "where-time-goes",
        "Where the time of a training step goes",
        "Shares of a step's operations, in the order of the step, in the lecture's notation; "
        f"operations below {percent(_LEAST_SHARE)} are drawn together. Right of each bar: the "
        "time of a whole step.",
        f"Stacked bars of the shares of operations in a step. {'. '.join(words)}.",
        Axis("share of the step (%)", partial(linear, lambda v: f"{v:.0f}", least=0.0)),
        Axis("", _downwards),
        [
            Panel(name if len(devices) > 1 else "", partial(_draw_time, some, looks))
            for name, some in devices.items()
        ],
        legend=[(name, Mark(look.color, "s", "none")) for name, look in looks.items()],
        columns=1,
        height=84 + 46 * rows,
        share="x",
    )


def _downwards(axis: Any) -> None:
    axis.set_inverted(True)
    axis.grid(visible=False)


def _shares(found: Operations) -> dict[str, float]:
    """Share of the step by operation, in the step's order; small ones together."""
    timed = [(one.name, one.seconds) for one in found.operations if one.seconds > 0]
    total = math.fsum(took for _, took in timed)
    shares: dict[str, float] = {}
    for name, took in timed:
        key = name if took / total >= _LEAST_SHARE else _REST
        shares[key] = shares.get(key, 0.0) + took / total
    return shares


def _largest(found: Operations) -> list[tuple[str, float]]:
    return sorted(_shares(found).items(), key=lambda item: -item[1])[:3]


def _draw_time(
    known: Sequence[Operations], looks: Mapping[str, Mark], axes: Any, wide: bool
) -> None:
    for row, found in enumerate(known):
        shares, left = _shares(found), 0.0
        for name, look in looks.items():
            width = 100 * shares.get(name, 0.0)
            axes.barh(row, width, left=left, color=look.color, height=0.62, edgecolor="#ffffff",
                      linewidth=0.8)  # fmt: skip
            left += width
        axes.text(101, row, seconds(found.step_seconds), va="center", color=INK)
    named([_shape_name(found).replace(", ", "\n") for found in known], axes.yaxis)
    axes.set_xlim(0, 113 if wide else 128)
    axes.set_xticks(range(0, 101, 20))


# -- memory ---------------------------------------------------------------------------------------


def _memory(series: Sequence[Series]) -> Iterator[Chart]:
    known = {
        one.name: some
        for one in series
        if (some := [f for f in one.source.record.findings.memory if f.shape.device == one.device])
    }
    if not known:
        return
    widths = sorted({found.shape.n_h for some in known.values() for found in some})
    looks = {n_h: mark(number, len(widths)) for number, n_h in enumerate(widths)}
    ratios = [f.measured_bytes / f.formula_bytes for some in known.values() for f in some]
    hows = listed(dict.fromkeys(found.how for some in known.values() for found in some))
    words = (
        f"The measured peak is {figures(min(ratios))} to {figures(max(ratios))} times the formula"
    )
    yield Chart(
        "memory",
        "Peak memory of a training run, against the formula",
        f"Points: measured ({hows}); dashed: what nnx.memory foresees. {words}.",
        f"Peak memory against m, both logarithmic, a curve for n_h = {listed(map(str, widths))}. "
        f"{words}.",
        Axis("m (examples in one step)", partial(
            counts, [found.shape.m for some in known.values() for found in some]
        )),
        Axis("peak memory (MiB)", partial(logarithmic, trimmed)),
        [
            Panel(name if len(known) > 1 else "", partial(_draw_memory, some, looks))
            for name, some in known.items()
        ],
        legend=[
            *((f"n_h = {n_h}", look) for n_h, look in looks.items()),
            ("formula", Mark(MUTED, **LIMIT)),
        ],
        columns=2,
        half=len(known) == 1,
    )  # fmt: skip


def _draw_memory(some: Sequence[Any], looks: Mapping[int, Mark], axes: Any, wide: bool) -> None:
    for n_h, look in looks.items():
        curve = sorted((f for f in some if f.shape.n_h == n_h), key=lambda f: f.shape.m)
        m = [found.shape.m for found in curve]
        axes.plot(
            m, [f.measured_bytes / _MIB for f in curve], **{**look.line(), "linestyle": "none"}
        )
        axes.plot(m, [found.formula_bytes / _MIB for found in curve], color=look.color, **LIMIT)
