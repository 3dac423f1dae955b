"""The comparison: every contender in its own process, one sample each, in turn."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnx.benchmarks.children import Child
from nnx.benchmarks.peers.cases import Case
from nnx.benchmarks.peers.contenders import CONTENDERS, LIBRARIES, LIMITS, NNX
from nnx.errors import DataError, unknown_name

# Relative difference of costs: of steps from the same weights; of whole fits, which
# shuffle differently (and scikit-learn draws its own weights), so this finds gross errors only.
_STEP_TOLERANCE, _FIT_TOLERANCE = {"float32": 1e-3, "tf32": 5e-3, "bfloat16": 3e-2}, 0.5


@dataclass(frozen=True)
class Outcome:
    """How one contender did on one case.

    Attributes
    ----------
    samples : tuple of float
        Seconds of a step, or of a fit.
    costs : tuple of float
        Before the first three steps, or of the last epoch of a fit.
    version : str
        Of its library.
    problem : str
        Why there are no samples, or why they do not count; "" for a good one.
    """

    samples: tuple[float, ...] = ()
    costs: tuple[float, ...] = ()
    version: str = ""
    problem: str = ""

    @property
    def median(self) -> float:
        """Median of the samples, in seconds; NaN where the outcome does not count."""
        return float(np.median(self.samples)) if self.samples and not self.problem else math.nan


@dataclass(frozen=True)
class Comparison:
    """One case with the outcomes of all contenders."""

    case: Case
    outcomes: Mapping[str, Outcome] = field(default_factory=dict)

    def seconds(self, name: str) -> float:
        """Median of one contender; NaN where it has none."""
        return self.outcomes.get(name, Outcome()).median

    @property
    def limit(self) -> float:
        """Seconds of the bare products in the better memory order; NaN for a fit."""
        found = [self.seconds(name) for name in LIMITS]
        return min((s for s in found if not math.isnan(s)), default=math.nan)

    @property
    def fastest_peer(self) -> str:
        """Name of the fastest peer; "" where there is none."""
        peers = {name: self.seconds(name) for name in self.outcomes if name not in (NNX, *LIMITS)}
        known = {name: seconds for name, seconds in peers.items() if not math.isnan(seconds)}
        return min(known, key=known.__getitem__, default="")

    def ratio(self, name: str) -> float:
        """How many times longer that contender takes than nnx."""
        return self.seconds(name) / self.seconds(NNX)

    @property
    def share(self) -> float:
        """Seconds of the bare products / seconds of nnx."""
        return self.limit / self.seconds(NNX)

    def to_json(self) -> dict[str, Any]:
        """All samples and what follows from them."""

        def number(value: float) -> float | None:
            return None if math.isnan(value) else value

        return {
            "case": {**self.case.to_json(), "name": self.case.name},
            "outcomes": {
                name: {
                    "median": number(outcome.median),
                    "ratio_to_nnx": number(self.ratio(name)),
                    "samples": list(outcome.samples),
                    "costs": list(outcome.costs),
                    "version": outcome.version,
                    "problem": outcome.problem,
                }
                for name, outcome in self.outcomes.items()
            },
            "share_of_matmul_limit": number(self.share),
            "fastest_peer": self.fastest_peer,
        }


def installed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split contenders into those whose library is here and those whose is missing."""
    for name in names:
        if name not in CONTENDERS:
            raise unknown_name("peer", name, CONTENDERS)
    here = [name for name in names if importlib.util.find_spec(LIBRARIES[name]) is not None]
    return here, [name for name in names if name not in here]


def compare(
    cases: Sequence[Case],
    names: Sequence[str],
    *,
    samples: int = 5,
    sample_seconds: float = 0.1,
    rest_seconds: float = 0.25,
) -> Generator[Comparison, None, None]:
    """Measure the cases one after the other.

    Parameters
    ----------
    cases : sequence of Case
    names : sequence of str
        Contenders whose libraries are installed.
    samples : int
        Rounds; in each, every contender gives one sample.
    sample_seconds : float
        Least length of a sample: faster steps are repeated within it.
    rest_seconds : float
        Pause before each sample. The idle threads of BLAS and OpenMP spin for 0.1 to 0.2 s after
        their last work, on the cores that the next contender needs.
    """
    if samples < 1:
        raise DataError(f"samples must be at least 1, got {samples}")
    children = {name: _Child(name) for name in names}
    try:
        for case in cases:
            yield _compare(case, children, samples, sample_seconds, rest_seconds)
    finally:
        for child in children.values():
            child.close()


def _compare(
    case: Case,
    children: Mapping[str, _Child],
    samples: int,
    sample_seconds: float,
    rest_seconds: float,
) -> Comparison:
    plain: dict[str, Outcome] = {}
    repeats: dict[str, int] = {}
    taken: dict[str, list[float]] = {}
    for name, child in children.items():
        if case.kind == "fit" and name in LIMITS:
            continue
        plain[name] = child.prepare(case)
        if plain[name].problem:
            continue
        time.sleep(rest_seconds)
        repeats[name], taken[name] = child.calibrate(case, sample_seconds), []
    for _ in range(samples):
        for name, found in taken.items():
            time.sleep(rest_seconds)
            found.append(children[name].run(repeats[name]))
    reference = plain[NNX].costs if NNX in plain else ()
    outcomes = {
        name: Outcome(
            tuple(taken.get(name, ())),
            outcome.costs,
            outcome.version,
            outcome.problem or _disagreement(case, outcome.costs, reference),
        )
        for name, outcome in plain.items()
    }
    return Comparison(case, outcomes)


def _disagreement(case: Case, costs: Sequence[float], reference: Sequence[float]) -> str:
    """Say where the costs differ from nnx's; "" where they agree or there are none to compare."""
    tolerance = _STEP_TOLERANCE[case.precision] if case.kind == "step" else _FIT_TOLERANCE
    for found, wanted in zip(costs, reference, strict=False):
        if not abs(found - wanted) <= tolerance * abs(wanted) + tolerance / 10:
            return f"its cost is {found:.6g} where nnx has {wanted:.6g}"
    return ""


class _Child:
    """The process of one contender."""

    def __init__(self, name: str) -> None:
        self._child = Child("nnx.benchmarks.peers.child", name)
        self.close = self._child.close

    def prepare(self, case: Case) -> Outcome:
        """Build the case there, and get the costs for the check."""
        answer = self._child.ask({"prepare": case.to_json()})
        if "error" in answer:
            return Outcome(problem=answer["error"])
        return Outcome(costs=tuple(answer["costs"]), version=answer["version"])

    def run(self, repeats: int) -> float:
        """Seconds of one step or fit, over so many."""
        answer = self._child.ask({"run": repeats})
        if "error" in answer:
            raise DataError(f"a contender failed while it was measured: {answer['error']}")
        return float(answer["seconds"])

    def calibrate(self, case: Case, sample_seconds: float) -> int:
        """Repeats that fill a sample; the calls on the way are the warm-up."""
        if case.kind == "fit":
            return 1
        repeats = 1
        self.run(1)
        while True:
            seconds = self.run(repeats) * repeats
            if seconds >= sample_seconds:
                return repeats
            repeats = min(math.ceil(1.2 * repeats * sample_seconds / seconds), 10 * repeats)
