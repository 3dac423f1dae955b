"""What `nnx bench` prints: a table for each pass, and lines for the other parts of a record."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.benchmarks import Cell, Record
from nnx.benchmarks.environment import hardware_line
from nnx.benchmarks.findings import Shape
from nnx.benchmarks.plots import TITLES

_CAPTION = "examples / s, GFLOP/s, and share of the speed of the matrix products alone"


def show(record: Record, console: Console) -> None:
    """Print a table for each device, dtype, depth and pass, then what was skipped and why."""
    groups: dict[tuple[str, int, int, str], list[Cell]] = {}
    for cell in record.part("grid"):
        device, pass_ = record.settings["devices"].index(cell.device), list(TITLES)
        key = device, pass_.index(cell.pass_), cell.layers, cell.dtype
        groups.setdefault(key, []).append(cell)
    device = ""
    for _, cells in sorted(groups.items()):
        if cells[0].device != device:
            device = cells[0].device
            hardware = f"{device}: {hardware_line(record.environment, device)}"
            console.print(Text(hardware, style="dim"), soft_wrap=True)
        console.print(Text(title(cells[0]), style="bold"), _table(cells), "")
    console.print(_CAPTION, soft_wrap=True)
    for cell in record.cells:
        if not cell.measured:
            line = f"skipped {title(cell)}, m = {cell.m}, n_h = {cell.n_h}: {cell.reason}"
            console.print(Text(line, style="yellow"), soft_wrap=True)


def show_findings(record: Record, console: Console) -> None:
    """Print the parts of a record beside its cells, a line or a few for each."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style=style), soft_wrap=True)

    found = record.findings
    for peak in found.peaks:
        sheet = peak.data_sheet
        told = f"; {sheet['source']}: {_pair(sheet)}" if sheet else ""
        say(f"peak of {peak.device}, {peak.dtype}: {_pair(peak.to_json())}{told}")
    for one in found.operations:
        total = sum(op.seconds for op in one.operations if op.seconds > 0)
        longest = sorted((op for op in one.operations if op.seconds > 0), key=lambda o: -o.seconds)
        parts = ", ".join(f"{op.name} {op.seconds / total:.0%}" for op in longest[:3])
        say(f"step of {_shape(one.shape)}: {1e6 * one.step_seconds:.4g} µs: {parts}")
    for use in found.memory:
        say(
            f"memory of {_shape(use.shape)}: {use.measured_bytes / 2**20:.1f} MiB measured,"
            f" {use.formula_bytes / 2**20:.1f} MiB by the formula"
        )
    for loop in found.vectorized:
        times = loop.loop_seconds / loop.vectorized_seconds
        say(f"{loop.what} on {loop.device}: vectorized {times:.0f} times faster than a loop")
    for energy in found.energy:
        say(f"energy of {_shape(energy.shape)}: {energy.joules_per_example:.3g} J an example")
    for part, reason in found.reasons.items():
        say(f"no {part}: {reason}", "yellow")


def _pair(peak: Mapping[str, Any]) -> str:
    """Two figures of a peak."""
    flop, moved = peak["matmul_gflop_per_second"], peak["bandwidth_gb_per_second"]
    return f"{flop:.4g} GFLOP/s, {moved:.4g} GB/s"


def _shape(shape: Shape) -> str:
    return f"{shape.device}, {shape.dtype}, m = {shape.m}, n_h = {shape.n_h}"


def title(cell: Cell) -> str:
    """Device, pass, numbers and depth of a cell."""
    depth = "1 hidden layer" if cell.layers == 1 else f"{cell.layers} hidden layers"
    return f"{cell.device}: {TITLES[cell.pass_]}, {cell.dtype}, {depth}"


def _table(cells: Sequence[Cell]) -> Table:
    """Table of one device, dtype, depth and pass: m down, n_h across."""
    table = Table(box=None, pad_edge=False)
    table.add_column("m \\ n_h", justify="right", no_wrap=True)
    widths = sorted({cell.n_h for cell in cells})
    for n_h in widths:
        table.add_column(str(n_h), justify="right", no_wrap=True)
    known = {(cell.m, cell.n_h): cell for cell in cells}
    for m in sorted({cell.m for cell in cells}):
        table.add_row(str(m), *(_entry(known[m, n_h]) for n_h in widths))
    return table


def _entry(cell: Cell) -> str:
    """Throughput, GFLOP/s and share of the limit, such as "4.16M 105.3  63%"."""
    if not cell.measured:
        return "skipped"
    return f"{_rate(cell.examples_per_second)} {cell.gflop_per_second:5.1f} {cell.share:4.0%}"


def _rate(rate: float) -> str:
    """Three figures of a rate, with k, M or G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        # From 999.5 on three figures round up to the next unit.
        if rate >= 0.9995 * size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"
