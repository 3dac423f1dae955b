"""The examples' pictures, one module each: `draw` takes what the example computed.

matplotlib is imported when a picture is drawn. A picture is a Figure of its own on the Agg canvas:
no display is needed, pyplot is not imported, and the user's backend and settings stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nnx.checkpoint import write_whole
from nnx.errors import DataError, MissingDependencyError

# Okabe & Ito, "Color Universal Design" (2008), in an order in which neighbours differ most.
BLUE, VERMILLION, GREEN, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"
PALETTE = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE)
INK, GREY = "#222222", "#666666"
FORMATS = (".png", ".svg", ".pdf")
SIGNATURE = "nnx.examples"  # in a picture's file, so that nnx knows its own again
_PIXELS_PER_INCH = 150
# Ten inches are 1,000 pixels at 100 dpi: the sizes below can be read there.
_RULES: Mapping[str, Any] = {
    "figure.dpi": 100,
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "figure.titlesize": 15,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "svg.hashsalt": SIGNATURE,
}


def needs_matplotlib(purpose: str = "the picture of an example") -> None:
    """Raise MissingDependencyError where matplotlib is not installed."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise MissingDependencyError("matplotlib", "plot", purpose) from None


@contextmanager
def new_picture(title: str, size: tuple[float, float], note: str = "") -> Iterator[Any]:
    """Give a Figure of `size` inches to draw into, in nnx's style whatever the user's is.

    title : str
        What is to be seen.
    note : str
        What colours and marks mean; it stands at the bottom.
    """
    from nnx.examples.pictures.figure import Picture

    with style():
        figure: Any = Picture(figsize=size, layout="constrained")
        figure.get_layout_engine().set(w_pad=0.09, h_pad=0.09, wspace=0.02, hspace=0.02)
        figure.suptitle(title)
        if note:
            figure.supxlabel(note, fontsize=10.5, color=GREY)
        yield figure
        # Laid out once and for all: each drawing anew would move things by parts of a pixel.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def in_order(count: int) -> list[Any]:
    """Return colours for what has an order: dark to light, told apart without seeing hues."""
    from matplotlib import colormaps

    return [colormaps["viridis"](0.85 * i / max(count - 1, 1)) for i in range(count)]


@contextmanager
def style() -> Iterator[None]:
    """Let matplotlib's own settings and `_RULES` hold, and afterwards the user's again."""
    from matplotlib.style import context

    with context(["default", dict(_RULES)]):
        yield


def encode(figure: Any, kind: str = "png", dpi: float = _PIXELS_PER_INCH) -> bytes:
    """Return the bytes of a file; the same picture gives the same bytes."""
    signed = {
        "png": {"Software": SIGNATURE},
        "svg": {"Creator": SIGNATURE, "Date": None},
        "pdf": {"Creator": SIGNATURE, "CreationDate": None},
    }
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata=signed[kind])
    return buffer.getvalue()


def check_path(path: str | Path) -> Path:
    """Return where a picture can be saved, as far as that can be known before it is made.

    Raises
    ------
    DataError
        Where the name does not end in one of `FORMATS`, or is that of a folder.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise DataError(f"--plot {path}: the name of a picture ends in .png, .svg or .pdf")
    if path.is_dir():
        raise DataError(f"--plot {path}: is a folder; name a file")
    return path


def free_path(folder: Path, name: str) -> Path:
    """Return folder/name.png, or name-2.png, ... where that is a file that nnx did not make."""
    path, number = folder / f"{name}.png", 1
    while path.exists() and not _is_own(path):
        number += 1
        path = folder / f"{name}-{number}.png"
    return path


def _is_own(path: Path) -> bool:
    """Whether a file says that it is a picture of `save`'s."""
    with suppress(OSError), path.open("rb") as file:
        return f"Software\0{SIGNATURE}".encode() in file.read(1024)
    return False


def save(figure: Any, path: Path) -> Path:
    """Write a picture whole or not at all, in the format that its name ends in.

    Raises
    ------
    DataError
        Where the folder cannot be made or written into.
    """
    content = encode(figure, path.suffix.lower()[1:])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    return path
