"""The lecture's figure from measurements: performance over the amount of data; its sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from nnx.benchmarks.report.canvas import (
    INK,
    Axis,
    Chart,
    Mark,
    Panel,
    counts,
    linear,
    logarithmic,
    spread,
)
from nnx.benchmarks.report.study import Point, Study, short_name
from nnx.benchmarks.report.wording import count, listed, seconds, trimmed

DATA_LABEL = "m (training examples)"


def charts(studies: Sequence[Study]) -> Iterator[Chart]:
    """The lecture's figure, a chart for each task."""
    for number, (task, same) in enumerate(by_task(studies).items()):
        ending = "" if number == 0 else f"-{same[0].task['name']}"
        yield _performance(task, same, ending)


def by_task(studies: Sequence[Study]) -> dict[str, list[Study]]:
    """Studies of the same task together, by its title."""
    found: dict[str, list[Study]] = {}
    for study in studies:
        found.setdefault(study.task["title"], []).append(study)
    return found


def legend(studies: Sequence[Study]) -> list[tuple[str, Mark]]:
    """An entry for each contender, the largest network first, as the curves end."""
    looks: dict[str, Mark] = {}
    for study in studies:
        for name in [*reversed(study.networks), *study.traditional]:
            looks.setdefault(study.name(name), study.looks[name])
    return list(looks.items())


def _performance(task: str, studies: Sequence[Study], ending: str) -> Chart:
    first = studies[0]
    if first.classifies:
        y = Axis("accuracy on the test part (%)", partial(linear, lambda value: f"{value:.0f}"))
    else:
        y = Axis("test mean squared error (up is better)", _upside_down)
    seeds = max(study.seeds() for study in studies)
    repeats = f"; band: from the worst to the best of {seeds} seeds" if seeds > 1 else ""
    alone = len(studies) == 1
    return Chart(
        f"performance{ending}",
        f"{task[:1].upper()}{task[1:]}",
        f"The lecture's sketch, measured. Each point: the mean test result at that m{repeats}. "
        f"{first.task['note'].rstrip('.')}.",
        " ".join(_curve_words(study) for study in studies),
        Axis(DATA_LABEL, partial(counts, [m for study in studies for m in study.all_m])),
        y,
        [Panel(study.source.label, partial(_draw_performance, study, alone)) for study in studies],
        legend=legend(studies),
        columns=2,
        height=460 if alone else 360,
        legend_when_wide=not alone,
    )


def _upside_down(axis: Any) -> None:
    logarithmic(trimmed, axis)
    axis.set_inverted(True)


def _curve_words(study: Study) -> str:
    """Every curve in numbers, from its first to its last point."""
    words = [
        f"{study.name(name)}: from {study.quality(points[0].mean)} at m = {count(points[0].m)} "
        f"to {study.quality(points[-1].mean)} at m = {count(points[-1].m)}"
        for name, points in reversed(study.curves.items())
    ]
    what = "Accuracy" if study.classifies else "Mean squared error"
    label = f", {study.source.label}" if study.source.label else ""
    return f"{what} against the number of training examples{label}. {'; '.join(words)}."


def _draw_performance(study: Study, labelled: bool, axes: Any, wide: bool) -> None:
    def height(error: float) -> float:
        return 100 * (1 - error) if study.classifies else error

    for name, points in study.curves.items():
        look, m = study.looks[name], [point.m for point in points]
        low, high = [height(p.high) for p in points], [height(p.low) for p in points]
        axes.fill_between(m, low, high, color=look.color, alpha=0.16, linewidth=0)
        axes.plot(m, [height(point.mean) for point in points], **look.line())
    if labelled and wide and study.classifies:
        _names_beside(study, axes)
    elif labelled and wide:
        _labels_in_legend(axes, study)


def _names_beside(study: Study, axes: Any) -> None:
    """Names at the right, as high as the curves end, moved apart where they would touch."""
    bottom, top = axes.get_ylim()
    top = min(top, 100.5)
    axes.set_ylim(bottom, top)
    axes.set_xscale("log", base=2)
    limits, right = axes.get_xlim(), study.all_m[-1]
    ends = {name: points[-1] for name, points in study.curves.items()}
    places = spread([100 * (1 - end.mean) for end in ends.values()], (top - bottom) / 22)
    for (name, end), place in zip(ends.items(), places, strict=True):
        look, x = study.looks[name], right * 1.5
        axes.plot([x], [place], clip_on=False, **look.line())
        axes.annotate(study.name(name), (x, place), (9, 0), textcoords="offset points",
                      annotation_clip=False, va="center", color=INK)  # fmt: skip
        # A curve that ends earlier has no line to its name: it would look like a result.
        if end.m == right:
            axes.plot([right, x], [100 * (1 - end.mean), place], color=look.color, clip_on=False,
                      linewidth=1)  # fmt: skip
    axes.set_xlim(limits)


def _labels_in_legend(axes: Any, study: Study) -> None:
    """A legend inside the axes, where curves do not end apart."""
    for name in [*reversed(study.networks), *study.traditional]:
        axes.plot([], [], label=study.name(name), **study.looks[name].line())
    axes.legend(loc="best")


# -- in words -------------------------------------------------------------------------------------


def headline(study: Study) -> str:
    """What the study shows at the largest m, in one sentence."""
    m = study.all_m[-1]
    there = {name: point for name in study.networks if (point := study.at(name, m))}
    parts = [
        (f"the {short_name(name, study.networks)}", study.quality(there[name].mean))
        for name in reversed(there)
    ]
    if study.traditional:
        # One that could not be given so many examples counts with the most that it was given.
        ends = {name: study.curves[name][-1] for name in study.traditional}
        best = min(ends, key=lambda name: ends[name].mean)
        given = f" with the {count(ends[best].m)} that it was given" if ends[best].m < m else ""
        value = f"{study.quality(ends[best].mean)}{given}"
        parts.append((f"the best traditional algorithm ({best})", value))
    unit = " of the test examples right" if study.classifies else " mean squared error"
    verb = "gets" if study.classifies else "has"
    (name, value), *others = parts
    first = f"{name} {verb} {value}{unit}"
    return f"With {count(m)} examples {listed([first, *(' '.join(part) for part in others)])}."


def order_at_the_ends(study: Study) -> list[str]:
    """Whether size decides at the largest m, and whether it does at the smallest."""
    first, last = study.all_m[0], study.all_m[-1]
    return [_order(study, last), _order(study, first)] if first != last else [_order(study, last)]


def _order(study: Study, m: int) -> str:
    there = {name: point for name in study.curves if (point := study.at(name, m))}
    networks = [name for name in study.networks if name in there]
    ranked = sorted(there, key=lambda name: there[name].mean)
    by_size = list(reversed(networks))
    at = f"At m = {count(m)}"
    in_order = [name for name in ranked if name in networks] == by_size
    apart = all(_apart(there[a], there[b]) for a, b in pairwise(by_size))
    beaten = [name for name in study.traditional if name in there]
    ahead = all(there[by_size[0]].mean < there[name].mean for name in beaten) if by_size else False
    if in_order and apart and ahead and len(by_size) > 1:
        others = _ahead_of(beaten, study)
        return (
            f"{at} size decides: each network is ahead of the smaller ones{others}, whichever seed."
        )
    leader, *rest = ranked
    word = short_name(leader, study.networks)
    if close := [name for name in rest if not _apart(there[leader], there[name])]:
        together = listed([word, *(short_name(name, study.networks) for name in close)])
        return f"{at} there is no clear order: the seeds of {together} overlap."
    if in_order and len(by_size) > 1:
        return f"{at} the {word} leads ({study.quality(there[leader].mean)}); others overlap."
    return f"{at} the {word} leads ({study.quality(there[leader].mean)}), not the order of size."


def _ahead_of(beaten: Sequence[str], study: Study) -> str:
    if not beaten:
        return ""
    every = len(beaten) == len(study.traditional)
    return " and of every traditional algorithm" + ("" if every else " that was given so many")


def _apart(better: Point, worse: Point) -> bool:
    """Whether every seed of one is better than every seed of the other."""
    return better.high < worse.low


# -- what it costs --------------------------------------------------------------------------------


def cost_charts(studies: Sequence[Study]) -> Iterator[Chart]:
    """Error over the time of training: what accuracy costs on this machine."""
    timed = [study for study in studies if _times(study)]
    if not timed:
        return
    best = [min(((e, t, n) for n, t, e in _times(study)), key=lambda x: x[0]) for study in timed]
    words = [
        f"{study.source.label or study.task['title']}: least error {study.quality(error)}"
        f"{' right' if study.classifies else ''} by {study.name(name)} in {seconds(took)}"
        for study, (error, took, name) in zip(timed, best, strict=True)
    ]
    yield Chart(
        "cost",
        "Test error over training time",
        "Each point is one run (one m, one seed) with the time that it took on this machine. Down "
        "and to the left is better.",
        f"Test error against seconds of training, both logarithmic. {'. '.join(words)}.",
        Axis("time of the run (s)", partial(logarithmic, trimmed)),
        Axis(f"test {timed[0].task['metric']}", partial(logarithmic, _error_label(timed[0]))),
        [Panel(study.source.label, partial(_draw_cost, study)) for study in timed],
        legend=legend(timed),
        columns=2,
        height=340,
    )


def _error_label(study: Study) -> Any:
    return (lambda value: f"{100 * value:.3g} %") if study.classifies else trimmed


def _times(study: Study) -> list[tuple[str, float, float]]:
    """(contender, seconds, error) of every cell that is done and was timed."""
    times = study.plain["times"].get("cells") or []
    return [
        (cell["contender"], float(took), float(cell["test_error"]))
        for cell, took in zip(study.plain["cells"], times, strict=False)
        if cell["status"] == "done" and took and cell["test_error"] > 0
    ]


def _draw_cost(study: Study, axes: Any, wide: bool) -> None:
    for name, look in study.looks.items():
        some = [(took, error) for contender, took, error in _times(study) if contender == name]
        if some:
            line = {**look.line(), "linestyle": "none", "alpha": 0.85}
            axes.plot(*zip(*some, strict=True), **line)
