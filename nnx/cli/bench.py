"""`nnx bench`: measure the throughput grid, show it, keep it as JSON and as a picture."""

from collections.abc import Iterable, Sequence
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


class CommaList(click.ParamType):
    """Values between commas; the option can be repeated as well."""

    def __init__(self, kind: type[int] | type[str]) -> None:
        self.kind = kind
        self.name = "INT,..." if kind is int else "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        """Split `value` at its commas."""
        try:
            return tuple(self.kind(part.strip()) for part in str(value).split(","))
        except ValueError:
            self.fail(f"wanted whole numbers between commas, got {value!r}", param, ctx)


def _lists(name: str, kind: type[int] | type[str], help_: str) -> Any:
    """Option that takes comma lists and can be repeated."""
    return click.option(f"--{name}", multiple=True, type=CommaList(kind), help=help_)


@click.command()
@_lists("device", str, "Devices; by default every one that is there.")
@_lists("m", int, "Numbers of examples.  [default: 16,128,1024,8192]")
@_lists("hidden", int, "Units n_h of each hidden layer.  [default: 16,64,256,1024]")
@_lists("layers", int, "Numbers of hidden layers.  [default: 1]")
@_lists("dtype", str, f"Of {', '.join(DTYPES)}.  [default: float32]")
@_lists("pass", str, f"Of {', '.join(PASSES)}.  [default: all]")
@click.option("--optimizer", help=f"For the training step: {', '.join(OPTIMIZERS)}.")
@click.option("--samples", type=int, help="Samples of each cell.  [default: 20]")
@click.option("--budget", type=float, help="Seconds for the whole grid.  [default: 150]")
@click.option("--out", default="bench-out", show_default=True, help="Folder for the results.")
@click.option("--quick", is_flag=True, help="A small grid that takes seconds, to try it out.")
def bench(out: str, quick: bool, **options: Any) -> None:
    """Measure throughput over m and n_h, beside the matrix products alone.

    For each cell of the grid a network [784, n_h, 10] (ReLU, softmax) runs a forward pass,
    forward + backward, or a whole training step. In turn with it the bare matrix products of
    the same shapes are timed, in two memory orders: the faster one is the limit, and "share"
    is how near nnx comes to it (100 %: nothing is lost beside the products).

    DIR/throughput.json keeps every sample, the settings and the environment;
    DIR/throughput.png is the picture. Earlier results in DIR are replaced.

    \b
    Examples:
      nnx bench --quick
      nnx bench --device cpu --device cuda --m 256,4096,65536
      nnx bench --pass step --hidden 64,1024 --layers 1,3 --dtype float32,float64
      nnx bench --pass step --optimizer Adam --out results/adam
    """
    settings = _settings(quick, options)
    folder = _folder(out)
    cells = _measure(settings)
    record = Record.of(settings, environment(settings.devices), cells)
    console = Console()
    for table in tables(record):
        console.print(table, "")
    for cell in cells:
        if not cell.measured:
            console.print(
                f"skipped {cell.device} {cell.dtype} {cell.pass_} m={cell.m} n_h={cell.n_h}"
                f" layers={cell.layers}: {cell.reason}",
                style="yellow",
                highlight=False,
            )
    # Files come last and are named even in a pipe: click.echo does not break long paths.
    click.echo(f"record:  {write_record(record, folder / 'throughput.json')}")
    for line in _pictures(record, folder):
        click.echo(line)


def _settings(quick: bool, options: dict[str, Any]) -> Settings:
    """Settings from the options that were given; the rest keeps its default."""
    names = {"device": "devices", "m": "m", "hidden": "hidden", "layers": "layers"}
    names |= {"dtype": "dtypes", "pass": "passes"}
    chosen: dict[str, Any] = {
        field: tuple(value for values in options[option] for value in values)
        for option, field in names.items()
        if options[option]
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


def tables(record: Record) -> list[Table]:
    """Table for each device, dtype, depth and pass: m down, n_h across."""
    groups: dict[tuple[str, str, int, str], list[Cell]] = {}
    by_grid = sorted(record.cells, key=lambda cell: (cell.dtype, cell.layers))
    for device in record.settings["devices"]:
        for pass_ in TITLES:
            for cell in by_grid:
                if (cell.device, cell.pass_) == (device, pass_):
                    key = device, cell.dtype, cell.layers, pass_
                    groups.setdefault(key, []).append(cell)
    return [
        _table(cells, hardware_line(record.environment, key[0])) for key, cells in groups.items()
    ]


def _table(cells: Sequence[Cell], hardware: str) -> Table:
    """Table of one device, dtype, depth and pass."""
    first = cells[0]
    depth = "1 hidden layer" if first.layers == 1 else f"{first.layers} hidden layers"
    title = Text(f"{first.device}: {TITLES[first.pass_]}", style="bold")
    title.append(f", {first.dtype}, {depth}\n{hardware}", style="not bold dim")
    table = Table(
        title=title,
        title_justify="left",
        caption="examples / s, and share of the speed of the matrix products alone",
        caption_justify="left",
        box=None,
        pad_edge=False,
    )
    table.add_column("m \\ n_h", justify="right")
    widths = sorted({cell.n_h for cell in cells})
    for n_h in widths:
        table.add_column(str(n_h), justify="right", no_wrap=True)
    known = {(cell.m, cell.n_h): cell for cell in cells}
    for m in sorted({cell.m for cell in cells}):
        table.add_row(str(m), *_entries(known[m, n_h] for n_h in widths))
    return table


def _entries(cells: Iterable[Cell]) -> list[str]:
    """Throughput and share of each cell, such as "1.24 M  63 %"."""
    return [
        f"{_rate(cell.examples_per_second)} {cell.share:4.0%}" if cell.measured else "skipped"
        for cell in cells
    ]


def _rate(rate: float) -> str:
    """Three figures of a rate, with k or M."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if rate >= size:
            return f"{rate / size:.3g}{unit}"
    return f"{rate:.3g}"
