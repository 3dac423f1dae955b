"""`nnx scale`: error over the number of examples and the size of the network, measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.backends.host import usable_cores
from nnx.benchmarks.scale import CellStore, Settings, Study, read_study, run_study, write_study
from nnx.benchmarks.scale.tasks import ERROR_RATE
from nnx.errors import DataError

_Option = Callable[[Callable[..., None]], Callable[..., None]]


class Stopped(click.ClickException):
    """Ctrl-C: what was finished is kept."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        """Print the message as the other errors of nnx are."""
        Console(stderr=True).print(Text(f"nnx: {self.message}", style="red"), soft_wrap=True)


def _numbers(name: str, help_: str) -> _Option:
    """Option that takes whole numbers between commas."""

    def split(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, ...] | None:
        try:
            return None if text is None else tuple(int(part) for part in text.split(","))
        except ValueError:
            message = f"wanted whole numbers between commas, got {text!r}"
            raise click.BadParameter(message) from None

    return click.option(f"--{name}", metavar="INT,...", callback=split, help=help_)


def _named_sizes(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> dict[str, tuple[int, ...]] | None:
    sizes: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _equals, numbers = text.rpartition("=")
        try:
            hidden = tuple(int(part) for part in numbers.split(","))
        except ValueError:
            message = f"wanted NAME=UNITS,... such as large=256,256, got {text!r}"
            raise click.BadParameter(message) from None
        name = name or numbers.replace(",", "-")
        if name in sizes:
            raise click.BadParameter(f"the name {name!r} is given twice")
        sizes[name] = hidden
    return sizes or None


def _task_options(
    _: click.Context, __: click.Parameter, texts: tuple[str, ...]
) -> dict[str, int | float]:
    options: dict[str, int | float] = {}
    for text in texts:
        name, equals, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"wanted NAME=NUMBER such as live=4, got {text!r}")
        options[name] = int(value) if value.is_integer() and "." not in number else value
    return options


@click.command()
@click.option("--task", help="digits, teacher or flower.  [default: digits]")
@click.option("--option", "task_options", multiple=True, metavar="NAME=NUMBER",
              callback=_task_options, help="A parameter of the task, such as live=4.")  # fmt: skip
@click.option("--data", metavar="FILE", help="Own data instead: a .npz, .csv or .parquet file.")
@click.option("--target", metavar="COLUMN", help="The column of --data that is to be foreseen.")
@_numbers("m", "Numbers of training examples.  [default: 2^4 ... 2^17]")
@click.option("--size", "sizes", multiple=True, metavar="NAME=UNITS,...", callback=_named_sizes,
              help="A network by its hidden layers, such as large=256,256.")  # fmt: skip
@_numbers("seeds", "A repetition for each.  [default: 0,1,2,3,4]")
@click.option("--device", help="Where the networks are trained.  [default: cpu]")
@click.option("--dtype", help="float32 or float64.  [default: float32]")
@click.option("--workers", type=click.IntRange(1), help="Processes side by side; by default one "
              "for each core, and one for a GPU.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Compute on the cluster of this Dask scheduler.")
@click.option("--out", default="scale-out", show_default=True, help="Folder for the results.")
@click.option("--quick", is_flag=True, help="Two seeds and fewer steps: about a minute.")
@click.option("--full", is_flag=True, help="To m = 2^20 with more steps: for a GPU.")
def scale(out: str, quick: bool, full: bool, **options: Any) -> None:
    """Measure how the error falls with more data and larger networks.

    Networks of several sizes and two traditional algorithms of scikit-learn learn the same task
    from m examples. The learning rate is chosen for each size by the validation part, which also
    ends the training; the test part is looked at once, at the end. Power laws are fitted to the
    errors, and what follows from them is told.

    OUT/scale.json is the record, OUT/cells holds every finished cell: after Ctrl-C or a crash the
    same command goes on from there, and changed settings use the cells that still fit.

    \b
    Examples:
      nnx scale --quick
      nnx scale --task teacher --option live=4
      nnx scale --size tiny=8 --size wide=512 --m 128,1024,8192 --seeds 0,1,2
      nnx scale --data houses.csv --target price
      nnx scale --full --device cuda
    """
    data = options.pop("data")
    workers, dask = options.pop("workers"), options.pop("dask")
    settings = _settings(quick, full, data, options)
    folder = Path(out)
    record = folder / "scale.json"
    if record.exists():
        _check_own(record)
    store = CellStore(folder / "cells")
    if workers is None:
        workers = usable_cores() if settings.device == "cpu" else 1
    try:
        study = run_study(settings, store, path=data, workers=workers, dask=dask, progress=True)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped; the cells that were finished are in {store.folder}: the same command goes "
            "on from there"
        ) from None
    write_study(study, record)
    show(study, Console())
    click.echo(f"record:  {record}")


def _settings(quick: bool, full: bool, data: str | None, options: dict[str, Any]) -> Settings:
    """Settings from the options that were given; the rest keeps its default."""
    target = options.pop("target")
    if quick and full:
        raise click.UsageError("--quick and --full exclude each other")
    if (data is None) != (target is None):
        raise click.UsageError("--data FILE and --target COLUMN belong together")
    if data is not None and (options["task"] or options["task_options"]):
        raise click.UsageError("--data is a task of its own: leave out --task and --option")
    chosen = {name: value for name, value in options.items() if value}
    if data is not None:
        chosen |= {"task": "data", "task_options": {"target": target}}
    make = Settings.quick if quick else Settings.full if full else Settings
    return make(**chosen)


def _check_own(record: Path) -> None:
    """What is no record of a study is not replaced by one; better to know before the work."""
    try:
        read_study(record)
    except DataError as error:
        raise DataError(f"{error}; remove it, or choose another --out") from error


def show(study: Study, console: Console) -> None:
    """Print the table of mean test errors, and every sentence."""
    task, seeds = study.task, len(study.settings["seeds"])
    percent = task["metric"] == ERROR_RATE
    title = f"{task['title']}: {task['metric']} on {task['m_test']:,} test examples"
    title += f", mean of {seeds} seeds" if seeds > 1 else ""
    table = Table(box=None, pad_edge=False)
    table.add_column("m", justify="right", no_wrap=True)
    for name in study.contenders:
        table.add_column(name, justify="right")
    errors = {name: study.errors(name) for name in study.contenders}
    for m in study.settings["m"]:
        means = [np.mean(errors[name][m]) if m in errors[name] else None for name in errors]
        table.add_row(f"{m:,}", *(_entry(mean, percent) for mean in means))
    console.print(Text(title, style="bold"), table, "")
    for lists in study.consequences.values():
        for item in lists:
            console.print(Text(f"- {item['sentence']}"), soft_wrap=True)
    for reason in dict.fromkeys(_left_out(study)):
        console.print(Text(reason, style="yellow"), soft_wrap=True)


def _entry(error: Any, percent: bool) -> str:
    if error is None:
        return "-"
    return f"{error:.1%}" if percent else f"{error:.4g}"


def _left_out(study: Study) -> list[str]:
    return [
        f"{cell['status']}: {cell['contender']}: {cell['reason']}"
        for cell in study.cells
        if cell["status"] != "done"
    ]
