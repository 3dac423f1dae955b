"""`nnx demo`: list the demonstrations of nnx.examples and run one."""

import click
from rich.console import Console
from rich.table import Table

from nnx.backends import get_backend


@click.command()
@click.argument("name", required=False)
@click.option(
    "--device", default="auto", show_default=True, help='"cpu", "cuda", "cuda:1", "auto".'
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the demonstration.")
def demo(name: str | None, device: str, seed: int) -> None:
    """Run a demonstration, or list them.

    Each shows one idea of the lecture: it trains small networks for a few seconds and prints
    the numbers that matter.

    \b
    Examples:
      nnx demo                         the list
      nnx demo flower                  what a hidden layer adds to logistic regression
      nnx demo digits --device cuda    the same code on a GPU
    """
    from nnx import examples

    if name is None:
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column("name", no_wrap=True)
        table.add_column("what it shows")
        for known, description in examples.EXAMPLES.items():
            table.add_row(known, description)
        console = Console()
        console.print(table)
        console.print("\nRun one with: nnx demo NAME", style="dim", highlight=False)
        return
    # An absent device is refused before the demonstration prints its first line.
    get_backend(device)
    examples.run(name, device=device, seed=seed)
