"""`nnx bench`: measure the throughput grid, show it, keep it as JSON and as a picture."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from nnx.benchmarks import (
    Cell,
    Record,
    Settings,
    environment,
    read_record,
    sweep,
    write_record,
)
from nnx.benchmarks.finder import find, tasks
from nnx.benchmarks.plots import draw
from nnx.benchmarks.regress import SIGMAS, changes, check_amount, confirmed, differences, key
from nnx.benchmarks.settings import DTYPES, OPTIMIZERS, PARTS, PASSES
from nnx.benchmarks.sweep import measure_again, points
from nnx.cli.bench_tables import show, show_findings, title
from nnx.errors import DataError, MissingDependencyError

_FELL = 3  # the exit status when a share fell


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
@click.option(
    "--parts-budget",
    type=float,
    help=f"Seconds on each device for all parts but the grid.  {_default('parts_seconds')}",
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
    /,
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
    of itself beyond its noise (three standard errors of the change, from the samples' quartiles),
    and did so again when it was measured once more.

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
        context.exit(_FELL if _fallen(before, record, settings, fall / 100) else 0)


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
    known = {key(cell) for cell in before.cells if cell.measured}
    wanted = {key(point) for point in points(settings)}
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
    single |= {"parts_budget": "parts_seconds"}
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


def _fallen(before: Record, after: Record, settings: Settings, amount: float) -> bool:
    """Print the shares that fell by more than `amount` beyond their noise; whether any did."""
    found = changes(before, after)
    fallen = [change for change in found if change.fell(amount)]
    if fallen:
        click.echo(f"{len(fallen)} shares fell; these cells are measured once more")
        again = measure_again(settings, [change.after for change in fallen])
        fallen = confirmed(fallen, again, amount)
    for change in fallen:
        cell = change.after
        click.echo(
            f"fell: {title(cell)}, m = {cell.m}, n_h = {cell.n_h}: {change.before.share:.1%} then,"
            f" {cell.share:.1%} now, {change.fall:.1%} less;"
            f" noise ({SIGMAS:g} standard errors) {SIGMAS * change.noise:.1%}"
        )
    click.echo(
        f"{len(fallen)} of {len(found)} shares of the limit fell by more than {100 * amount:.3g} %"
        " of themselves beyond their noise"
    )
    return bool(fallen)
