"""What the measured errors say: laws, and what follows from them in words and numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nnx.benchmarks.scale.settings import Settings
from nnx.benchmarks.scale.tasks import ERROR_RATE, Task
from nnx.errors import DataError
from nnx.scaling import (
    JointLaw,
    PowerLaw,
    best_size,
    data_needed,
    fit_joint_law,
    fit_power_law,
    overtakes,
)

Plain = dict[str, Any]
Cells = Sequence[Mapping[str, Any]]

_FARTHEST = 1e4  # times the largest m: nobody extrapolates farther
_BUDGETS = (0.01, 0.1, 1, 10)  # times the FLOP of the longest training run
_WORDS = ((1e15, " quadrillion"), (1e12, " trillion"), (1e9, " billion"), (1e6, " million"))


class Findings:
    """Laws and consequences of a study's cells.

    Parameters
    ----------
    cells : sequence of mapping
    networks : mapping of str to int
        Name and parameters of each network, from the smallest to the largest.
    settings : Settings
    task : Task

    Where no answer of the test part was wrong, the error counts as half of one wrong answer.
    """

    def __init__(
        self,
        cells: Cells,
        networks: Mapping[str, int],
        settings: Settings,
        task: Task,
    ) -> None:
        self._cells = [cell for cell in cells if cell["status"] == "done"]
        self._networks, self._settings = networks, settings
        self._least = 0.5 / settings.m_test
        self._percent = task.metric == ERROR_RATE
        self._traditional = settings.traditional(task)
        self._laws = {name: self._law(name) for name in (*self._traditional, *networks)}
        self._joint = self._joint_law()

    def laws(self) -> Plain:
        """Return the laws as plain JSON values."""
        each = [{"contender": name, **law.to_json()} for name, law in self._laws.items()]
        return {"per_contender": each, "joint": self._joint.to_json()}

    def consequences(self) -> Plain:
        """Return what follows, every item with a sentence."""
        sizes = list(self._networks)
        pairs = list(pairwise(sizes)) + [(name, sizes[-1]) for name in self._traditional]
        return {
            "overtakes": [self._overtakes(smaller, larger) for smaller, larger in pairs],
            "data_needed": [self._data_needed(name) for name in sizes],
            "best_size": self._best_sizes(),
        }

    # -- laws -------------------------------------------------------------------------------------

    def _points(self, names: Sequence[str]) -> list[tuple[str, int, float]]:
        return [
            (cell["contender"], cell["m"], max(cell["test_error"], self._least))
            for cell in self._cells
            if cell["contender"] in names
        ]

    def _means(self, name: str) -> dict[int, float]:
        errors: dict[int, list[float]] = {}
        for _, m, error in self._points([name]):
            errors.setdefault(m, []).append(error)
        return {m: float(np.mean(values)) for m, values in sorted(errors.items())}

    def _law(self, name: str) -> PowerLaw:
        points = self._points([name])
        try:
            return fit_power_law([m for _, m, _ in points], [error for *_, error in points])
        except DataError as error:
            return _no_power_law(str(error))

    def _joint_law(self) -> JointLaw:
        points = self._points(list(self._networks))
        try:
            return fit_joint_law(
                [m for _, m, _ in points],
                [self._networks[name] for name, *_ in points],
                [error for *_, error in points],
            )
        except DataError as error:
            return _no_joint_law(str(error))

    # -- in words ---------------------------------------------------------------------------------

    def _error(self, error: float) -> str:
        return f"{100 * error:.2g} %" if self._percent else f"{error:.2g}"

    def _overtakes(self, smaller: str, larger: str) -> Plain:
        """From which measured m on the larger one's mean error is lower, and what the laws say."""
        small, large = self._means(smaller), self._means(larger)
        common = [m for m in small if m in large]
        ahead = None
        for m in reversed(common):
            if not large[m] < small[m]:
                break
            ahead = m
        by_law = None
        if self._laws[smaller].is_power_law and self._laws[larger].is_power_law:
            by_law = overtakes(self._laws[smaller], self._laws[larger])
        a, b = self._named(larger), self._named(smaller)
        if not common:
            sentence = f"{a} and {b} were not measured at the same m"
        elif ahead is None:
            sentence = (
                f"{a} did not overtake {b} up to m = {common[-1]:,}: "
                f"{self._error(large[common[-1]])} against {self._error(small[common[-1]])} there"
            )
        else:
            last = common[-1]
            start = f"from m = {ahead:,} on" if ahead > common[0] else "at every m measured"
            sentence = (
                f"{a} is ahead of {b} {start}; at m = {last:,} its error is "
                f"{self._error(large[last])} against {self._error(small[last])}"
            )
        if by_law is not None and ahead is None and common:
            sentence += f"; their laws cross at m = {_count(by_law)}"
        return {
            "larger": larger,
            "smaller": smaller,
            "m": ahead,
            "m_by_law": by_law,
            "sentence": _sentence(sentence),
        }

    def _data_needed(self, name: str) -> Plain:
        """The data that would halve the best error measured."""
        means, law = self._means(name), self._laws[name]
        if not means:
            return _needed(name, 0.5, None, None, f"no training of {self._named(name)} ended well")
        last = max(means)
        target = means[last] / 2
        goal = f"an error of {self._error(target)}, half of that at m = {last:,}"
        if not law.is_power_law:
            why = f"how much data {self._named(name)} needs for {goal}, is not known: {law.reason}"
            return _needed(name, target, None, None, why)
        needed = data_needed(law, target)
        if needed.m > _FARTHEST * last:
            floor = (
                f"its law levels off at {self._error(law.gamma)}"
                if law.gamma > 0
                else (f"more than {_FARTHEST:,.0f} times the data measured")
            )
            why = f"{self._named(name)} does not come to {goal}, with more data alone: {floor}"
            return _needed(name, target, None, None, why)
        low, high = needed.interval
        between = f"{_count(low)} to {_count(high)}" if math.isfinite(high) else f"{_count(low)} up"
        text = (
            f"{self._named(name)} needs about {_count(needed.m)} examples for {goal} "
            f"({law.confidence:.0%} interval: {between})"
        )
        interval = [_finite(low), _finite(high)]
        return _needed(name, target, needed.m, interval, text)

    def _best_sizes(self) -> list[Plain]:
        """The best size for budgets about that of the longest run, by the joint law."""
        if not self._joint.is_power_law:
            return []
        m = max(self._settings.m)
        passes = self._settings.steps_of(m) * self._settings.batch_of(m) / m
        longest = 6 * passes * max(self._networks.values()) * m
        found = []
        for share in _BUDGETS:
            flop = float(f"{share * longest:.1g}")
            best = best_size(self._joint, flop, lambda n: 6 * passes * n)
            text = (
                f"with {_count(flop)} FLOP for {passes:.3g} passes over the data, "
                f"{_count(best.parameters)} parameters and {_count(best.m)} examples are foreseen "
                f"to be best: an error of {self._error(best.error)}"
            )
            found.append(
                {
                    "flop": flop,
                    "parameters": best.parameters,
                    "m": best.m,
                    "error": best.error,
                    "sentence": _sentence(text),
                }
            )
        return found

    def _named(self, name: str) -> str:
        return f"the {name} network" if name in self._networks else f"the {name}"


def _needed(
    name: str, target: float, m: float | None, interval: list[float | None] | None, text: str
) -> Plain:
    return {
        "contender": name,
        "target": target,
        "m": m,
        "interval": interval,
        "sentence": _sentence(text),
    }


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _count(number: float) -> str:
    """Two figures with a word: 1.3 million."""
    for size, word in (
        (1e15, " quadrillion"),
        (1e12, " trillion"),
        (1e9, " billion"),
        (1e6, " million"),
    ):
        if number >= 0.995 * size:
            return f"{float(f'{number / size:.2g}'):,g}{word}"
    return f"{float(f'{number:.2g}'):,.0f}"


def _no_power_law(reason: str) -> PowerLaw:
    nan = math.nan
    nothing = dict.fromkeys(("alpha", "beta", "gamma"), (nan, nan))
    draws = np.empty((0, 3))
    return PowerLaw(nan, nan, nan, nothing, 0.95, None, None, nan, False, reason, draws)


def _no_joint_law(reason: str) -> JointLaw:
    nan = math.nan
    nothing = dict.fromkeys(("E", "A", "a", "B", "b"), (nan, nan))
    draws = np.empty((0, 5))
    none = (nothing, 0.95, None, None, nan, False, reason, draws)
    return JointLaw(nan, nan, nan, nan, nan, *none)
