"""`nnx bench`: measure the throughput grid, show it, keep it as JSON and as a picture."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.benchmarks import Cell, Record, Settings, environment, sweep, write_record
from nnx.benchmarks.environment import hardware_line
from nnx.benchmarks.plots import TITLES, draw
from nnx.benchmarks.settings import DTYPES, OPTIMIZERS, PASSES
from nnx.errors import DataError, MissingDependencyError

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
@click.option("--optimizer", help=f"Of {', '.join(OPTIMIZERS)}.  {_default('optimizer')}")
@click.option("--samples", type=int, help=f"Samples of each cell.  {_default('samples')}")
@click.option(
    "--budget", type=float, help=f"Seconds for the whole grid.  {_default('budget_seconds')}"
)
@click.option("--out", default="bench-out", show_default=True, help="Folder for the results.")
@click.option("--quick", is_flag=True, help="A small grid that takes seconds, to try it out.")
def bench(out: str, quick: bool, **options: Any) -> None:
    """Measure the throughput over m and n_h.

    For each cell of the grid a network [784, n_h, 10] (ReLU, softmax) runs a forward pass,
    forward + backward, or a whole training step. In turn with it the bare matrix products of
    the same shapes are timed, in two memory orders: the faster one is the limit, and "share"
    is how near nnx comes to it (100 %: nothing is lost beside the products).

    OUT/throughput.json keeps every sample, the settings and the environment;
    OUT/throughput.png is the picture. Earlier results in OUT are replaced.

    \b
    Examples:
      nnx bench --quick
      nnx bench --device cpu --device cuda --m 256,4096,65536
      nnx bench --pass step --hidden 64,1024 --layers 1,3 --dtype float32,float64
      nnx bench --pass step --optimizer Adam --out results/adam
    """
    settings = _settings(quick, options)
    folder = _folder(out)
    where = environment(settings.devices)
    if busy := _busy(where):
        click.echo(busy, err=True)
    record = Record.of(settings, where, _measure(settings))
    show(record, Console())
    # Files come last and are named even in a pipe: click.echo does not break long paths.
    click.echo(f"record:  {write_record(record, folder / 'throughput.json')}")
    for line in _pictures(record, folder):
        click.echo(line)


def _settings(quick: bool, options: dict[str, Any]) -> Settings:
    """Settings from the options that were given; the rest keeps its default."""
    names = {"device": "devices", "m": "m", "hidden": "hidden", "layers": "layers"}
    names |= {"dtype": "dtypes", "pass": "passes"}
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


def _measure(settings: Settings) -> list[Cell]:
    """Run the sweep under a progress bar."""
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("tqdm", "cli", "the progress bar of nnx bench") from error
    cells = []
    with tqdm(total=len(settings.points()), unit="cell", leave=False) as bar:
        for cell in sweep(settings):
            cells.append(cell)
            bar.set_description(f"{cell.device} {cell.pass_}", refresh=False)
            bar.update()
    return cells


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
