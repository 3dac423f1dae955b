"""The picture of a sweep: throughput over m, a curve per n_h, the matmul-only limit dashed.

matplotlib is imported when a picture is drawn, with the Agg canvas: no display is needed.
"""

import io
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
TITLES = {
    "forward": "forward pass",
    "backward": "forward + backward pass",
    "step": "training step",
}


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
    measured = [cell for cell in record.cells if cell.measured]
    if not measured:
        raise DataError("nothing to draw: no cell was measured")
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in sorted(measured, key=lambda cell: (cell.dtype, cell.layers)):
        groups.setdefault((cell.dtype, cell.layers), []).append(cell)
    paths = []
    for (dtype, layers), cells in groups.items():
        name = stem if len(groups) == 1 else f"{stem}-{dtype}-{layers}"
        image = _picture(cells, record.environment, record.settings)
        paths.append(write_whole(Path(folder) / f"{name}.png", image))
    return paths


def _picture(
    cells: Sequence[Cell], environment: Mapping[str, Any], settings: Mapping[str, Any]
) -> bytes:
    """PNG of one dtype and depth."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "the picture of a sweep") from error
    devices = list(dict.fromkeys(cell.device for cell in cells))
    passes = [name for name in TITLES if any(cell.pass_ == name for cell in cells)]
    widths = sorted({cell.n_h for cell in cells})
    # A figure of its own, not pyplot's: no global state, nothing to close.
    figure = Figure(
        figsize=(1.2 + 4.2 * len(passes), 1.9 + 3.6 * len(devices)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(devices), len(passes), sharex=True, sharey="row", squeeze=False)
    for row, device in zip(panels, devices, strict=True):
        for panel, pass_ in zip(row, passes, strict=True):
            chosen = [cell for cell in cells if (cell.device, cell.pass_) == (device, pass_)]
            _panel(panel, chosen, widths)
            panel.set_title(f"{device}: {TITLES[pass_]}", fontsize=11)
        row[0].set_ylabel("throughput (examples / s)")
    for panel in panels[-1]:
        panel.set_xlabel("m (examples in one call)")
    _headline(figure, cells[0], devices, environment, settings)
    handles, labels = panels[0][0].get_legend_handles_labels()
    columns = min(len(labels), 5)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _panel(panel: Any, cells: Sequence[Cell], widths: Sequence[int]) -> None:
    """Draw the curves of one device and pass."""
    for number, n_h in enumerate(widths):
        curve = sorted((cell for cell in cells if cell.n_h == n_h), key=lambda cell: cell.m)
        m = [cell.m for cell in curve]
        style = _style(number, len(widths))
        rate = [cell.examples_per_second for cell in curve]
        spread = [_rates(cell) for cell in curve]
        panel.plot(m, rate, label=f"n_h = {n_h}", markersize=4.5, **style)
        panel.fill_between(
            m,
            [low for low, _ in spread],
            [high for _, high in spread],
            color=style["color"],
            alpha=0.2,
            linewidth=0,
        )
        limit = [cell.limit_examples_per_second for cell in curve]
        panel.plot(m, limit, color=style["color"], **DASHED)
    # An empty line gives the dashes their own, colourless entry in the legend.
    panel.plot([], [], color="0.3", label="matrix products alone", **DASHED)
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    ticks = sorted({cell.m for cell in cells})
    panel.set_xticks(ticks, [_short(m) for m in ticks])
    panel.minorticks_off()
    panel.grid(visible=True, color="0.9", linewidth=0.8)
    panel.spines[["top", "right"]].set_visible(False)


def _rates(cell: Cell) -> tuple[float, float]:
    """Lower and upper quartile of the throughput."""
    fast, _, slow = cell.nnx.quartiles
    return cell.m / slow, cell.m / fast


def _style(number: int, curves: int) -> dict[str, Any]:
    """Colour and marker of a curve, to be told apart without seeing colours too."""
    if curves <= len(PALETTE):
        return {"color": PALETTE[number], "marker": MARKERS[number]}
    from matplotlib import colormaps

    return {
        "color": colormaps["viridis"](0.9 * number / (curves - 1)),
        "marker": MARKERS[number % len(MARKERS)],
    }


def _headline(
    figure: Any,
    cell: Cell,
    devices: Sequence[str],
    environment: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write what was measured, and on which hardware, over the panels."""
    hidden = "n_h" if cell.layers == 1 else f"n_h x {cell.layers}"
    network = f"[{N_X}, {hidden}, {N_Y}] ReLU softmax, {cell.dtype}"
    optimizer = settings.get("optimizer", "")
    step = f", {optimizer}" if optimizer else ""
    hardware = "\n".join(f"{device}: {hardware_line(environment, device)}" for device in devices)
    figure.suptitle(
        f"Throughput of {network}{step}\n", fontsize=13, fontweight="bold", x=0.01, ha="left"
    )
    figure.text(0.01, 0.99, f"\n\n{hardware}", fontsize=9, color="0.35", va="top", ha="left")


def _short(m: int) -> str:
    """Short form of a number of examples: 16, 1k, 8k."""
    return f"{m // 1024}k" if m >= 1024 and m % 1024 == 0 else str(m)
