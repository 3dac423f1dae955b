"""The tables of the report: every number, as it is shown and as it goes into a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnx.benchmarks.plots import TITLES
from nnx.benchmarks.report.laws import laws_of
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.study import Study
from nnx.benchmarks.report.throughput import Series
from nnx.benchmarks.report.wording import count, figures, percent, rate, seconds, size, trimmed

Format = Callable[[Any], str]


def _text(value: Any) -> str:
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column: its heading, with the unit, and how its values are shown."""

    head: str
    show: Format = _text

    @property
    def numeric(self) -> bool:
        """Whether values stand at the right."""
        return self.show is not _text


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        Stem of its CSV file.
    title, note : str
    columns : sequence of Column
    rows : sequence of sequences
        Values as they are; None where there is none.
    """

    name: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def shown(self) -> list[list[str]]:
        """The rows as text; "–" where there is no value."""
        return [
            ["–" if _absent(v) else c.show(v) for c, v in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def csv(self) -> bytes:
        """The table as CSV with full precision; empty where there is no value."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.head for column in self.columns])
        writer.writerows([["" if _absent(v) else v for v in row] for row in self.rows])
        return buffer.getvalue().encode()


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _named(sources: Sequence[Source]) -> list[Column]:
    """A column for the record, where there are several."""
    return [Column("record")] if any(source.label for source in sources) else []


def _labels(source: Source, columns: Sequence[Column]) -> list[str]:
    return [source.label] if columns else []


# -- throughput -----------------------------------------------------------------------------------


def throughput_tables(sources: Sequence[Source]) -> Iterator[Table]:
    """Every cell, then what was found beside the cells."""
    record = _named(sources)
    yield Table(
        "throughput-cells",
        "Throughput: every cell",
        "Median and quartiles of the samples; the share is that of the speed of the matrix "
        "products alone.",
        [
            *record, Column("part"), Column("device"), Column("dtype"), Column("pass"),
            Column("hidden layers", count), Column("n_h", count), Column("m", count),
            Column("samples", count), Column("median (s)", seconds),
            Column("lower quartile (s)", seconds), Column("upper quartile (s)", seconds),
            Column("examples / s", rate), Column("GFLOP/s", figures), Column("share of limit", percent),
            Column("bytes needed", size), Column("skipped because"),
        ],
        [
            [
                *_labels(source, record), cell.part, cell.device, cell.dtype, cell.pass_,
                cell.layers, cell.n_h, cell.m, *_measured(cell), cell.bytes_needed, cell.reason,
            ]
            for source in sources
            for cell in source.record.cells
        ],
    )  # fmt: skip
    for table in (_peaks, _operations, _memory, _vectorized, _energy):
        found = table(sources, record)
        if found.rows:
            yield found


def _measured(cell: Any) -> list[Any]:
    if not cell.measured:
        return [None] * 7
    low, middle, high = cell.nnx.quartiles
    return [
        len(cell.nnx.samples), middle, low, high, cell.examples_per_second, cell.gflop_per_second,
        cell.share,
    ]  # fmt: skip


def _peaks(sources: Sequence[Source], record: list[Column]) -> Table:
    return Table(
        "peaks",
        "Peaks: measured, and from the data sheet where it is known",
        "The best of the samples of a large matrix product and of a copy far beyond the caches.",
        [
            *record, Column("device"), Column("dtype"), Column("matmul (GFLOP/s)", figures),
            Column("data sheet (GFLOP/s)", figures), Column("bandwidth (GB/s)", figures),
            Column("data sheet (GB/s)", figures), Column("data sheet"),
        ],
        [
            [
                *_labels(source, record), peak.device, peak.dtype, peak.gflop_per_second,
                (peak.data_sheet or {}).get("matmul_gflop_per_second"),
                peak.bandwidth_gb_per_second,
                (peak.data_sheet or {}).get("bandwidth_gb_per_second"),
                (peak.data_sheet or {}).get("source"),
            ]
            for source in sources
            for peak in source.record.findings.peaks
        ],
    )  # fmt: skip


_SHAPE = [
    Column("device"), Column("dtype"), Column("hidden layers", count), Column("n_h", count),
    Column("m", count),
]  # fmt: skip


def _shape(shape: Any) -> list[Any]:
    return [shape.device, shape.dtype, shape.layers, shape.n_h, shape.m]


def _operations(sources: Sequence[Source], record: list[Column]) -> Table:
    return Table(
        "operations",
        "Operations of a training step",
        "A time that is missing counts with the operation above.",
        [
            *record, *_SHAPE, Column("operation"), Column("FLOP", count), Column("bytes", size),
            Column("time (s)", seconds), Column("GFLOP/s", figures), Column("FLOP / byte", figures),
        ],
        [
            [
                *_labels(source, record), *_shape(found.shape), one.name, one.flop, one.bytes,
                one.seconds, _ratio(one.flop / 1e9, one.seconds), _ratio(one.flop, one.bytes),
            ]
            for source in sources
            for found in source.record.findings.operations
            for one in found.operations
        ],
    )  # fmt: skip


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None


def _memory(sources: Sequence[Source], record: list[Column]) -> Table:
    return Table(
        "memory",
        "Peak memory",
        "",
        [
            *record, *_SHAPE, Column("formula (bytes)", size), Column("measured (bytes)", size),
            Column("measured / formula", figures), Column("how"),
        ],
        [
            [
                *_labels(source, record), *_shape(found.shape), found.formula_bytes,
                found.measured_bytes, found.measured_bytes / found.formula_bytes, found.how,
            ]
            for source in sources
            for found in source.record.findings.memory
        ],
    )  # fmt: skip


def _vectorized(sources: Sequence[Source], record: list[Column]) -> Table:
    return Table(
        "vectorized",
        "Loop against vectorized",
        "",
        [
            *record, Column("device"), Column("what"), Column("passes", count),
            Column("loop (s)", seconds), Column("vectorized (s)", seconds), Column("ratio", figures),
        ],
        [
            [
                *_labels(source, record), found.device, found.what, found.n, found.loop_seconds,
                found.vectorized_seconds, found.loop_seconds / found.vectorized_seconds,
            ]
            for source in sources
            for found in source.record.findings.vectorized
        ],
    )  # fmt: skip


def _energy(sources: Sequence[Source], record: list[Column]) -> Table:
    return Table(
        "energy",
        "Energy of a training step",
        "",
        [*record, *_SHAPE, Column("J / example", figures), Column("source")],
        [
            [*_labels(source, record), *_shape(found.shape), found.joules_per_example, found.source]
            for source in sources
            for found in source.record.findings.energy
        ],
    )


# -- peers ----------------------------------------------------------------------------------------


def peers_tables(sources: Sequence[Source]) -> Iterator[Table]:
    """Every case with every library."""
    record = _named(sources)
    yield Table(
        "peers",
        "Beside other libraries: every case",
        "Ratio: how many times longer than nnx.",
        [
            *record, Column("case"), Column("library"), Column("version"),
            Column("samples", count), Column("median (s)", seconds), Column("ratio to nnx", figures),
            Column("problem"),
        ],
        [
            [
                *_labels(source, record), one.case.name, name, outcome.version,
                len(outcome.samples), outcome.median, one.ratio(name), outcome.problem,
            ]
            for source in sources
            for one in source.record
            for name, outcome in one.outcomes.items()
        ],
    )  # fmt: skip


# -- scale and laws -------------------------------------------------------------------------------


def law_table(studies: Sequence[Study]) -> Table:
    """The fitted laws of all contenders."""
    record = _named([study.source for study in studies])
    rows = []
    for study in studies:
        for name, law in laws_of(study).items():
            held = law.get("held_out") or {}
            region = law.get("region")
            rows.append(
                [
                    *_labels(study.source, record), study.name(name),
                    *(law[key] for key in ("alpha", "beta", "gamma")),
                    *(_interval(law, key) for key in ("beta", "gamma")),
                    f"{count(region[0])} to {count(region[1])}" if region else None,
                    held.get("m"), held.get("relative_error"), law["reason"],
                ]
            )  # fmt: skip
    return Table(
        "laws",
        "Power laws ε(m) = α·mᵝ + γ",
        "Intervals by the bootstrap. The held-out error is (predicted − measured) / measured at the "
        "largest m, which the fit has not seen.",
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
    record = _named([study.source for study in studies])
    rows = []
    for study in studies:
        plain = study.plain
        times = plain["times"].get("cells") or [None] * len(plain["cells"])
        for cell, took in zip(plain["cells"], times, strict=True):
            hidden = cell["hidden"]
            rows.append(
                [
                    *_labels(study.source, record), cell["contender"],
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
            *_labels(study.source, record), found["contender"], found["m"], one["rate"],
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
    record = _named(sources)
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
                *_labels(source, record), one["d"], one.get("alpha"), *(one.get("interval") or [None] * 2),
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
                *_labels(source, record),
                *(one[k] for k in ("d", "n", "parameters", "teacher", "seed", "loss", "relative_loss")),
            ]
            for source in sources
            for one in source.plain["cells"]
        ],
    )  # fmt: skip


# -- where nnx loses ------------------------------------------------------------------------------


def losses(series: Sequence[Series], peers: Sequence[Source], studies: Sequence[Study]) -> Table:
    """Every cell where nnx, the larger network or the GPU comes second."""
    rows: list[list[Any]] = []
    for source in peers:
        for one in source.record:
            for name in one.outcomes:
                if name in _peer_names(one) and one.ratio(name) < 1:
                    rows.append(
                        ["a library is faster", source.label, one.case.name, name, one.ratio(name)]
                    )
    base = next((one for one in series if one.device == "cpu"), None)
    known = {_key(cell): cell for cell in base.cells if cell.measured} if base else {}
    for one in series:
        for cell in (cell for cell in one.cells if cell.measured):
            cpu = known.get(_key(cell))
            if one.device != "cpu" and cpu and cell.examples_per_second < cpu.examples_per_second:
                ratio = cell.examples_per_second / cpu.examples_per_second
                rows.append(["slower than the CPU", one.name, _cell(cell), base.name, ratio])
    for one in series:
        for cell in (cell for cell in one.cells if cell.measured and cell.share < 0.5):
            rows.append(
                ["below half of its products' speed", one.name, _cell(cell), "matmul", cell.share]
            )
    for study in studies:
        rows += _beaten(study)
    return Table(
        "losses",
        "Where nnx comes second",
        "Every cell in which another library, the CPU instead of the GPU, the bare matrix products "
        "(by more than a factor of two), or at the largest m a smaller or traditional model does "
        "better. Ratio: 0.8 means 80 % of the other's speed, or 1 / 0.8 of its error.",
        [Column("what"), Column("where"), Column("cell"), Column("against"), Column("ratio", figures)],
        rows,
    )  # fmt: skip


def _peer_names(one: Any) -> list[str]:
    from nnx.benchmarks.peers.contenders import LIMITS, NNX

    return [name for name in one.outcomes if name not in (NNX, *LIMITS)]


def _key(cell: Any) -> tuple[Any, ...]:
    return cell.part, cell.dtype, cell.pass_, cell.layers, cell.n_h, cell.m


def _cell(cell: Any) -> str:
    layers = f", {cell.layers} hidden layers" if cell.layers > 1 else ""
    return (
        f"{TITLES[cell.pass_]}, m = {count(cell.m)}, n_h = {count(cell.n_h)}{layers}, {cell.dtype}"
    )


def _beaten(study: Study) -> list[list[Any]]:
    m = study.all_m[-1]
    there = {name: point for name in study.curves if (point := study.at(name, m))}
    networks = [name for name in study.networks if name in there]
    rows = []
    for number, name in enumerate(networks):
        smaller = [*networks[:number], *(n for n in study.traditional if n in there)]
        for other in smaller:
            if there[other].mean < there[name].mean:
                ratio = there[other].mean / there[name].mean
                rows.append(["a larger network errs more", study.source.label or study.task["title"],
                             f"{study.name(name)}, m = {count(m)}", study.name(other), ratio])  # fmt: skip
    return rows
