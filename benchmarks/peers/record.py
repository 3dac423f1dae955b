"""The record of `nnx peers`, "nnx-peers/2", checked when read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from nnx.benchmarks.fields import Field, read_record_of
from nnx.benchmarks.peers.cases import PRECISIONS, Case
from nnx.benchmarks.peers.compare import Comparison, Outcome

SCHEMA = "nnx-peers/2"


def read_peers(path: str | Path) -> list[Comparison]:
    """Read the comparisons of a record back.

    Raises
    ------
    DataError
        When the file is not such a record, naming the file and the field at fault.
    """
    top = read_record_of(path, SCHEMA)
    for name in ("settings", "environment"):
        top.get(name, dict)
    return [_comparison(found) for found in top.get("comparisons", list).items()]


def _comparison(found: Field) -> Comparison:
    outcomes = found.get("outcomes", dict)
    return Comparison(
        _case(found.get("case", dict)),
        {name: _outcome(outcomes.get(name, dict)) for name in outcomes.value},
    )


def _case(found: Field) -> Case:
    n = found.get("n", list)
    for size in n.items():
        size.of_kind(int).above_zero()
    if len(n.value) < 2:
        raise n.error(f"wanted the sizes of at least two layers, got {n.value!r:.60}")
    return Case(
        kind=cast(Literal["step", "fit"], found.text("kind", ("step", "fit"))),
        n=tuple(n.value),
        m=found.count("m"),
        rows=found.count("rows"),
        epochs=found.count("epochs"),
        learning_rate=found.positive("learning_rate"),
        device=found.text("device"),
        precision=found.text("precision", PRECISIONS),
    )


def _outcome(found: Field) -> Outcome:
    problem = found.text("problem")
    samples = found.get("samples", list)
    return Outcome(
        samples=tuple(sample.above_zero() for sample in samples.items()),
        costs=tuple(float(cost.of_kind(float).value) for cost in found.get("costs", list).items()),
        version=found.text("version"),
        problem=problem,
    )
