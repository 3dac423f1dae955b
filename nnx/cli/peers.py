"""`nnx peers`: nnx against scikit-learn, PyTorch, JAX, Thinc and Keras, as far as installed."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from nnx.benchmarks import environment
from nnx.benchmarks.peers import CONTENDERS, Case, Comparison, compare, fits, installed, steps
from nnx.benchmarks.peers.cases import PRECISIONS
from nnx.benchmarks.peers.contenders import LIMITS, NNX, ON_GPU
from nnx.benchmarks.peers.record import SCHEMA
from nnx.benchmarks.record import write_json
from nnx.errors import MissingDependencyError

_SLOW_TO_START = "PyTorch compiled"


def _limits(device: str) -> tuple[str, ...]:
    """A GPU's products have one memory order."""
    return LIMITS if device == "cpu" else LIMITS[:1]


def _numbers(context: click.Context, parameter: click.Parameter, value: str | None) -> list[int]:
    """Read "64,1024"."""
    try:
        numbers = [int(word) for word in value.split(",")] if value else []
    except ValueError:
        numbers = [0]
    if any(number < 1 for number in numbers):
        raise click.BadParameter(f"wanted positive numbers such as 64,1024, got {value!r}")
    return numbers


@click.command()
@click.option("--peer", multiple=True, metavar="NAME", help="By default all that are installed.")
@click.option("--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]))
@click.option(
    "--precision", multiple=True, type=click.Choice(PRECISIONS),
    help="Of the products; by default float32, on a GPU all of them.",
)  # fmt: skip
@click.option("--layers", multiple=True, type=int, help="Hidden layers of the steps; default 1.")
@click.option("--m", callback=_numbers, metavar="M,...", help="Examples in a batch of the steps.")
@click.option("--hidden", callback=_numbers, metavar="N,...", help="Units of their hidden layers.")
@click.option("--fits/--no-fits", "whole_fits", default=True, help="Whether to compare whole fits.")
@click.option("--samples", default=5, show_default=True, help="Samples of each contender.")
@click.option("--quick", is_flag=True, help="Two shapes and one fit, to try it out.")
@click.option("--limit", default=math.inf, help="Seconds after which no further case begins.")
@click.option("--out", default="bench-out", show_default=True, help="Folder for the record.")
def peers(
    peer: Sequence[str],
    device: str,
    precision: Sequence[str],
    layers: Sequence[int],
    m: Sequence[int],
    hidden: Sequence[int],
    whole_fits: bool,
    samples: int,
    quick: bool,
    limit: float,
    out: str,
) -> None:
    """Compare training steps and whole fits with those of other libraries.

    Every library trains the same network (ReLU, softmax, cross-entropy) from the same weights on
    the same data, in a process of its own, one sample after the other; its costs are checked
    against nnx's first. Ratios above 1 mean that nnx is faster. "matmul" is the time of the matrix
    products of a step alone: on the CPU through NumPy in the better memory order, on a GPU through
    cuBLASLt in a CUDA graph.

    OUT/peers.json (on a GPU peers-cuda.json) keeps every sample, and is written after each case.
    A library that is not installed is named. On the CPU PyTorch's compiled mode, which takes long
    to start, is left out unless asked for (--peer "PyTorch compiled").

    \b
    Examples:
      nnx peers --quick
      nnx peers --peer JAX --m 64,1024 --hidden 512 --layers 1 --layers 4 --no-fits
      nnx peers --device cuda --precision tf32
    """
    begun = time.perf_counter()
    others = [name for name in CONTENDERS if name not in (NNX, *LIMITS, _SLOW_TO_START)]
    names = list(peer) or others
    here, missing = installed(list(dict.fromkeys([NNX, *_limits(device), *names])))
    here = [name for name in here if device == "cpu" or name in (*_limits(device), *ON_GPU)]
    precisions = precision or (PRECISIONS if device == "cuda" else PRECISIONS[:1])
    if quick:
        m, hidden = m or (64, 1024), hidden or (64,)
    cases: list[Case] = []
    for wanted in precisions:
        if whole_fits:
            cases += fits(device, wanted)[: 1 if quick else None]
        for depth in layers or (1,):
            cases += steps(m, hidden, depth, device, wanted)
    where = environment([device])
    # A file or a pipe has no width to keep to.
    console, found = Console(width=None if sys.stdout.isatty() else 180), []
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise MissingDependencyError("tqdm", "cli", "the progress bar of nnx peers") from error
    path = Path(out) / ("peers.json" if device == "cpu" else f"peers-{device}.json")
    # A GPU's work leaves no threads behind that others would have to wait for.
    rest = 0.25 if device == "cpu" else 0.02
    comparisons = compare(cases, here, samples=samples, rest_seconds=rest)
    for comparison in tqdm(comparisons, total=len(cases), unit="case", leave=False):
        found.append(comparison)
        record = {
            "schema": SCHEMA,
            "settings": {
                "samples": samples, "device": device, "cases": len(cases), "contenders": here,
                "missing": missing,
            },
            "environment": where,
            "comparisons": [comparison.to_json() for comparison in found],
        }  # fmt: skip
        write_json(path, record)
        if time.perf_counter() - begun > limit:
            break
    comparisons.close()
    show(found, [name for name in here if name not in (NNX, *LIMITS)], console)
    for name in missing:
        click.echo(f"missing: {name}")
    if len(found) < len(cases):
        click.echo(f"stopped after {limit:g} s: {len(found)} of {len(cases)} cases")
    click.echo(f"record:  {path}")


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
