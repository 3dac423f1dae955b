"""The scaling laws: test error over m and N with their fits, and the teacher's law beside 4/d."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from nnx.benchmarks.report.canvas import (
    INK,
    LIMIT,
    MUTED,
    PAPER,
    Axis,
    Chart,
    Mark,
    Panel,
    counts,
    linear,
    logarithmic,
    mark,
)
from nnx.benchmarks.report.learning import DATA_LABEL, by_task, legend
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.study import Study
from nnx.benchmarks.report.wording import count, figures, listed, percent, trimmed

FIT = ("fitted law", Mark(MUTED, linewidth=1.4))
BEYOND = ("its continuation", Mark(MUTED, **LIMIT))
HELD_OUT = ("held out of the fit", Mark(INK, "o", "none", "none"))
PREDICTED = ("its prediction", Mark(INK, "x", "none"))


def charts(studies: Sequence[Study], teachers: Sequence[Source]) -> Iterator[Chart]:
    """The charts of this subject."""
    for number, same in enumerate(by_task(studies).values()):
        ending = "" if number == 0 else f"-{same[0].task['name']}"
        yield _over_data(same, ending)
        yield from _over_size(same, ending)
    if teachers:
        yield _teacher_losses(teachers)
    if any(slopes_of(source) for source in teachers):
        yield _teacher_slopes(teachers)


def _percent_or_number(study: Study) -> Any:
    return (lambda value: f"{100 * value:.3g} %") if study.classifies else trimmed


def law_words(law: Mapping[str, Any]) -> str:
    """A law in words: its exponent with its interval, or why there is none."""
    if not law["is_power_law"]:
        return f"{law['contender']}: no power law ({law['reason']})"
    low, high = law["intervals"]["beta"]
    words = f"{law['contender']}: exponent {figures(law['beta'])} [{figures(low)}, {figures(high)}]"
    if held := law.get("held_out"):
        words += (
            f", at the held-out m = {count(held['m'])} {percent(abs(held['relative_error']))} "
            f"{'above' if held['relative_error'] > 0 else 'below'} the measurement"
        )
    return words


def laws_of(study: Study) -> Mapping[str, Mapping[str, Any]]:
    """The fitted laws by contender, those with a power law and those without."""
    found = study.plain["laws"]["per_contender"]
    return {law["contender"]: law for law in found if law["contender"] in study.curves}


# -- over m ---------------------------------------------------------------------------------------


def _over_data(studies: Sequence[Study], ending: str) -> Chart:
    words = [
        f"{study.source.label + ': ' if study.source.label else ''}{law_words(law)}"
        for study in studies
        for law in laws_of(study).values()
    ]
    return Chart(
        f"law-data{ending}",
        f"Test {studies[0].task['metric']} over m, with ε(m) = α·mᵝ + γ",
        "Points: the mean over the seeds; bars: from the best to the worst seed. On these "
        "logarithmic axes a power law is a straight line that bends towards its floor γ. The "
        "ringed point was held out: the law was fitted without it, and the cross is what it "
        "predicted there.",
        "Test error against the number of training examples, both logarithmic. "
        f"{'; '.join(words)}.",
        Axis(DATA_LABEL, partial(counts, [m for study in studies for m in study.all_m])),
        Axis(
            f"test {studies[0].task['metric']}",
            partial(logarithmic, _percent_or_number(studies[0])),
        ),
        [Panel(study.source.label, partial(_draw_over_data, study)) for study in studies],
        legend=[*legend(studies), FIT, BEYOND, HELD_OUT, PREDICTED],
        columns=2,
        height=460 if len(studies) == 1 else 380,
    )


def power(law: Mapping[str, Any], m: Any) -> Any:
    """α m^β + γ."""
    return law["alpha"] * np.asarray(m, float) ** law["beta"] + law["gamma"]


def _draw_over_data(study: Study, axes: Any, wide: bool) -> None:
    laws, end = laws_of(study), study.all_m[-1]
    for name, points in study.curves.items():
        look, m = study.looks[name], [point.m for point in points]
        seen = [point for point in points if point.low > 0]
        axes.vlines([p.m for p in seen], [p.low for p in seen], [p.high for p in seen],
                    color=look.color, linewidth=5, alpha=0.3)  # fmt: skip
        axes.plot(m, [p.mean or math.nan for p in points], **{**look.line(), "linestyle": "none"})
        law = laws.get(name)
        if not law or not law["is_power_law"]:
            axes.plot(m, [p.mean or math.nan for p in points], color=look.color, linewidth=0.8,
                      alpha=0.6)  # fmt: skip
            continue
        first, last = law["region"]
        inside, beyond = np.geomspace(first, last, 60), np.geomspace(last, end, 30)
        axes.plot(inside, power(law, inside), color=look.color, linewidth=1.6)
        axes.plot(beyond, power(law, beyond), color=look.color, **LIMIT)
        if held := law.get("held_out"):
            ring = {"marker": "o", "markersize": 13, "fillstyle": "none", "linestyle": "none"}
            axes.plot([held["m"]], [held["measured"]], color=look.color, **ring)
            axes.plot([held["m"]], [held["predicted"]], color=look.color, marker="x", markersize=8,
                      markeredgewidth=2)  # fmt: skip


# -- over m and N ---------------------------------------------------------------------------------


def joint_law(study: Study) -> Mapping[str, Any] | None:
    """The joint law, where one was fitted."""
    joint = study.plain["laws"].get("joint")
    return joint if joint and joint.get("E") is not None else None


def _joint(law: Mapping[str, Any], m: Any, n: Any) -> Any:
    """E + A / N^a + B / m^b."""
    n = np.asarray(n, float)
    return law["E"] + law["A"] / n ** law["a"] + law["B"] / np.asarray(m, float) ** law["b"]


def _over_size(studies: Sequence[Study], ending: str) -> Iterator[Chart]:
    fitted = [study for study in studies if joint_law(study)]
    if not fitted:
        return
    words = []
    for study in fitted:
        law = joint_law(study) or {}
        words.append(
            f"ε(m, N) = {figures(law['E'])} + {figures(law['A'])} / N^{figures(law['a'])} + "
            f"{figures(law['B'])} / m^{figures(law['b'])}"
        )
    sizes = [study.parameters(name) for study in fitted for name in study.networks]
    chosen = _some_m(fitted)
    yield Chart(
        f"law-size{ending}",
        f"Test {fitted[0].task['metric']} over the number of parameters",
        f"A curve for each m. Lines: the joint law {'; '.join(words)}, fitted to all networks at "
        "once. Where a line is flat, more parameters do not help: data are what is missing.",
        f"Test error against the number of parameters N, both logarithmic, a curve for m = "
        f"{listed(map(count, chosen))}. {'; '.join(words)}.",
        Axis("N (parameters)", partial(counts, sizes)),
        Axis(
            f"test {fitted[0].task['metric']}", partial(logarithmic, _percent_or_number(fitted[0]))
        ),
        [Panel(s.source.label, partial(_draw_over_size, s, chosen)) for s in fitted],
        legend=[
            *((f"m = {count(m)}", mark(k, len(chosen))) for k, m in enumerate(chosen)),
            ("joint law", FIT[1]),
        ],
        columns=2,
        height=380,
    )


def _some_m(studies: Sequence[Study]) -> list[int]:
    """At most five m, evenly chosen, the largest among them."""
    all_m = sorted({m for study in studies for m in study.all_m})
    return sorted(all_m[::-1][:: -(-len(all_m) // 5)])


def _draw_over_size(study: Study, chosen: Sequence[int], axes: Any, wide: bool) -> None:
    law = joint_law(study) or {}
    sizes = [study.parameters(name) for name in study.networks]
    for number, m in enumerate(chosen):
        look = mark(number, len(chosen))
        found = [(study.parameters(name), study.at(name, m)) for name in study.networks]
        some = [(n, point.mean) for n, point in found if point and point.mean > 0]
        if not some:
            continue
        axes.plot(*zip(*some, strict=True), **{**look.line(), "linestyle": "none"})
        line = np.geomspace(min(sizes) / 1.15, max(sizes) * 1.15, 60)
        axes.plot(line, _joint(law, m, line), color=look.color, linewidth=1.4)


# -- the teacher's law ----------------------------------------------------------------------------


def slopes_of(source: Source) -> list[Mapping[str, Any]]:
    """The slopes that could be fitted, with their intervals."""
    return [
        slope
        for slope in source.plain["slopes"]
        if slope.get("alpha") is not None and slope.get("interval") is not None
    ]


def _teacher_losses(teachers: Sequence[Source]) -> Chart:
    all_d = sorted({cell["d"] for source in teachers for cell in source.plain["cells"]})
    looks = {d: mark(number, len(all_d)) for number, d in enumerate(all_d)}
    words = [
        f"{source.label + ': ' if source.label else ''}d = {slope['d']}: loss falls as N to the "
        f"power of −{figures(slope['alpha'])}"
        for source in teachers
        for slope in slopes_of(source)
    ]
    sizes = [cell["parameters"] for source in teachers for cell in source.plain["cells"]]
    return Chart(
        "teacher-loss",
        "A student's loss over its parameters",
        "Sharma and Kaplan's experiment: students of N parameters learn a random teacher that "
        "looks at d of its inputs. Small dots: single runs; large: their geometric mean; lines: "
        "the fitted slopes.",
        f"Relative loss against parameters N, both logarithmic. {'; '.join(words)}.",
        Axis("N (parameters of the student)", partial(counts, sizes)),
        Axis("loss / variance of the target", partial(logarithmic, trimmed)),
        [Panel(s.label, partial(_draw_teacher, s, looks)) for s in teachers],
        legend=[(f"d = {d}", look) for d, look in looks.items()],
        columns=2,
        height=340,
        half=len(teachers) == 1,
    )


def _draw_teacher(source: Source, looks: Mapping[int, Mark], axes: Any, wide: bool) -> None:
    slopes = {slope["d"]: slope["alpha"] for slope in slopes_of(source)}
    for d, look in looks.items():
        by_n: dict[int, list[float]] = {}
        for cell in source.plain["cells"]:
            if cell["d"] == d and (cell["relative_loss"] or 0) > 0:
                by_n.setdefault(cell["parameters"], []).append(cell["relative_loss"])
        if not by_n:
            continue
        n = np.array(sorted(by_n))
        means = np.array([np.exp(np.mean(np.log(by_n[size]))) for size in n])
        every = [(size, loss) for size, losses in by_n.items() for loss in losses]
        axes.plot(*zip(*every, strict=True), color=look.color, marker="o", markersize=2.5,
                  linestyle="none", alpha=0.5)  # fmt: skip
        axes.plot(n, means, **{**look.line(), "linestyle": "none"})
        if slopes.get(d) is not None:
            middle = np.exp(np.mean(np.log(n))), np.exp(np.mean(np.log(means)))
            axes.plot(n, middle[1] * (n / middle[0]) ** -slopes[d], color=look.color, linewidth=1.4)


def _teacher_slopes(teachers: Sequence[Source]) -> Chart:
    words = []
    for source in teachers:
        for slope in slopes_of(source):
            low, high = slope["interval"]
            words.append(
                f"{source.label + ': ' if source.label else ''}d = {slope['d']}: "
                f"{figures(slope['alpha'])} [{figures(low)}, {figures(high)}] beside 4/d = "
                f"{figures(slope['four_over_d'])}"
            )
    all_d = sorted({slope["d"] for source in teachers for slope in slopes_of(source)})
    looks = {source.path: mark(number, len(teachers)) for number, source in enumerate(teachers)}
    theory = ("4 / d", Mark(MUTED, **LIMIT))
    return Chart(
        "teacher-slope",
        "The slope over the live inputs, beside 4/d",
        "How fast the loss falls with N, for each number d of inputs that the teacher looks at, "
        "with its interval; dashed: 4/d, which the theory expects.",
        f"Slope α against d. {'; '.join(words)}.",
        Axis("d (inputs that the teacher looks at)", partial(_ticks, all_d)),
        Axis("slope α of loss ∝ N^−α", partial(linear, trimmed, least=0.0)),
        [Panel("", partial(_draw_slopes, teachers, looks, all_d))],
        legend=[*((s.label or "measured", looks[s.path]) for s in teachers), theory],
        height=340,
        half=len(teachers) == 1,
    )


def _ticks(values: Sequence[int], axis: Any) -> None:
    axis.set_ticks(values, [str(value) for value in values])


def _draw_slopes(
    teachers: Sequence[Source], looks: Mapping[Any, Mark], all_d: Sequence[int],
    axes: Any, wide: bool,
) -> None:  # fmt: skip
    line = np.linspace(min(all_d), max(all_d), 100)
    axes.plot(line, 4 / line, color=MUTED, **LIMIT)
    for number, source in enumerate(teachers):
        shift = 0.08 * (number - (len(teachers) - 1) / 2)
        look = looks[source.path]
        for slope in slopes_of(source):
            x = slope["d"] + shift
            axes.vlines([x], *([end] for end in slope["interval"]), color=look.color, linewidth=5,
                        alpha=0.35)  # fmt: skip
            axes.plot(
                [x], [slope["alpha"]], **{**look.line(), "markersize": 8, "markeredgecolor": PAPER}
            )
