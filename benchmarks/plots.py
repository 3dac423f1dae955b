"""The picture of a sweep: throughput over m, a curve per n_h, the matmul-only limit dashed.

matplotlib is imported when a picture is drawn, with the Agg canvas: no display is needed.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnx.benchmarks.cell import Cell
from nnx.benchmarks.environment import hardware_line
from nnx.benchmarks.record import Record, write_whole
from nnx.benchmarks.settings import N_X, N_Y
from nnx.errors import DataError, MissingDependencyError

# Okabe & Ito, "Color Universal Design" (2008), without its yellow, too pale for a line.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
DASHED: Mapping[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.2}
BAR: Mapping[str, Any] = {"linewidth": 5, "alpha": 0.35}
TITLES = {
    "forward": "forward pass",
    "backward": "forward + backward pass",
    "step": "training step",
}
LIMIT_LABEL = "limit: the matrix products alone"
SPREAD_LABEL = "middle half of the samples"
# Narrow figures keep their letters large when a page scales them down to its own width.
_PANEL_INCHES = (3.25, 3.1)
_LEAST_WIDTH = 6.0
_MOST_TICKS = 7


def draw(record: Record, folder: str | Path, stem: str = "throughput") -> list[Path]:
    """Draw a picture for each dtype and depth of `record`: a panel per device and pass.

    Returns
    -------
    list of Path
        The PNG files, the one with the first dtype and depth first.

    Raises
    ------
    DataError
        When no cell of the record was measured.
    MissingDependencyError
        When matplotlib is not installed.
    """
    measured = [cell for cell in record.part("grid") if cell.measured]
    if not measured:
        raise DataError("nothing to draw: no cell was measured")
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in sorted(measured, key=lambda cell: (cell.dtype, cell.layers)):
        groups.setdefault((cell.dtype, cell.layers), []).append(cell)
    paths = []
    for (dtype, layers), cells in groups.items():
        name = stem if len(groups) == 1 else f"{stem}-{dtype}-{layers}"
        buffer = io.BytesIO()
        picture(cells, record).savefig(buffer, format="png", dpi=150)
        paths.append(write_whole(Path(folder) / f"{name}.png", buffer.getvalue()))
    return paths


def picture(cells: Sequence[Cell], record: Record) -> Any:
    """Make the matplotlib Figure of the measured `cells` of one dtype and depth of `record`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "the picture of a sweep") from error
    devices = [name for name in record.settings["devices"] if any(c.device == name for c in cells)]
    passes = [name for name in TITLES if any(cell.pass_ == name for cell in cells)]
    widths = sorted({cell.n_h for cell in cells})
    # A row per device; the devices side by side where there is one pass.
    shown = [(device, pass_) for device in devices for pass_ in passes]
    columns = len(passes) if len(passes) > 1 else len(devices)
    rows = len(shown) // columns
    size = max(_LEAST_WIDTH, 0.8 + _PANEL_INCHES[0] * columns), 1.6 + _PANEL_INCHES[1] * rows
    # A figure of its own, not pyplot's: no global state, nothing to close.
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    # One scale for all: the distance between two devices can be read across the panels.
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, (device, pass_) in zip(panels.flat, shown, strict=True):
        chosen = [cell for cell in cells if (cell.device, cell.pass_) == (device, pass_)]
        _panel(panel, chosen, widths)
        panel.set_title(f"{device}: {TITLES[pass_]}", fontsize=11)
    for panel in panels[:, 0]:
        panel.set_ylabel("throughput (examples / s)")
    for panel in panels[-1]:
        panel.set_xlabel("m (examples in one call)")
    _label_m(panels[0][0], sorted({cell.m for cell in cells}))
    _headline(figure, cells[0], devices, record)
    _legend(figure, panels[0][0])
    return figure


def _panel(panel: Any, cells: Sequence[Cell], widths: Sequence[int]) -> None:
    """Draw the curves of one device and pass."""
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    for number, n_h in enumerate(widths):
        curve = sorted((cell for cell in cells if cell.n_h == n_h), key=lambda cell: cell.m)
        m = [cell.m for cell in curve]
        style = _style(number, len(widths))
        rate = [cell.examples_per_second for cell in curve]
        panel.plot(m, rate, label=f"n_h = {n_h}", markersize=4.5, **style)
        slow = [cell.m / cell.nnx.quartiles[2] for cell in curve]
        fast = [cell.m / cell.nnx.quartiles[0] for cell in curve]
        panel.vlines(m, slow, fast, color=style["color"], **BAR)
        limit = [cell.limit_examples_per_second for cell in curve]
        panel.plot(m, limit, color=style["color"], **DASHED)
    panel.grid(visible=True, color="0.9", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def _style(number: int, curves: int) -> dict[str, Any]:
    """Colour and marker of a curve, to be told apart without seeing colours too."""
    if curves <= len(PALETTE):
        return {"color": PALETTE[number], "marker": MARKERS[number]}
    from matplotlib import colormaps

    return {
        "color": colormaps["viridis"](0.9 * number / (curves - 1)),
        "marker": MARKERS[number % len(MARKERS)],
    }


def _label_m(panel: Any, values: Sequence[int]) -> None:
    """Tick the numbers of examples that were measured, or every second (third, ...) of many."""
    ticks = values[:: -(-len(values) // _MOST_TICKS)]
    panel.set_xticks(ticks, [_short(m) for m in ticks])
    panel.set_xticks([], minor=True)


def _headline(figure: Any, cell: Cell, devices: Sequence[str], record: Record) -> None:
    """Write what was measured, and on which hardware, over the panels."""
    hidden = "n_h" if cell.layers == 1 else f"{cell.layers} x n_h"
    title = f"Throughput of the network [{N_X}, {hidden}, {N_Y}], ReLU and softmax, {cell.dtype}"
    lines = [f"{name}: {hardware_line(record.environment, name)}" for name in devices]
    if any(other.pass_ == "step" for other in record.cells):
        lines.append(f"optimizer of the training step: {record.settings.get('optimizer')}")
    inches = figure.get_figwidth()
    title = textwrap.fill(title, int(9.5 * inches))
    small = "\n".join(textwrap.fill(line, int(15 * inches)) for line in lines)
    # Both are one block of text to the layout, which so leaves room for every line of it.
    blank = "\n" * (1 + small.count("\n"))
    figure.suptitle(title + blank, fontsize=12, fontweight="bold", x=0.01, ha="left")
    above = "\n" * (2 + title.count("\n"))
    figure.text(0.01, 0.985, above + small, fontsize=9, color="0.35", va="top", ha="left")


def _legend(figure: Any, panel: Any) -> None:
    """Put the legend under the panels, with entries for the dashes and the bars of any colour."""
    from matplotlib.lines import Line2D

    curves, labels = panel.get_legend_handles_labels()
    dashes = Line2D([], [], color="0.3", **DASHED)
    bar = Line2D([], [], color="0.3", linestyle="none", marker="|", markersize=12, alpha=0.5)
    bar.set_markeredgewidth(5)
    handles, labels = [*curves, dashes, bar], [*labels, LIMIT_LABEL, SPREAD_LABEL]
    columns = min(len(labels), 6 if figure.get_figwidth() >= 10 else 3)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9.5
    )


def _short(m: int) -> str:
    """Short form of a number of examples: 16, 1k, 8k."""
    return f"{m // 1024}k" if m >= 1024 and m % 1024 == 0 else str(m)
