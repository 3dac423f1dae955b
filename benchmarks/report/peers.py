"""nnx beside other libraries: how many times longer each takes, over m and n_h, and for fits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnx.benchmarks.peers import CONTENDERS, Comparison
from nnx.benchmarks.peers.contenders import LIMITS, NNX
from nnx.benchmarks.report.canvas import (
    INK,
    Axis,
    Chart,
    Mark,
    Panel,
    counts,
    logarithmic,
    mark,
    named,
)
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.wording import count, figures, listed, seconds, trimmed

_OTHERS = [name for name in CONTENDERS if name not in (NNX, *LIMITS)]
_LOOKS = {name: mark(number, len(_OTHERS)) for number, name in enumerate(_OTHERS)}
_RATIO = Axis("time / time of nnx (×)", partial(logarithmic, trimmed))
_EVEN = ("nnx", Mark(INK, linewidth=1.6))


def charts(sources: Sequence[Source]) -> Iterator[Chart]:
    """The charts of this subject: steps for each record, device, precision and depth; fits."""
    steps: dict[str, list[Comparison]] = {}
    fits: dict[str, list[Comparison]] = {}
    for source in sources:
        for one in source.record:
            case = one.case
            where = [source.label, case.device, case.precision]
            if case.kind == "step":
                depth = len(case.n) - 2
                where.append(f"{depth} hidden layer{'s' if depth > 1 else ''}")
            group = steps if case.kind == "step" else fits
            group.setdefault(", ".join(filter(None, where)), []).append(one)
    for number, (title, some) in enumerate(steps.items()):
        yield _steps(title, some, "" if number == 0 else f"-{number + 1}")
    if fits:
        yield _fits(fits)


def geometric_mean(comparisons: Sequence[Comparison]) -> float:
    """Geometric mean of the ratios to the fastest peer of each case; NaN where there is none."""
    ratios = [one.ratio(one.fastest_peer) for one in comparisons if one.fastest_peer]
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else math.nan


def _sum_up(where: str, some: Sequence[Comparison]) -> str:
    ratios = [one.ratio(one.fastest_peer) for one in some if one.fastest_peer]
    if not ratios:
        return f"{where}: no peer was timed"
    behind = sum(ratio < 1 for ratio in ratios)
    return (
        f"{where}: against the fastest peer of each case nnx is "
        f"{figures(geometric_mean(some))} times as fast (geometric mean), at least "
        f"{figures(min(ratios))} times, and slower in {behind} of {len(ratios)} cases"
    )


def _names(comparisons: Sequence[Comparison]) -> list[str]:
    """The peers with a result, in their order."""
    return [n for n in _OTHERS if any(not math.isnan(one.seconds(n)) for one in comparisons)]


def _steps(where: str, some: Sequence[Comparison], ending: str) -> Chart:
    widths = sorted({one.case.n[1] for one in some})
    words = _sum_up(where, some)
    return Chart(
        f"peers-steps{ending}",
        f"Training steps beside other libraries: {where}",
        "How many times longer a step takes elsewhere: the same network, batch and start, each "
        f"library in a process of its own. Above the line nnx is faster. {words}.",
        f"Time of a step relative to nnx against m, both logarithmic, a panel for n_h = "
        f"{listed(map(str, widths))}. {words}.",
        Axis("m (examples in a batch)", partial(counts, [one.case.m for one in some])),
        _RATIO,
        [
            Panel(f"n_h = {n_h}", partial(_draw_steps, [o for o in some if o.case.n[1] == n_h]))
            for n_h in widths
        ],
        legend=[*((name, _LOOKS[name]) for name in _names(some)), _EVEN],
        height=290,
    )


def _draw_steps(some: Sequence[Comparison], axes: Any, wide: bool) -> None:
    curve = sorted(some, key=lambda one: one.case.m)
    for name in _names(some):
        known = [(one.case.m, one.ratio(name)) for one in curve]
        axes.plot(*zip(*known, strict=True), **_LOOKS[name].line())
    axes.axhline(1, color=INK, linewidth=1.6)


def _fits(groups: Mapping[str, Sequence[Comparison]]) -> Chart:
    words = [_sum_up(where, some) for where, some in groups.items()]
    everyone = [one for some in groups.values() for one in some]
    rows = max(len(some) for some in groups.values())
    return Chart(
        "peers-fits",
        "Whole fits beside other libraries",
        f"Epochs of Adam over shuffled minibatches. {'. '.join(words)}.",
        f"Time of whole fits relative to nnx, logarithmic. {'. '.join(words)}.",
        Axis(_RATIO.label, _RATIO.scale),
        Axis("", _rows),
        [Panel(where, partial(_draw_fits, some)) for where, some in groups.items()],
        legend=[
            *((n, Mark(_LOOKS[n].color, _LOOKS[n].marker, "none")) for n in _names(everyone)),
            _EVEN,
        ],
        columns=1,
        height=96 + 60 * rows,
        share="x",
    )


def _rows(axis: Any) -> None:
    axis.set_inverted(True)


def _draw_fits(some: Sequence[Comparison], axes: Any, wide: bool) -> None:
    labels = []
    for row, one in enumerate(some):
        case = one.case
        labels.append(
            f"{'-'.join(map(str, case.n))}\n{count(case.rows)} examples"
            f"\nnnx: {seconds(one.seconds(NNX))}"
        )
        for name in _names(some):
            line = {**_LOOKS[name].line(), "linestyle": "none", "markersize": 9}
            axes.plot([one.ratio(name)], [row], **line)
    named(labels, axes.yaxis)
    axes.axvline(1, color=INK, linewidth=1.6)
