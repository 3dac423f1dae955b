"""`nnx bench`: measure the throughput grid, show it, keep it as JSON and as a picture."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.benchmarks import (
    Cell,
    Record,
    Settings,
    environment,
    read_record,
    sweep,
    write_record,
)
from nnx.benchmarks.environment import hardware_line
from nnx.benchmarks.finder import find, tasks
from nnx.benchmarks.findings import Shape
from nnx.benchmarks.plots import TITLES, draw
from nnx.benchmarks.regress import SIGMAS, Change, changes, check_amount, differences
from nnx.benchmarks.settings import DTYPES, OPTIMIZERS, PARTS, PASSES
from nnx.benchmarks.sweep import points
from nnx.errors import DataError, MissingDependencyError

_FELL = 3  # the exit status when a share fell
_CAPTION = "examples / s, GFLOP/s, and share of the speed of the matrix products alone"


def _lists(
    name: str, kind: type[int] | type[str], help_: str
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Option that takes values between commas, and can be repeated as well."""

    def split(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> tuple[Any, ...]:
        try:
            return tuple(kind(part.strip()) for text in texts for part in text.split(","))
        except ValueError:
            raise click.BadParameter(
                f"wanted whole numbers between commas, got {','.join(texts)!r}"
            ) from None

    metavar = "INT,..." if kind is int else "NAME,..."
    return click.option(f"--{name}", multiple=True, metavar=metavar, callback=split, help=help_)


def _default(field: str) -> str:
    """Tell the default of a setting."""
    value = getattr(Settings, field)
    return f"[default: {','.join(map(str, value)) if isinstance(value, tuple) else value}]"


@click.command()
@_lists("device", str, "Devices; by default every one that is there.")
@_lists("m", int, f"Numbers of examples.  {_default('m')}")
@_lists("hidden", int, f"Units n_h of each hidden layer.  {_default('hidden')}")
@_lists("layers", int, f"Numbers of hidden layers.  {_default('layers')}")
@_lists("dtype", str, f"Of {', '.join(DTYPES)}.  {_default('dtypes')}")
@_lists("pass", str, f"Of {', '.join(PASSES)}.  [default: all]")
@_lists("parts", str, f"Of {', '.join(PARTS)}.  [default: all]")
@click.option("--optimizer", help=f"Of {', '.join(OPTIMIZERS)}.  {_default('optimizer')}")
@click.option("--samples", type=int, help=f"Samples of each cell.  {_default('samples')}")
@click.option(
    "--budget", type=float, help=f"Seconds for the whole grid.  {_default('budget_seconds')}"
)
@click.option("--out", default="bench-out", show_default=True, help="Folder for the results.")
@click.option("--quick", is_flag=True, help="A small grid that takes seconds, to try it out.")
@click.option(
    "--compare", metavar="RECORD", help="An earlier throughput.json: fail where a share fell."
)
@click.option(
    "--fall",
    default=10.0,
    show_default=True,
    metavar="PERCENT",
    help="How much of itself a share of the limit may fall.",
)
@click.option(
    "--other-machine", is_flag=True, help="Compare with a record of another machine all the same."
)
@click.pass_context
def bench(
    context: click.Context,
    out: str,
    quick: bool,
    compare: str | None,
    fall: float,
    other_machine: bool,
    **options: Any,
) -> None:
    """Measure the throughput over m and n_h.

    For each cell of the grid a network [784, n_h, 10] (ReLU, softmax) runs a forward pass,
    forward + backward, or a whole training step. In turn with it the bare matrix products of
    the same shapes are timed, in two memory orders: the faster one is the limit, and "share"
    is how near nnx comes to it (100 %: nothing is lost beside the products).

    The other parts are closer looks at the width (unit by unit), the depth and the dtype; what
    the device can do at best; where the time of a step goes; the memory of a step against its
    formula; a loop against vectorized code; and energy, where a counter can be read.

    OUT/throughput.json keeps every sample, the settings and the environment;
    OUT/throughput.png is the picture. Earlier results in OUT are replaced.

    With --compare the exit status is 3 if the share of a cell fell by more than --fall percent
    of itself beyond its noise: three standard errors of the change, from the samples' quartiles.

    \b
    Examples:
      nnx bench --quick
      nnx bench --device cpu --device cuda --m 256,4096,65536
      nnx bench --pass step --hidden 64,1024 --layers 1,3 --dtype float32,float64
      nnx bench --pass step --optimizer Adam --out results/adam
      nnx bench --parts grid,peaks
      nnx bench --compare results/before/throughput.json --fall 15
    """
    settings = _settings(quick, options)
    check_amount(fall / 100)
    before = None if compare is None else read_record(compare)
    folder = _folder(out)
    path = folder / "throughput.json"
    where = environment(settings.devices)
    if before is not None and compare is not None:
        _check_comparable(before, Path(compare), settings, where, path, other_machine)
    if busy := _busy(where):
        click.echo(busy, err=True)
    record = _measure(settings, where)
    show(record, Console())
    show_findings(record, Console())
    # Files come last and are named even in a pipe: click.echo does not break long paths.
    click.echo(f"record:  {write_record(record, path)}")
    for line in _pictures(record, folder):
        click.echo(line)
    if before is not None:
        context.exit(_FELL if show_changes(changes(before, record), fall / 100, Console()) else 0)


def _check_comparable(
    before: Record,
    old: Path,
    settings: Settings,
    where: Mapping[str, Any],
    new: Path,
    other_machine: bool,
) -> None:
    """Refuse a comparison that would tell nothing, before minutes are spent on it."""
    if new.exists() and old.samefile(new):
        raise DataError(f"--compare {old}: would be overwritten; choose another folder with --out")
    known = {
        (c.part, c.device, c.dtype, c.pass_, c.layers, c.n_h, c.m)
        for c in before.cells
        if c.measured
    }
    wanted = {(p.part, p.device, p.dtype, p.pass_, p.layers, p.n_h, p.m) for p in points(settings)}
    if not known & wanted:
        raise DataError(f"--compare {old}: has none of the cells that are asked for here")
    if before.settings.get("optimizer") != settings.optimizer:
        raise DataError(
            f"--compare {old}: its steps are those of {before.settings.get('optimizer')};"
            f" compare with --optimizer {before.settings.get('optimizer')}"
        )
    if others := differences(before.environment, where):
        text = f"--compare {old}: is of another machine ({'; '.join(others)})"
        if not other_machine:
            raise DataError(f"{text}; --other-machine compares all the same")
        click.echo(f"warning: {text}", err=True)


def _settings(quick: bool, options: dict[str, Any]) -> Settings:
    """Settings from the options that were given; the rest keeps its default."""
    names = {"device": "devices", "m": "m", "hidden": "hidden", "layers": "layers"}
    names |= {"dtype": "dtypes", "pass": "passes", "parts": "parts"}
    chosen: dict[str, Any] = {
        field: options[option] for option, field in names.items() if options[option]
    }
    single = {"optimizer": "optimizer", "samples": "samples", "budget": "budget_seconds"}
    chosen |= {
        field: options[option] for option, field in single.items() if options[option] is not None
    }
    return Settings.quick(**chosen) if quick else Settings(**chosen)


def _folder(out: str) -> Path:
    """Make the folder for the results now, not after minutes of measuring."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"--out {out}: cannot be made a folder: {error.strerror}") from error
    return folder


def _busy(where: Mapping[str, Any]) -> str:
    """Warn where other processes keep the cores busy: they disturb what is measured."""
    load, cores = where["load_average"] or 0.0, where["cpu"]["usable_cores"]
    if load <= cores / 2:
        return ""
    return f"warning: this machine is busy (load {load:g} on {cores} cores); timings will be off"


def _measure(settings: Settings, where: Mapping[str, Any]) -> Record:
    """Run the sweep, and find the rest, under a progress bar."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("tqdm", "cli", "the progress bar of nnx bench") from error
    cells: list[Cell] = []
    begun = time.perf_counter()
    count = len(points(settings)) + len(tasks(settings))
    with tqdm(total=count, unit="cell", leave=False) as bar:

        def done(what: str) -> None:
            bar.set_description(what, refresh=False)
            bar.update()

        findings = find(settings, lambda task: done(f"{task.device} {task.part}"))
        for cell in sweep(settings):
            cells.append(cell)
            done(f"{cell.device} {cell.pass_}")
    return Record.of(settings, where, cells, findings, time.perf_counter() - begun)


def _pictures(record: Record, folder: Path) -> list[str]:
    """Lines that name the pictures, or say why there is none; the record is safe by now."""
    try:
        return [f"picture: {path}" for path in draw(record, folder)]
    except (DataError, MissingDependencyError) as error:
        return [f"no picture: {error}"]


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
        console.print(Text(_title(cells[0]), style="bold"), _table(cells), "")
    console.print(_CAPTION, soft_wrap=True)
    for cell in record.cells:
        if not cell.measured:
            line = f"skipped {_title(cell)}, m = {cell.m}, n_h = {cell.n_h}: {cell.reason}"
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


def show_changes(found: Sequence[Change], amount: float, console: Console) -> bool:
    """Print the shares that fell by more than `amount`, beyond their noise; whether any did."""
    fallen = [change for change in found if change.fell(amount)]
    if fallen:
        table = Table(box=None, pad_edge=False)
        for name in ("cell", "then", "now", "fall", f"noise ({SIGMAS:g} s.e.)"):
            table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=True)
        for change in fallen:
            cell = change.after
            table.add_row(
                f"{_title(cell)}, m = {cell.m}, n_h = {cell.n_h}",
                *(f"{value:.0%}" for value in (change.before.share, cell.share, change.fall)),
                f"{SIGMAS * change.noise:.0%}",
            )
        console.print(table)
    console.print(
        f"{len(fallen)} of {len(found)} shares of the limit fell by more than {amount:.3g} of"
        " themselves beyond their noise",
        style="red" if fallen else "green", soft_wrap=True,
    )  # fmt: skip
    return bool(fallen)


def _title(cell: Cell) -> str:
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
