"""The tables of `nnx bench` and `nnx peers`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.tables import Column, Table, labels, record_column
from nnx.benchmarks.report.wording import count, figures, percent, rate, seconds, size


def throughput_tables(sources: Sequence[Source]) -> Iterator[Table]:
    """Every cell, then what was found beside the cells."""
    record = record_column(sources)
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
            Column("examples / s", rate), Column("GFLOP/s", figures),
            Column("share of limit", percent),
            Column("bytes needed", size), Column("skipped because"),
        ],
        [
            [
                *labels(source, record), cell.part, cell.device, cell.dtype, cell.pass_,
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
                *labels(source, record), peak.device, peak.dtype, peak.gflop_per_second,
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
                *labels(source, record), *_shape(found.shape), one.name, one.flop, one.bytes,
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
                *labels(source, record), *_shape(found.shape), found.formula_bytes,
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
            Column("loop (s)", seconds), Column("vectorized (s)", seconds),
            Column("ratio", figures),
        ],
        [
            [
                *labels(source, record), found.device, found.what, found.n, found.loop_seconds,
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
            [*labels(source, record), *_shape(found.shape), found.joules_per_example, found.source]
            for source in sources
            for found in source.record.findings.energy
        ],
    )


def peers_tables(sources: Sequence[Source]) -> Iterator[Table]:
    """Every case with every library."""
    record = record_column(sources)
    yield Table(
        "peers",
        "Beside other libraries: every case",
        "Ratio: how many times longer than nnx.",
        [
            *record, Column("case"), Column("library"), Column("version"),
            Column("samples", count), Column("median (s)", seconds),
            Column("ratio to nnx", figures),
            Column("problem"),
        ],
        [
            [
                *labels(source, record), one.case.name, name, outcome.version,
                len(outcome.samples), outcome.median, one.ratio(name), outcome.problem,
            ]
            for source in sources
            for one in source.record
            for name, outcome in one.outcomes.items()
        ],
    )  # fmt: skip
