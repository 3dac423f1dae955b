"""Closer looks: width step by step, depth, dtype, loops against vectorized calls, energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from nnx.benchmarks.cell import Cell
from nnx.benchmarks.findings import Energy, LoopTime
from nnx.benchmarks.plots import TITLES
from nnx.benchmarks.report.canvas import (
    INK,
    LIMIT,
    Axis,
    Chart,
    Mark,
    Panel,
    linear,
    logarithmic,
    mark,
    named,
)
from nnx.benchmarks.report.throughput import LIMIT_ENTRY, RATE_AXIS, Series
from nnx.benchmarks.report.wording import count, figures, listed, rate, seconds, trimmed


def charts(series: Sequence[Series]) -> Iterator[Chart]:
    """The charts of this subject, as far as something was measured for them."""
    yield from _depth(series)
    yield from _dtype(series)
    yield from _widths(series)
    yield from _vectorized(series)
    yield from _energy(series)


def _with_part(series: Sequence[Series], part: str) -> dict[str, list[Cell]]:
    return {one.name: cells for one in series if (cells := one.part(part))}


def _title(name: str, groups: Mapping[str, Any]) -> str:
    """Title of a panel: a single one needs none."""
    return name if len(groups) > 1 else ""


def _layers(count: int) -> str:
    return "1 hidden layer" if count == 1 else f"{count} hidden layers"


def _words(cell: Cell) -> dict[str, str]:
    """What a cell was, in words."""
    return {
        "m": f"m = {count(cell.m)}",
        "n_h": f"n_h = {count(cell.n_h)}",
        "dtype": cell.dtype,
        "pass": TITLES[cell.pass_],
    }


def _fixed(cells: Sequence[Cell], *names: str) -> str:
    """What all the cells have in common, for a caption."""
    found = [{_words(cell)[name] for cell in cells} for name in names]
    return ", ".join(each.pop() for each in found if len(each) == 1)


def _varying(cells: Sequence[Cell], *names: str) -> list[str]:
    """The names of what differs between the cells."""
    return [name for name in names if len({_words(cell)[name] for cell in cells}) > 1]


def _key(cell: Cell, *names: str) -> str:
    """What tells the curves of a chart apart."""
    return ", ".join(_words(cell)[name] for name in names)


# -- widths and depth -----------------------------------------------------------------------------


def _widths(series: Sequence[Series]) -> Iterator[Chart]:
    groups = _with_part(series, "widths")
    if not groups:
        return
    cells = [cell for group in groups.values() for cell in group]
    names = _varying(cells, "m", "dtype", "pass")
    keys = list(dict.fromkeys(_key(cell, *names) for cell in cells))
    looks = {key: mark(number, len(keys)) for number, key in enumerate(keys)}
    words = []
    for name, group in groups.items():
        odd = [cell.share for cell in group if cell.n_h % 8]
        even = [cell.share for cell in group if not cell.n_h % 8]
        top = max(group, key=lambda cell: cell.gflop_per_second)
        words.append(f"{name}: most at n_h = {top.n_h}, {figures(top.gflop_per_second)} GFLOP/s")
        if odd and even:
            speed = [
                sum(c.gflop_per_second for c in group if bool(c.n_h % 8) == odd_ones) / n
                for odd_ones, n in ((False, len(even)), (True, len(odd)))
            ]
            words[-1] += (
                f"; on average {figures(speed[0])} at multiples of 8 and {figures(speed[1])} beside"
            )
    yield Chart(
        "widths",
        "Hidden units, step by step",
        f"GFLOP/s over closely spaced widths ({_fixed(cells, 'pass', 'm', 'dtype')}): teeth show "
        f"where the kernels' tiles do not divide the width. {'. '.join(words)}.",
        f"GFLOP/s against hidden units, both linear. {'. '.join(words)}.",
        Axis("n_h (units of the hidden layer)", partial(linear, count)),
        Axis("arithmetic (GFLOP/s)", partial(linear, trimmed, least=0.0)),
        [
            Panel(_title(name, groups), partial(_draw_widths, group, looks, names))
            for name, group in groups.items()
        ],
        legend=[*((key or "nnx", look) for key, look in looks.items()), LIMIT_ENTRY],
        columns=1,
        height=330,
    )


def _draw_widths(
    cells: Sequence[Cell], looks: dict[str, Mark], names: Sequence[str], axes: Any, wide: bool
) -> None:
    for key, look in looks.items():
        curve = sorted((c for c in cells if _key(c, *names) == key), key=lambda cell: cell.n_h)
        n_h = [cell.n_h for cell in curve]
        small = {**look.line(), "markersize": 4.5, "linewidth": 1.5}
        axes.plot(n_h, [cell.gflop_per_second for cell in curve], **small)
        slow = [cell.flop / cell.nnx.quartiles[2] / 1e9 for cell in curve]
        fast = [cell.flop / cell.nnx.quartiles[0] / 1e9 for cell in curve]
        axes.vlines(n_h, slow, fast, color=look.color, linewidth=3, alpha=0.3)
        limits = [cell.flop / cell.limit.median / 1e9 for cell in curve]
        axes.plot(n_h, limits, color=look.color, **LIMIT)


def _depth(series: Sequence[Series]) -> Iterator[Chart]:
    groups = _with_part(series, "depth")
    if not groups:
        return
    cells = [cell for group in groups.values() for cell in group]
    names = _varying(cells, "m", "n_h", "dtype", "pass")
    keys = list(dict.fromkeys(_key(cell, *names) for cell in cells))
    looks = {key: mark(number, len(keys)) for number, key in enumerate(keys)}
    words = []
    for name, group in groups.items():
        some = sorted(
            (c for c in group if _key(c, *names) == _key(group[0], *names)), key=lambda c: c.layers
        )
        words.append(
            f"{name}: from {rate(some[0].examples_per_second)} examples/s with "
            f"{_layers(some[0].layers)} to {rate(some[-1].examples_per_second)} "
            f"with {some[-1].layers}"
        )
    depths = sorted({cell.layers for cell in cells})
    yield Chart(
        "depth",
        "Depth",
        f"What another hidden layer costs ({_fixed(cells, 'pass', 'm', 'n_h', 'dtype')}). "
        f"{'. '.join(words)}. Dashed: the matrix products alone.",
        f"Throughput against the number of hidden layers. {'. '.join(words)}.",
        Axis("L − 1 (hidden layers)", partial(_whole, depths)),
        RATE_AXIS,
        [
            Panel(_title(name, groups), partial(_draw_depth, group, looks, names))
            for name, group in groups.items()
        ],
        legend=[*((key or "nnx", look) for key, look in looks.items()), LIMIT_ENTRY],
        columns=2,
        half=len(groups) == 1,
    )


def _whole(values: Sequence[int], axis: Any) -> None:
    axis.set_ticks(values, [str(value) for value in values])


def _draw_depth(
    cells: Sequence[Cell], looks: dict[str, Mark], names: Sequence[str], axes: Any, wide: bool
) -> None:
    for key, look in looks.items():
        curve = sorted((c for c in cells if _key(c, *names) == key), key=lambda cell: cell.layers)
        layers = [cell.layers for cell in curve]
        axes.plot(layers, [cell.examples_per_second for cell in curve], **look.line())
        axes.plot(layers, [c.limit_examples_per_second for c in curve], color=look.color, **LIMIT)


# -- bars -----------------------------------------------------------------------------------------


def _dtype(series: Sequence[Series]) -> Iterator[Chart]:
    groups = _with_part(series, "dtype")
    if not groups:
        return
    cells = [cell for group in groups.values() for cell in group]
    names = _varying(cells, "m", "n_h", "pass")
    keys = list(dict.fromkeys(_key(cell, *names) for cell in cells)) if names else [""]
    dtypes = list(dict.fromkeys(cell.dtype for cell in cells))
    looks = {dtype: mark(number, len(dtypes)) for number, dtype in enumerate(dtypes)}
    words = []
    for name, group in groups.items():
        for key in keys:
            found = {
                c.dtype: c.examples_per_second for c in group if not names or _key(c, *names) == key
            }
            words.append(
                f"{name}{', ' if key else ''}{key}: "
                f"{listed(f'{dtype} {rate(value)} examples/s' for dtype, value in found.items())}"
            )
    yield Chart(
        "dtype",
        "Numbers of different precision",
        f"The same work ({_fixed(cells, 'pass', 'm', 'n_h')}) in each dtype; the line across a bar "
        f"is the speed of its matrix products alone. {'. '.join(words)}.",
        f"Bars of throughput. {'. '.join(words)}.",
        Axis("", partial(named, [key.replace(", ", "\n") or "" for key in keys])),
        Axis("throughput (examples / s)", partial(linear, rate, least=0.0)),
        [
            Panel(_title(name, groups), partial(_draw_dtype, group, looks, names, keys))
            for name, group in groups.items()
        ],
        legend=[
            *((dtype, Mark(look.color, "s", "none")) for dtype, look in looks.items()),
            ("the matrix products alone", Mark(INK, linewidth=2.0)),
        ],
        columns=2,
        half=len(groups) == 1,
    )


def _draw_dtype(
    cells: Sequence[Cell], looks: dict[str, Mark], names: Sequence[str], keys: Sequence[str],
    axes: Any, wide: bool,
) -> None:  # fmt: skip
    width = 0.8 / len(looks)
    for number, (dtype, look) in enumerate(looks.items()):
        for cell in (cell for cell in cells if cell.dtype == dtype):
            x = keys.index(_key(cell, *names) if names else "") + (number + 0.5) * width - 0.4
            axes.bar(x, cell.examples_per_second, 0.92 * width, color=look.color)
            axes.hlines(cell.limit_examples_per_second, x - 0.46 * width, x + 0.46 * width,
                        color=INK, linewidth=2)  # fmt: skip
    axes.grid(visible=False, axis="x")


def _vectorized(series: Sequence[Series]) -> Iterator[Chart]:
    known: dict[str, list[LoopTime]] = {}
    for one in series:
        found = [f for f in one.source.record.findings.vectorized if f.device == one.device]
        if found:
            known[one.name] = found
    if not known:
        return
    words = [
        f"{name}, {each.what}, {count(each.n)} passes: {seconds(each.loop_seconds)} in a loop, "
        f"{seconds(each.vectorized_seconds)} vectorized, "
        f"{figures(each.loop_seconds / each.vectorized_seconds)} times faster"
        for name, found in known.items()
        for each in found
    ]
    whats = list(dict.fromkeys(each.what for found in known.values() for each in found))
    looks = {"loop": mark(3), "vectorized": mark(0)}
    yield Chart(
        "vectorized",
        "Loop against vectorized",
        "The lecture's comparison: the same result by a Python loop and by one vectorized call. "
        "The number is how many times faster the call is.",
        f"Times of loops and of vectorized calls, logarithmic. {'. '.join(words)}.",
        Axis("time", partial(logarithmic, seconds, least=1.0)),
        Axis("", partial(_downwards, whats)),
        [
            Panel(_title(name, known), partial(_draw_loops, found, whats, looks))
            for name, found in known.items()
        ],
        legend=[(name, Mark(look.color, look.marker, "none")) for name, look in looks.items()],
        columns=1,
        height=96 + 48 * len(whats),
    )


def _downwards(names: Sequence[str], axis: Any) -> None:
    named(names, axis)
    axis.set_inverted(True)


def _draw_loops(
    found: Sequence[LoopTime], whats: Sequence[str], looks: dict[str, Mark], axes: Any, wide: bool
) -> None:
    for each in found:
        row = whats.index(each.what)
        loop, call = each.loop_seconds, each.vectorized_seconds
        axes.plot([call, loop], [row, row], color=INK, linewidth=1.2, alpha=0.5)
        for name, took in (("loop", loop), ("vectorized", call)):
            axes.plot([took], [row], **{**looks[name].line(), "markersize": 9})
        axes.annotate(f"{figures(loop / call)} ×", ((loop * call) ** 0.5, row), (0, 6),
                      textcoords="offset points", ha="center", color=INK)  # fmt: skip


def _energy(series: Sequence[Series]) -> Iterator[Chart]:
    known: dict[str, list[Energy]] = {}
    for one in series:
        found = [f for f in one.source.record.findings.energy if f.shape.device == one.device]
        if found:
            known[one.name] = found
    if not known:
        return
    words = [
        f"{name}, {_shape(each)}: {figures(1e6 * each.joules_per_example)} µJ"
        for name, found in known.items()
        for each in found
    ]
    sources = listed(dict.fromkeys(each.source for found in known.values() for each in found))
    yield Chart(
        "energy",
        "Energy per example",
        f"Of a training step, read from {sources}.",
        f"Energy for each example of a training step. {'. '.join(words)}.",
        Axis("energy (µJ / example)", partial(logarithmic, trimmed)),
        Axis("", _inverted),
        [Panel(name, partial(_draw_energy, found)) for name, found in known.items()],
        columns=2,
        height=84 + 44 * max(map(len, known.values())),
        share="x",
    )


def _shape(each: Energy) -> str:
    return f"m = {count(each.shape.m)}, n_h = {count(each.shape.n_h)}"


def _inverted(axis: Any) -> None:
    axis.set_inverted(True)


def _draw_energy(found: Sequence[Energy], axes: Any, wide: bool) -> None:
    look = mark(0)
    values = [1e6 * each.joules_per_example for each in found]
    axes.plot(values, range(len(values)), **{**look.line(), "linestyle": "none", "markersize": 9})
    named([_shape(each).replace(", ", "\n") for each in found], axes.yaxis)
    for row, value in enumerate(values):
        axes.annotate(figures(value), (value, row), (0, 7), textcoords="offset points", ha="center")
