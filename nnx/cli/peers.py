"""`nnx peers`: nnx against scikit-learn, PyTorch, JAX, Thinc and Keras, as far as installed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from nnx.benchmarks import environment
from nnx.benchmarks.peers import CONTENDERS, Comparison, compare, fits, installed, steps
from nnx.benchmarks.peers.contenders import LIMITS, NNX
from nnx.benchmarks.record import write_json
from nnx.errors import MissingDependencyError

SCHEMA = "nnx-peers/1"
_SLOW_TO_START = "PyTorch compiled"


@click.command()
@click.option("--peer", multiple=True, metavar="NAME", help="By default all that are installed.")
@click.option("--layers", default=1, show_default=True, help="Hidden layers of the steps.")
@click.option("--samples", default=5, show_default=True, help="Samples of each contender.")
@click.option("--quick", is_flag=True, help="Two shapes and one fit, to try it out.")
@click.option("--out", default="bench-out", show_default=True, help="Folder for the record.")
def peers(peer: Sequence[str], layers: int, samples: int, quick: bool, out: str) -> None:
    """Compare training steps and whole fits with those of other libraries, on the CPU.

    Every library trains the same network (ReLU, softmax, cross-entropy, float32) from the same
    weights on the same data, in a process of its own, one sample after the other; its costs are
    checked against nnx's first. Ratios above 1 mean that nnx is faster. "matmul" is the time of
    the five matrix products of a step alone, through NumPy, in the better memory order.

    OUT/peers.json keeps every sample. A library that is not installed is named; PyTorch's compiled
    mode takes long to start and is left out unless asked for (--peer "PyTorch compiled").
    """
    names = list(peer) or [name for name in CONTENDERS if name != _SLOW_TO_START]
    here, missing = installed(list(dict.fromkeys([NNX, *LIMITS, *names])))
    cases = [*steps(layers=layers), *fits()]
    if quick:
        cases = [*steps((64, 1024), (64,), layers), fits()[0]]
    where = environment(["cpu"])
    # A file or a pipe has no width to keep to.
    console, found = Console(width=None if sys.stdout.isatty() else 180), []
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("tqdm", "cli", "the progress bar of nnx peers") from error
    for comparison in tqdm(
        compare(cases, here, samples=samples), total=len(cases), unit="case", leave=False
    ):
        found.append(comparison)
    show(found, [name for name in here if name not in (NNX, *LIMITS)], console)
    for name in missing:
        click.echo(f"missing: {name}")
    record = {
        "schema": SCHEMA,
        "settings": {"samples": samples, "layers": layers, "contenders": here, "missing": missing},
        "environment": where,
        "comparisons": [comparison.to_json() for comparison in found],
    }
    click.echo(f"record:  {write_json(Path(out) / 'peers.json', record)}")


def show(comparisons: Sequence[Comparison], peers: Sequence[str], console: Console) -> None:
    """Print the table of ratios, and their geometric means."""
    table = Table(box=None, pad_edge=False)
    table.add_column("case", no_wrap=True)
    table.add_column("nnx", justify="right", no_wrap=True)
    for name in ("matmul", *peers, "fastest peer"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in comparisons:
        ratios = [one.ratio(name) for name in peers]
        best = one.ratio(one.fastest_peer) if one.fastest_peer else math.nan
        cells = [_ratio(value) for value in (one.share, *ratios, best)]
        table.add_row(one.case.name, _time(one.seconds(NNX)), *cells)
    for kind in ("step", "fit"):
        some = [
            one.ratio(one.fastest_peer)
            for one in comparisons
            if one.case.kind == kind and one.fastest_peer
        ]
        if some:
            mean = float(np.exp(np.mean(np.log(some))))
            empty = [""] * (2 + len(peers))
            table.add_row(f"{kind}s, geometric mean", *empty, _ratio(mean), style="bold")
    console.print(table)
    for one in comparisons:
        for name, outcome in one.outcomes.items():
            if outcome.problem:
                console.print(f"{one.case.name}: {name}: {outcome.problem}", style="yellow")


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _time(seconds: float) -> str:
    """Three figures with a unit."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"
