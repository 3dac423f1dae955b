"""`nnx info`: devices, libraries with versions, and what brings those that are missing."""

import importlib.metadata
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.backends import available_devices, get_backend
from nnx.errors import NnxError


class Library(NamedTuple):
    """A library, the distributions that can bring it, the extra to ask for, its use."""

    name: str
    distributions: tuple[str, ...]
    extra: str
    purpose: str


LIBRARIES = (
    Library("NumPy", ("numpy",), "", "arrays on the CPU"),
    Library("array-api-compat", ("array-api-compat",), "", "one namespace for every array library"),
    Library("safetensors", ("safetensors",), "", "saved models"),
    Library(
        "CuPy", ("cupy-cuda13x", "cupy-cuda12x", "cupy"), "cuda13 or cuda12", "arrays on a GPU"
    ),
    Library("SciPy", ("scipy",), "lbfgs", "sparse input, the L-BFGS optimizer"),
    Library("scikit-learn", ("scikit-learn",), "sklearn", "estimators, real data sets"),
    Library("matplotlib", ("matplotlib",), "plot", "pictures"),
    Library("tqdm", ("tqdm",), "progress", "progress bars"),
    Library("threadpoolctl", ("threadpoolctl",), "cli", "threads of the BLAS, for records"),
    Library("pytest-benchmark", ("pytest-benchmark",), "bench", "the suites in benchmarks/"),
)


@click.command()
def info() -> None:
    """Show devices, libraries with versions, and what is missing.

    For a GPU that cannot be used it says which of CuPy, the driver or the device is missing;
    for a library, which extra of nnx-learn brings it.

    \b
    Examples:
      nnx info
      NNX_DEVICE=cpu nnx info       what device "auto" means is set by NNX_DEVICE
    """
    console = Console()
    console.print(Text(f"nnx-learn {importlib.metadata.version('nnx-learn')}", style="bold"))
    console.print(_devices())
    console.print(_libraries())


def _devices() -> Table:
    """Table of the devices that are there, and of what keeps CUDA away."""
    table = _table("device", "what it is", "memory free / total")
    for device in available_devices():
        backend = get_backend(device)
        memory = backend.memory()
        table.add_row(
            device,
            _described(backend.describe()),
            f"{_gib(memory.free)} / {_gib(memory.total)} GiB",
        )
    if not any(device.startswith("cuda") for device in available_devices()):
        table.add_row("cuda", Text(_why_not("cuda"), style="yellow"), "")
    try:
        auto = get_backend("auto").device
    except NnxError as error:
        table.add_row("auto", Text(str(error), style="red"), "")
    else:
        table.add_row("auto", f"is {auto}", "")
    return table


def _libraries() -> Table:
    """Table of the libraries; a missing one shows the command that installs it."""
    table = _table("library", "version", "for")
    for library in LIBRARIES:
        version = _version(library.distributions)
        if version:
            found = Text(version)
        else:
            first = library.extra.partition(" ")[0]
            other = f" (or {library.extra.rpartition(' ')[2]})" if " " in library.extra else ""
            found = Text(f'missing: pip install "nnx-learn[{first}]"{other}', style="yellow")
        table.add_row(library.name, found, library.purpose)
    return table


def _table(*columns: str) -> Table:
    """Table with a plain look, whose first columns are not broken."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(columns[0], no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, overflow="fold")
    return table


def _version(distributions: tuple[str, ...]) -> str:
    """Version of the first distribution that is installed, or ""."""
    for name in distributions:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return version if len(distributions) == 1 else f"{version} ({name})"
    return ""


def _why_not(device: str) -> str:
    """Why a device cannot be used."""
    try:
        get_backend(device)
    except NnxError as error:
        return str(error)
    return ""


def _described(facts: dict[str, Any]) -> str:
    """Facts of a backend in one line: its name, then the rest."""
    rest = [f"{key} {value}" for key, value in facts.items() if key not in ("device", "name")]
    return ", ".join([str(facts.get("name", "")), *rest]).lstrip(", ")


def _gib(size: int | None) -> str:
    """Bytes as GiB."""
    return "?" if size is None else f"{size / 2**30:.1f}"
