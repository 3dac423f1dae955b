"""Throughput over m and n_h, and the map of speed-ups between devices, machines or commits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nnx.benchmarks.cell import Cell
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
    logarithmic,
    mark,
    steps,
)
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.wording import count, figures, listed, percent, rate
from nnx.benchmarks.settings import N_X, N_Y

M_LABEL, HIDDEN_LABEL = "m (examples in one call)", "n_h (units of each hidden layer)"
RATE_AXIS = Axis("throughput (examples / s)", partial(logarithmic, rate))
LIMIT_ENTRY = ("the matrix products alone", Mark(MUTED, **LIMIT))
# Blue for faster, orange for slower, and light where there is no difference: told apart by
# people of every kind of colour vision, and each cell carries its number.
SLOWER, EQUAL, FASTER = "#d9822b", "#f4f4f2", "#1f6fb4"
_CURVES = 5


@dataclass(frozen=True)
class Series:
    """The cells of one device of one record."""

    name: str
    device: str
    source: Source
    cells: tuple[Cell, ...]

    def part(self, part: str) -> list[Cell]:
        """The measured cells of one part."""
        return [cell for cell in self.cells if cell.part == part and cell.measured]


def series_of(sources: Sequence[Source]) -> list[Series]:
    """Every device of every throughput record, the CPU first within each."""
    found = []
    for source in sources:
        devices = dict.fromkeys(cell.device for cell in source.record.cells)
        for device in sorted(devices, key=lambda name: name != "cpu"):
            name = ", ".join(filter(None, (source.label, device)))
            cells = tuple(cell for cell in source.record.cells if cell.device == device)
            found.append(Series(name, device, source, cells))
    return found


def charts(series: Sequence[Series]) -> Iterator[Chart]:
    """The charts of this subject, for each dtype and depth of the grid."""
    groups = sorted({(cell.layers, cell.dtype) for one in series for cell in one.part("grid")})
    for layers, dtype in groups:
        ending = "" if (layers, dtype) == groups[0] else f"-{dtype}-{layers}"
        chosen = {
            one.name: [c for c in one.part("grid") if (c.layers, c.dtype) == (layers, dtype)]
            for one in series
        }
        chosen = {name: cells for name, cells in chosen.items() if cells}
        yield _over_m(chosen, ending)
        pass_ = main_pass(c for cells in chosen.values() for c in cells)
        chosen = {
            name: [cell for cell in cells if cell.pass_ == pass_] for name, cells in chosen.items()
        }
        yield _over_hidden(chosen, ending)
        if len(chosen) > 1:
            yield from _speed_up(chosen, ending)


def main_pass(cells: Any) -> str:
    """The pass that stands for the others: the step where it was measured."""
    there = {cell.pass_ for cell in cells}
    return next(name for name in ("step", "backward", "forward") if name in there)


def network(cell: Cell) -> str:
    """The network of a cell: [784, n_h, 10]."""
    hidden = "n_h" if cell.layers == 1 else f"{cell.layers} × n_h"
    return f"[{N_X}, {hidden}, {N_Y}], ReLU and softmax, {cell.dtype}"


def best(cells: Sequence[Cell]) -> Cell:
    """The cell with the highest throughput."""
    return max(cells, key=lambda cell: cell.examples_per_second)


# -- over m and n_h -------------------------------------------------------------------------------


def _over_m(groups: Mapping[str, Sequence[Cell]], ending: str) -> Chart:
    cells = [cell for group in groups.values() for cell in group]
    passes = [name for name in TITLES if any(cell.pass_ == name for cell in cells)]
    widths = sorted({cell.n_h for cell in cells})
    marks = {n_h: mark(number, len(widths)) for number, n_h in enumerate(widths)}
    panels = [
        Panel(
            f"{name}: {TITLES[pass_]}" if len(groups) > 1 else TITLES[pass_].capitalize(),
            partial(_draw_over_m, [c for c in group if c.pass_ == pass_], marks),
        )
        for name, group in groups.items()
        for pass_ in passes
    ]
    tops = [
        f"{name}: at most {rate(top.examples_per_second)} examples/s in a {TITLES[pass_]} "
        f"(m = {count(top.m)}, n_h = {top.n_h}), {percent(top.share)} of the speed of its "
        "matrix products alone"
        for name, group in groups.items()
        for pass_ in passes
        if (some := [cell for cell in group if cell.pass_ == pass_])
        for top in [best(some)]
    ]
    return Chart(
        f"throughput-m{ending}",
        "Examples per second over m",
        f"Network {network(cells[0])}. Solid: nnx; bars: the middle half of its samples; dashed, "
        "in the same colour: the same matrix products and nothing else, timed in the same run.",
        f"Throughput against the number of examples m, both logarithmic, a curve for n_h = "
        f"{listed(map(str, widths))}. {'. '.join(tops)}.",
        Axis(M_LABEL, partial(counts, [cell.m for cell in cells])),
        RATE_AXIS,
        panels,
        legend=[*((f"n_h = {n_h}", look) for n_h, look in marks.items()), LIMIT_ENTRY],
        columns=len(passes) if len(passes) > 1 else min(3, len(groups)),
    )


def _draw_over_m(cells: Sequence[Cell], marks: Mapping[int, Mark], axes: Any, wide: bool) -> None:
    for n_h, look in marks.items():
        curve = sorted((cell for cell in cells if cell.n_h == n_h), key=lambda cell: cell.m)
        _curve(axes, curve, [cell.m for cell in curve], look)


def _curve(axes: Any, curve: Sequence[Cell], x: Sequence[float], look: Mark) -> None:
    """A curve of throughput, with its spread and its limit."""
    axes.plot(x, [cell.examples_per_second for cell in curve], **look.line())
    slow = [cell.m / cell.nnx.quartiles[2] for cell in curve]
    fast = [cell.m / cell.nnx.quartiles[0] for cell in curve]
    axes.vlines(x, slow, fast, color=look.color, linewidth=5, alpha=0.35)
    limits = [cell.limit_examples_per_second for cell in curve]
    axes.plot(x, limits, color=look.color, **LIMIT)


def _over_hidden(groups: Mapping[str, Sequence[Cell]], ending: str) -> Chart:
    cells = [cell for group in groups.values() for cell in group]
    all_m = sorted({cell.m for cell in cells})
    # Evenly chosen among many: the smallest and the largest are always there.
    stride = max(1, -(-(len(all_m) - 1) // (_CURVES - 1)))
    chosen = sorted({*all_m[::-1][::stride], all_m[0]})
    marks = {m: mark(number, len(chosen)) for number, m in enumerate(chosen)}
    pass_ = TITLES[cells[0].pass_]
    largest = [cell for cell in cells if cell.m == all_m[-1]]
    falls = [
        f"{name}: at m = {count(all_m[-1])} from {rate(some[0].examples_per_second)} examples/s "
        f"with {some[0].n_h} units to {rate(some[-1].examples_per_second)} with {some[-1].n_h}"
        for name, group in groups.items()
        if (some := sorted((c for c in group if c in largest), key=lambda cell: cell.n_h))
    ]
    return Chart(
        f"throughput-hidden{ending}",
        "Examples per second over hidden units",
        f"What a wider layer costs in a {pass_}. Network {network(cells[0])}; dashed: the matrix "
        "products alone.",
        f"Throughput of a {pass_} against the number of hidden units, a curve for m = "
        f"{listed(map(count, chosen))}. {'. '.join(falls)}.",
        Axis(HIDDEN_LABEL, partial(counts, [cell.n_h for cell in cells])),
        RATE_AXIS,
        [
            Panel(name if len(groups) > 1 else "", partial(_draw_over_hidden, group, marks))
            for name, group in groups.items()
        ],
        legend=[*((f"m = {count(m)}", look) for m, look in marks.items()), LIMIT_ENTRY],
        half=len(groups) == 1,
    )


def _draw_over_hidden(
    cells: Sequence[Cell], marks: Mapping[int, Mark], axes: Any, wide: bool
) -> None:
    for m, look in marks.items():
        curve = sorted((cell for cell in cells if cell.m == m), key=lambda cell: cell.n_h)
        _curve(axes, curve, [cell.n_h for cell in curve], look)


# -- speed-ups ------------------------------------------------------------------------------------

Ratios = Mapping[tuple[int, int], float]


def speed_ups(base: Sequence[Cell], other: Sequence[Cell]) -> dict[tuple[int, int], float]:
    """How many times faster `other` is, by (m, n_h), where both were measured."""
    known = {(cell.m, cell.n_h): cell.examples_per_second for cell in base}
    return {
        (cell.m, cell.n_h): cell.examples_per_second / known[cell.m, cell.n_h]
        for cell in other
        if (cell.m, cell.n_h) in known
    }


def crossover(ratios: Ratios, n_h: int) -> int | None:
    """The smallest m from which on the other one is faster at every larger m measured."""
    column = sorted(((m, ratio) for (m, width), ratio in ratios.items() if width == n_h))
    from_here = None
    for m, ratio in reversed(column):
        if ratio < 1:
            break
        from_here = m
    return from_here


def _speed_up(groups: Mapping[str, Sequence[Cell]], ending: str) -> Iterator[Chart]:
    (base_name, base), *others = groups.items()
    maps = {name: speed_ups(base, cells) for name, cells in others}
    maps = {name: ratios for name, ratios in maps.items() if ratios}
    if not maps:
        return
    sentences = [sentence for name, ratios in maps.items() for sentence in _crossings(name, ratios)]
    pass_ = TITLES[base[0].pass_]
    all_m = sorted({m for ratios in maps.values() for m, _ in ratios})
    widths = sorted({n_h for ratios in maps.values() for _, n_h in ratios})
    yield Chart(
        f"speed-up{ending}",
        f"Speed-up over {base_name}",
        f"A {pass_}: how many times more examples per second than {base_name}. Blue: faster; "
        f"orange: slower; the line is the cross-over. {' '.join(sentences)}",
        f"A map of speed-ups over {base_name}, m upwards and hidden units to the right. "
        f"{' '.join(sentences)}",
        Axis(HIDDEN_LABEL, partial(steps, widths)),
        Axis(M_LABEL, partial(steps, all_m)),
        [Panel(name, partial(_draw_map, ratios, all_m, widths)) for name, ratios in maps.items()],
        columns=2,
        height=380,
    )


def _crossings(name: str, ratios: Ratios) -> list[str]:
    """In words: from which m on it is faster, and its range."""
    low, high = min(ratios.values()), max(ratios.values())
    sentences = [f"{name}: between {figures(low, 2)} and {figures(high, 2)} times."]
    by_start: dict[int | None, list[int]] = {}
    for n_h in sorted({width for _, width in ratios}):
        by_start.setdefault(crossover(ratios, n_h), []).append(n_h)
    for start, widths in by_start.items():
        where = f"n_h = {listed(map(str, widths))}"
        sentences.append(
            f"At {where} it is not ahead at the largest m."
            if start is None
            else f"At {where} it is ahead from m = {count(start)} on."
        )
    return sentences


def _draw_map(
    ratios: Ratios, all_m: Sequence[int], widths: Sequence[int], axes: Any, wide: bool
) -> None:
    from matplotlib.colors import LinearSegmentedColormap, to_hex

    colours = LinearSegmentedColormap.from_list("speed-up", (SLOWER, EQUAL, FASTER))
    reach = max(1.0, *(abs(math.log2(ratio)) for ratio in ratios.values()))
    for (m, n_h), ratio in ratios.items():
        x, y = widths.index(n_h), all_m.index(m)
        strength = math.log2(ratio) / reach
        fill = to_hex(colours(0.5 + 0.5 * strength))
        axes.fill([x - 0.5, x + 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5],
                  color=fill, linewidth=0)  # fmt: skip
        ink = "#fefefe" if strength > 0.6 else "#111318"
        axes.text(x, y, figures(ratio, 2) + " ×", ha="center", va="center", color=ink)
        # The border between slower and faster, on each side where a neighbour differs.
        for dx, dy in ((1, 0), (0, 1)):
            right = x + dx < len(widths) and y + dy < len(all_m)
            near = ratios.get((all_m[y + dy], widths[x + dx])) if right else None
            if near is not None and (near >= 1) != (ratio >= 1):
                line = (
                    ([x + 0.5] * 2, [y - 0.5, y + 0.5])
                    if dx
                    else ([x - 0.5, x + 0.5], [y + 0.5] * 2)
                )
                axes.plot(*line, color=INK, linewidth=2.5, solid_capstyle="round")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
