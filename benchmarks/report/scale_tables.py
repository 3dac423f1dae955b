"""The tables of `nnx scale`, of its laws, and of the teacher's law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nnx.benchmarks.report.laws import laws_of
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.study import Study
from nnx.benchmarks.report.tables import Column, Table, labels, record_column
from nnx.benchmarks.report.wording import count, figures, seconds, trimmed


def law_table(studies: Sequence[Study]) -> Table:
    """The fitted laws of all contenders."""
    record = record_column([study.source for study in studies])
    rows = []
    for study in studies:
        for name, law in laws_of(study).items():
            held = law.get("held_out") or {}
            region = law.get("region")
            rows.append(
                [
                    *labels(study.source, record), study.name(name),
                    *(law[key] for key in ("alpha", "beta", "gamma")),
                    *(_interval(law, key) for key in ("beta", "gamma")),
                    f"{count(region[0])} to {count(region[1])}" if region else None,
                    held.get("m"), held.get("relative_error"), law["reason"],
                ]
            )  # fmt: skip
    return Table(
        "laws",
        "Power laws ε(m) = α·mᵝ + γ",
        "Intervals by the bootstrap. The held-out error is (predicted − measured) / measured at "
        "the largest m, which the fit has not seen.",
        [
            *record, Column("contender"), Column("α", figures), Column("β", figures),
            Column("γ", figures), Column("interval of β"), Column("interval of γ"),
            Column("fitted to m"), Column("held-out m", count), Column("held-out error", _signed),
            Column("no law because"),
        ],
        rows,
    )  # fmt: skip


def _signed(value: float) -> str:
    return f"{100 * value:+.1f} %".replace("-", "−")


def _interval(law: Mapping[str, Any], key: str) -> str | None:
    found = (law.get("intervals") or {}).get(key)
    if not found or any(end is None for end in found):
        return None
    return f"{figures(found[0])} to {figures(found[1])}"


def scale_tables(studies: Sequence[Study]) -> Iterator[Table]:
    """Every cell, and how the learning rates were chosen."""
    record = record_column([study.source for study in studies])
    rows = []
    for study in studies:
        plain = study.plain
        times = plain["times"].get("cells") or [None] * len(plain["cells"])
        for cell, took in zip(plain["cells"], times, strict=True):
            hidden = cell["hidden"]
            rows.append(
                [
                    *labels(study.source, record), cell["contender"],
                    "-".join(map(str, hidden)) if hidden else None, cell["parameters"], cell["m"],
                    cell["seed"], cell["learning_rate"], cell["steps"], cell["epochs"],
                    cell["train_error"], cell["validation_error"], cell["test_error"],
                    cell["test_loss"], took, cell["status"], cell["reason"],
                ]
            )  # fmt: skip
    yield Table(
        "scale-cells",
        "Accuracy over data: every run",
        "Errors are shares of examples for a classification, mean squared errors otherwise.",
        [
            *record, Column("contender"), Column("hidden layers"), Column("parameters", count),
            Column("m", count), Column("seed", count), Column("learning rate", trimmed),
            Column("steps", count), Column("epochs", trimmed), Column("training error", figures),
            Column("validation error", figures), Column("test error", figures),
            Column("test loss", figures), Column("time (s)", seconds), Column("status"),
            Column("because"),
        ],
        rows,
    )  # fmt: skip
    tried = [
        [
            *labels(study.source, record), found["contender"], found["m"], one["rate"],
            one["validation_error"], "chosen" if one["rate"] == found["chosen"] else None,
        ]
        for study in studies
        for found in study.plain["learning_rates"]
        for one in found["tried"]
    ]  # fmt: skip
    if tried:
        yield Table(
            "learning-rates",
            "Learning rates tried",
            "",
            [
                *record, Column("contender"), Column("m", count), Column("rate", trimmed),
                Column("validation error", figures), Column(""),
            ],
            tried,
        )  # fmt: skip


def teacher_tables(sources: Sequence[Source]) -> Iterator[Table]:
    """Slopes and runs of the teacher's law."""
    record = record_column(sources)
    yield Table(
        "teacher-slopes",
        "Slopes of the teacher's law",
        "",
        [
            *record, Column("d", count), Column("α", figures), Column("from", figures),
            Column("to", figures), Column("4/d", figures), Column("4/α", figures),
        ],
        [
            [
                *labels(source, record), one["d"], one.get("alpha"),
                *(one.get("interval") or [None] * 2),
                one["four_over_d"], one.get("four_over_alpha"),
            ]
            for source in sources
            for one in source.plain["slopes"]
        ],
    )  # fmt: skip
    yield Table(
        "teacher-cells",
        "The teacher's law: every run",
        "",
        [
            *record, Column("d", count), Column("n", count), Column("parameters", count),
            Column("teacher", count), Column("seed", count), Column("loss", figures),
            Column("relative loss", figures),
        ],
        [
            [
                *labels(source, record),
                *(one[name] for name in ("d", "n", "parameters", "teacher", "seed")),
                one["loss"],
                one["relative_loss"],
            ]
            for source in sources
            for one in source.plain["cells"]
        ],
    )  # fmt: skip
