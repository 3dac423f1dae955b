"""`nnx demo`: list the demonstrations of nnx.examples, run one, and leave its picture."""

from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from nnx.backends import get_backend
from nnx.errors import DataError, MissingDependencyError
from nnx.examples import EXAMPLES, Numbers, pictures, run


@click.command()
@click.argument("name", required=False)
@click.option(
    "--device", default="auto", show_default=True, help='"cpu", "cuda", "cuda:1", "auto".'
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the demonstration.")
@click.option(
    "--plot", metavar="FILE", help="The picture: .png, .svg or .pdf.  [default: NAME.png]"
)
@click.option("--no-plot", is_flag=True, help="Make no picture.")
def demo(name: str | None, device: str, seed: int, plot: str | None, no_plot: bool) -> None:
    """Run a demonstration, or list them.

    Each shows one idea of the lecture: it trains small networks for a few seconds and prints
    the numbers that matter. A picture of the same networks is left in the current folder; a file
    there that nnx did not make is kept. FILE is replaced.

    \b
    Examples:
      nnx demo                         the list
      nnx demo flower                  what a hidden layer adds to logistic regression
      nnx demo flower --plot out.svg   its picture elsewhere
      nnx demo digits --device cuda    the same code on a GPU
    """
    if plot is not None and no_plot:
        raise click.UsageError("--plot and --no-plot cannot be used together.")
    if name is None:
        if plot is not None:
            raise click.UsageError("--plot needs the NAME of a demonstration.")
        _list(EXAMPLES)
        return
    # A picture that cannot be and an absent device are refused before the first line is printed.
    path = None
    if plot is not None:
        path = pictures.check_path(plot)
        pictures.needs_matplotlib("--plot")
    get_backend(device)
    numbers = run(name, device=device, seed=seed)
    if path is not None:
        click.echo(f"picture: {pictures.save(numbers.plot(), path)}")
    elif not no_plot:
        click.echo(_default_picture(name, numbers))


def _list(known: dict[str, str]) -> None:
    """Print what there is."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("name", no_wrap=True)
    table.add_column("what it shows")
    for name, description in known.items():
        table.add_row(name, description)
    console = Console()
    console.print(table)
    console.print("\nRun one with: nnx demo NAME", style="dim", highlight=False)


def _default_picture(name: str, numbers: Numbers) -> str:
    """Save the picture in the current folder; say where it is, or why there is none."""
    try:
        figure = numbers.plot()
        path = pictures.save(figure, pictures.free_path(Path(), name))
    except (DataError, MissingDependencyError) as error:
        return f"no picture: {error}"
    kept = "" if path.stem == name else f" ({name}.png, which nnx did not make, is kept)"
    return f"picture: {path}{kept}"
