"""Where nnx, a GPU or a larger network comes second: nothing of it is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnx.benchmarks.cell import Cell
from nnx.benchmarks.peers.contenders import LIMITS, NNX
from nnx.benchmarks.plots import TITLES
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.study import Study
from nnx.benchmarks.report.tables import Column, Table
from nnx.benchmarks.report.throughput import Series
from nnx.benchmarks.report.wording import count, figures

# Below this share of its products' speed a cell is listed.
_LEAST_SHARE = 0.5
Row = list[Any]


def losses(series: Sequence[Series], peers: Sequence[Source], studies: Sequence[Study]) -> Table:
    """Every cell where nnx, the larger network or the GPU comes second."""
    rows = [
        *_to_peers(peers),
        *_to_the_cpu(series),
        *_to_products(series),
        *(row for study in studies for row in _to_smaller_models(study)),
    ]
    return Table(
        "losses",
        "Where nnx comes second",
        "Every cell in which another library, the CPU instead of the GPU, the bare matrix products "
        "(by more than a factor of two), or at the largest m a smaller or traditional model does "
        "better. Ratio: 0.8 means 80 % of the other's speed, or 1 / 0.8 of its error.",
        [
            Column("what"), Column("where"), Column("cell"), Column("against"),
            Column("ratio", figures),
        ],
        rows,
    )  # fmt: skip


def _to_peers(peers: Sequence[Source]) -> Iterator[Row]:
    for source in peers:
        for one in source.record:
            for name in one.outcomes:
                if name not in (NNX, *LIMITS) and one.ratio(name) < 1:
                    where = source.label or one.case.device
                    yield ["a library is faster", where, one.case.name, name, one.ratio(name)]


def _to_the_cpu(series: Sequence[Series]) -> Iterator[Row]:
    base = next((one for one in series if one.device == "cpu"), None)
    if base is None:
        return
    known = {_key(cell): cell for cell in base.cells if cell.measured}
    for one in (one for one in series if one.device != "cpu"):
        for cell in (cell for cell in one.cells if cell.measured):
            cpu = known.get(_key(cell))
            if cpu and cell.examples_per_second < cpu.examples_per_second:
                ratio = cell.examples_per_second / cpu.examples_per_second
                yield ["slower than the CPU", one.name, _named(cell), base.name, ratio]


def _to_products(series: Sequence[Series]) -> Iterator[Row]:
    what = "below half of its products' speed"
    for one in series:
        for cell in one.cells:
            if cell.measured and cell.share < _LEAST_SHARE:
                yield [what, one.name, _named(cell), "matmul", cell.share]


def _to_smaller_models(study: Study) -> Iterator[Row]:
    m = study.all_m[-1]
    there = {name: point for name in study.curves if (point := study.at(name, m))}
    networks = [name for name in study.networks if name in there]
    traditional = [name for name in study.traditional if name in there]
    where = study.source.label or study.task["title"]
    for number, name in enumerate(networks):
        for other in (*networks[:number], *traditional):
            if there[other].mean < there[name].mean:
                ratio = there[other].mean / there[name].mean
                cell = f"{study.name(name)}, m = {count(m)}"
                yield ["a larger network errs more", where, cell, study.name(other), ratio]


def _key(cell: Cell) -> tuple[Any, ...]:
    return cell.part, cell.dtype, cell.pass_, cell.layers, cell.n_h, cell.m


def _named(cell: Cell) -> str:
    layers = f", {cell.layers} hidden layers" if cell.layers > 1 else ""
    shape = f"m = {count(cell.m)}, n_h = {count(cell.n_h)}{layers}"
    return f"{TITLES[cell.pass_]}, {shape}, {cell.dtype}"
