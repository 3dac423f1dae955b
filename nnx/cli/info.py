"""`nnx info`: devices, libraries with versions, and what brings those that are missing."""

import importlib.metadata
from collections.abc import Mapping
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnx.backends import available_devices, get_backend
from nnx.benchmarks.environment import environment, hardware_line
from nnx.errors import NnxError


class Library(NamedTuple):
    """A library, the distributions that can bring it, the extras that do, its use."""

    name: str
    distributions: tuple[str, ...]
    extras: tuple[str, ...]
    purpose: str


LIBRARIES = (
    Library("NumPy", ("numpy",), (), "arrays on the CPU"),
    Library("array-api-compat", ("array-api-compat",), (), "one namespace for every array library"),
    Library("safetensors", ("safetensors",), (), "saved models"),
    Library(
        "CuPy", ("cupy-cuda13x", "cupy-cuda12x", "cupy"), ("cuda13", "cuda12"), "arrays on a GPU"
    ),
    Library(
        "nvmath-python", ("nvmath-python",), ("cuda13", "cuda12"), "fast training steps on a GPU"
    ),
    Library("SciPy", ("scipy",), ("lbfgs",), "sparse input, the L-BFGS optimizer"),
    Library("scikit-learn", ("scikit-learn",), ("sklearn",), "estimators, real data sets"),
    Library("matplotlib", ("matplotlib",), ("plot",), "pictures"),
    Library("ONNX", ("onnx",), ("onnx",), "export"),
    Library("tqdm", ("tqdm",), ("progress",), "progress bars"),
    Library("threadpoolctl", ("threadpoolctl",), ("cli",), "threads of the BLAS, for records"),
    Library("pytest-benchmark", ("pytest-benchmark",), ("bench",), "the suites in benchmarks/"),
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
    version = importlib.metadata.version("nnx-learn")
    console.print(Text(f"nnx-learn {version}\n", style="bold"))
    where = environment(available_devices())
    console.print(_devices(where), "")
    found = {library: _version(library.distributions) for library in LIBRARIES}
    console.print(_libraries(found))
    # Below the table and never broken over lines, so that a command can be copied.
    for library in LIBRARIES:
        if not found[library]:
            line = f"\n{library.name} is missing: {_install(library)}"
            console.print(Text(line, style="yellow"), soft_wrap=True)


def _devices(where: Mapping[str, Any]) -> Table:
    """Table of the devices that are there, and of what keeps CUDA away."""
    table = _table("device", "what it is", "GiB free / all")
    for device in available_devices():
        memory = get_backend(device).memory()
        free = "?" if memory.free is None else f"{memory.free / 2**30:.1f}"
        table.add_row(device, hardware_line(where, device), f"{free} / {memory.total / 2**30:.1f}")
    for device in ("cuda", "auto"):
        try:
            meant = get_backend(device).device
        except NnxError as error:
            table.add_row(device, Text(str(error), style="yellow"), "")
        else:
            table.add_row(device, f"is {meant}", "")
    return table


def _libraries(found: Mapping[Library, str]) -> Table:
    """Table of the libraries with their versions."""
    table = _table("library", "version", "for")
    for library, version in found.items():
        shown = Text(version) if version else Text("missing", style="yellow")
        table.add_row(library.name, shown, library.purpose)
    return table


def _table(*columns: str) -> Table:
    """Table with a plain look, of which only the column in the middle is broken over lines."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number != 1)
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


def _install(library: Library) -> str:
    """Commands that install a library, one for each extra that brings it."""
    return " or ".join(f'pip install "nnx-learn[{extra}]"' for extra in library.extras)
