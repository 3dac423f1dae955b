"""A chart, and how it becomes SVG for the page, SVG for itself, and PNG.

One unit of a figure is one CSS pixel. A chart is drawn twice for the page: wide, with its
panels side by side, and narrow, one below the other, so that a phone shows letters as large as
a desk's screen does. Text stays text. On the page the colours are CSS variables, and so follow
the reader's light or dark setting; in files of their own they are plain.

matplotlib is imported when a chart is drawn, with the Agg and SVG canvases: no display is needed.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nnx.benchmarks.plots import MARKERS, PALETTE
from nnx.benchmarks.report.wording import short
from nnx.errors import MissingDependencyError

WIDE, HALF, NARROW = 920, 430, 358
LETTERS = 12.5
INK, MUTED, GRID, PAPER = "#1d2129", "#5a6270", "#e1e5ea", "#ffffff"
# On dark paper the same hues, lighter; blue and sky blue stay apart in lightness.
DARK_PALETTE = ("#4fa8e8", "#f0b23e", "#2cc79a", "#f07f4f", "#e5a3cb", "#a6dcfb", "#e9ecf1")
DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))
LIMIT: Mapping[str, Any] = {"linestyle": (0, (4, 2)), "linewidth": 1.3}
FONTS = "DejaVu Sans"
_HEIGHT = 300
_MOST_TICKS = 7
_RULES: Mapping[str, Any] = {
    "font.family": [FONTS],
    "font.size": LETTERS,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlesize": LETTERS + 0.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": LETTERS,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.9,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": LETTERS - 0.5,
    "ytick.labelsize": LETTERS - 0.5,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 6.0,
    "legend.frameon": False,
    "legend.fontsize": LETTERS,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",
}
VARIABLES: Mapping[str, str] = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    **{colour.lower(): f"--series-{number}" for number, colour in enumerate(PALETTE)},
}

Draw = Callable[[Any, bool], None]


@dataclass(frozen=True)
class Mark:
    """How a curve looks: told apart by colour, by marker and, where it must be, by dashes."""

    color: Any
    marker: str = ""
    linestyle: Any = "-"
    fillstyle: str = "full"
    linewidth: float = 2.0

    def line(self) -> dict[str, Any]:
        """The arguments of `Axes.plot`."""
        # Rings and crosses are lines; a full marker has an edge that keeps it apart from others.
        drawn, marker = self.fillstyle == "none" or self.marker == "x", self.marker or "none"
        return {
            "color": self.color,
            "marker": marker,
            "linestyle": self.linestyle,
            "linewidth": self.linewidth,
            "fillstyle": self.fillstyle,
            "markeredgewidth": 2.0 if drawn else 0.8,
            "markeredgecolor": self.color if drawn else PAPER,
        }


@dataclass(frozen=True)
class Axis:
    """A label with its unit, and what scales and ticks the axis once all is drawn."""

    label: str
    scale: Callable[[Any], None]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: its title, and the function that draws into it (axes, wide)."""

    title: str
    draw: Draw


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes
    ----------
    name : str
        Its id on the page and the stem of its files.
    title, caption : str
        What it shows, and how to read it.
    alt : str
        The same for those who do not see it: what is drawn, and what it comes to, in numbers.
    x, y : Axis
    panels : sequence of Panel
    legend : sequence of (str, Mark)
        Entries below the panels.
    columns : int
        Panels side by side when wide.
    height : int
        Of a row of panels, in pixels.
    share : str
        Which axes all panels have in common: "both", "x", "y" or "".
    legend_when_wide : bool
        Whether the wide form needs the legend, too (curves may carry their names there).
    half : bool
        Whether two such charts may stand side by side.
    """

    name: str
    title: str
    caption: str
    alt: str
    x: Axis
    y: Axis
    panels: Sequence[Panel]
    legend: Sequence[tuple[str, Mark]] = field(default_factory=tuple)
    columns: int = 3
    height: int = _HEIGHT
    share: str = "both"
    legend_when_wide: bool = True
    half: bool = False


@dataclass(frozen=True)
class Picture:
    """A chart, drawn: SVG for the page (wide and narrow), and the contents of its files."""

    chart: Chart
    wide: str
    narrow: str
    svg: bytes
    png: bytes


def picture(chart: Chart) -> Picture:
    """Draw `chart` in all its forms."""
    try:
        from matplotlib import rc_context
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "report", "the report") from error
    with rc_context({**_RULES, "svg.hashsalt": chart.name}):
        wide = _figure(chart, HALF if chart.half else WIDE)
        narrow = _figure(chart, NARROW)
        plain = _svg(wide)
        inline = _for_page(plain, f"{chart.name}-w")
        small = _for_page(_svg(narrow), f"{chart.name}-n")
        wide.set_facecolor(PAPER)
        FigureCanvasAgg(wide)
        buffer = io.BytesIO()
        wide.savefig(buffer, format="png", dpi=144, metadata={"Software": None})
    return Picture(chart, inline, small, plain.encode(), buffer.getvalue())


def paired(charts: Iterable[Chart]) -> Iterator[Chart]:
    """The charts, of which only those stay halves that have another half beside them."""
    waiting: Chart | None = None
    for chart in charts:
        if waiting and chart.half:
            yield waiting
            yield chart
            waiting = None
            continue
        if waiting:
            yield replace(waiting, half=False)
        waiting = chart if chart.half else None
        if not chart.half:
            yield chart
    if waiting:
        yield replace(waiting, half=False)


def _figure(chart: Chart, width: int) -> Any:
    """Lay the panels out and have them drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    wide, count = width == WIDE, len(chart.panels)
    columns = min(chart.columns, count) if wide else 1
    rows = -(-count // columns)
    entries = chart.legend if chart.legend_when_wide or not wide else ()
    across = _across([label for label, _ in entries], width)
    high = rows * chart.height + (24 * -(-len(entries) // across) if entries else 0)
    figure = Figure(figsize=(width / 72, high / 72), dpi=72)
    figure.set_layout_engine("constrained", w_pad=6 / 72, h_pad=6 / 72, wspace=0.03, hspace=0.04)
    axes = figure.subplots(
        rows, columns, squeeze=False,
        sharex=chart.share in ("both", "x"), sharey=chart.share in ("both", "y"),
    )  # fmt: skip
    shown = list(axes.flat[:count])
    titles: dict[Any, Any] = {}
    for panel, one in zip(chart.panels, shown, strict=True):
        if panel.title:
            letters = int((width / columns - 56) / 8.6)
            titles[one] = one.set_title(textwrap.fill(panel.title, letters), pad=8)
        panel.draw(one, wide)
    for unused in axes.flat[count:]:
        unused.remove()
    for number, one in enumerate(shown):
        chart.x.scale(one.xaxis)
        chart.y.scale(one.yaxis)
        # What panels share is written once, at the bottom and at the left.
        x_below = chart.share in ("both", "x") and number + columns < count
        one.set_xlabel("" if x_below else chart.x.label)
        one.tick_params(labelbottom=not x_below)
        one.set_ylabel("" if chart.share in ("both", "y") and number % columns else chart.y.label)
    if entries:
        from matplotlib.lines import Line2D

        handles = [Line2D([], [], **mark.line()) for _, mark in entries]
        figure.legend(
            handles, [label for label, _ in entries], loc="outside lower center", ncols=across,
            handlelength=2.2, columnspacing=1.4,
        )  # fmt: skip
    # Laid out once, not for each form of the file.
    FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    for panel, one in zip(chart.panels, shown, strict=True):
        # Long names of bars push the axes, and so the title, to the right.
        if one in titles and titles[one].get_window_extent().x1 > width:
            left = one.get_window_extent().x0
            one.set_title(textwrap.fill(panel.title, int((width - left) / 8.6)), pad=8)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return figure


def _across(labels: Sequence[str], width: int) -> int:
    """How many entries of a legend fit side by side."""
    need = [7.4 * len(label) + 46 for label in labels]
    if not need:
        return 1
    return len(need) if sum(need) <= width else max(1, int(width / max(need)))


def _svg(figure: Any) -> str:
    """SVG of a figure, from its root element on."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _for_page(svg: str, prefix: str) -> str:
    """SVG ready to stand in HTML: unique ids, size in pixels, colours and letters of the page."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r'(<svg [^>]*?)width="([\d.]+)pt" height="([\d.]+)pt"', r"\1", svg, count=1)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| version="1.1"', "", svg)
    svg = svg.replace("xlink:href", "href").replace(f"'{FONTS}'", "var(--letters)")

    def themed(match: re.Match[str]) -> str:
        colour = match[0].lower()
        return f"var({VARIABLES[colour]}, {colour})" if colour in VARIABLES else colour

    # Only in style attributes: text may hold a "#", too.
    def style(match: re.Match[str]) -> str:
        return re.sub(r"#[0-9a-fA-F]{6}\b", themed, match[0])

    return re.sub(r'style="[^"]*"', style, svg).replace("<svg ", '<svg aria-hidden="true" ', 1)


def mark(number: int, total: int = 1) -> Mark:
    """The look of curve `number` of `total`."""
    if total <= len(PALETTE):
        return Mark(PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    color = to_hex(colormaps["viridis"](0.1 + 0.75 * number / (total - 1)))
    return Mark(color, MARKERS[number % len(MARKERS)])


def counts(values: Iterable[int], axis: Any) -> None:
    """Make an axis logarithmic and tick the counts that were measured, or every k-th of many."""
    _set(axis, "scale", "log", base=2)
    chosen = sorted(set(values))
    most = _MOST_TICKS if axis.axis_name == "x" else 2 * _MOST_TICKS
    ticks = chosen[:: -(-len(chosen) // most)]
    axis.set_ticks(ticks, [short(value) for value in ticks])
    axis.set_ticks([], minor=True)


def logarithmic(label: Callable[[float], str], axis: Any, least: float = 0.9) -> None:
    """Make an axis logarithmic with ticks at 1, 2, 5, as dense as the range needs.

    `least` is the smallest range in decades that the axis shows.
    """
    _set(axis, "scale", "log")
    low, high = sorted(axis.get_view_interval())
    missing = max(0.0, least - math.log10(high / low))
    low, high = low / 10 ** (missing / 2), high * 10 ** (missing / 2)
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades < 2.2 else (1, 3) if decades < 3.2 else (1,)
    stride = max(1, round(decades / 7))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [
        step * 10.0**power
        for power in powers
        if not power % stride
        for step in steps
        if low * 0.999 <= step * 10.0**power <= high * 1.001
    ]
    axis.set_ticks(ticks, [label(tick) for tick in ticks])
    axis.set_ticks([], minor=True)
    _set(axis, "lim", low, high)


def linear(label: Callable[[float], str], axis: Any, least: float | None = None) -> None:
    """Label the ticks of a linear axis; `least` is where it begins, where that is given."""
    if least is not None:
        _set(axis, "lim", least, None)
    axis.set_major_formatter(lambda value, _: label(value))


def steps(values: Sequence[int], axis: Any) -> None:
    """Give each of the values a place of equal width, as in a map of cells."""
    axis.set_ticks(range(len(values)), [f"{value:,}" for value in values])
    _set(axis, "lim", -0.5, len(values) - 0.5)


def named(names: Sequence[str], axis: Any) -> None:
    """Give each of the names a place of equal width, as in a chart of bars."""
    axis.set_ticks(range(len(names)), names)
    _set(axis, "lim", -0.6, len(names) - 0.4)


def _set(axis: Any, what: str, *values: Any, **options: Any) -> None:
    """Call set_xscale, set_ylim and the like, whichever axis it is."""
    getattr(axis.axes, f"set_{axis.axis_name}{what}")(*values, **options)


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move labels apart vertically as little as it takes to leave `gap` between each two."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    placed = [heights[index] for index in order]
    for _ in range(200):
        moved = False
        for lower in range(len(placed) - 1):
            lack = gap - (placed[lower + 1] - placed[lower])
            if lack > 1e-9:
                placed[lower] -= lack / 2
                placed[lower + 1] += lack / 2
                moved = True
        if not moved:
            break
    result = [0.0] * len(heights)
    for position, index in enumerate(order):
        result[index] = placed[position]
    return result
