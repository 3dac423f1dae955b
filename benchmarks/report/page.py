"""The page: sections in reading order, put into the template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from nnx.benchmarks.plots import PALETTE, TITLES
from nnx.benchmarks.report import laws, learning, machine, peers, throughput, variants
from nnx.benchmarks.report.bench_tables import peers_tables, throughput_tables
from nnx.benchmarks.report.canvas import DARK_PALETTE, Chart, Picture, paired, picture
from nnx.benchmarks.report.losses import losses
from nnx.benchmarks.report.scale_tables import law_table, scale_tables, teacher_tables
from nnx.benchmarks.report.sources import COMMANDS, KINDS, Source, commit, hardware
from nnx.benchmarks.report.study import Study
from nnx.benchmarks.report.tables import Table
from nnx.benchmarks.report.throughput import Series, series_of
from nnx.benchmarks.report.wording import count, percent, rate, seconds
from nnx.errors import MissingDependencyError

TITLE = "Scale drives deep learning, measured"
# The sections of each kind of record, for the list of what is not there.
_SECTIONS: Mapping[str, str] = {
    "scale": "Accuracy over the amount of data; The laws",
    "bench": "Throughput",
    "laws": "The laws: the slope beside 4/d",
    "peers": "Beside other libraries",
}


@dataclass
class Section:
    """A part of the page.

    Attributes
    ----------
    id, title, intro : str
    sentences : list of str
        What it comes to.
    pictures, tables : lists
        In this order on the page.
    """

    id: str
    title: str
    intro: str = ""
    sentences: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.sentences or self.pictures or self.tables)


@dataclass(frozen=True)
class Page:
    """The report, ready to be written.

    Attributes
    ----------
    html : str
    pictures : list of Picture
    tables : list of Table
        All that the page shows.
    headlines : list of str
    """

    html: str
    pictures: list[Picture]
    tables: list[Table]
    headlines: list[str]


def build(sources: Sequence[Source]) -> Page:
    """Draw and write the page of these records.

    Raises
    ------
    MissingDependencyError
        When Jinja or matplotlib is not installed.
    """
    template = _template()
    kinds = {kind: [source for source in sources if source.kind == kind] for kind in KINDS}
    studies = [Study(source) for source in kinds["scale"]]
    studies = [study for study in studies if study.cells]
    series = series_of(kinds["bench"])
    headlines = [*map(learning.headline, studies[:1]), *_throughput_headline(series)]
    sections = [
        _performance(studies),
        _throughput(series, kinds["bench"]),
        _peers(kinds["peers"]),
        _laws(studies, kinds["laws"]),
        _tables(kinds, studies, series),
    ]
    sections = [section for section in sections if section]
    html = template.render(
        title=TITLE,
        headlines=headlines,
        sections=sections,
        places=[_place(source) for source in _one_for_each_place(sources)],
        environments=[_facts(source, "environment") for source in _one_for_each_place(sources)],
        settings=[_facts(source, "settings") for source in sources],
        absent=[(_SECTIONS[kind], *COMMANDS[kind]) for kind in KINDS if not kinds[kind]],
        palette=list(zip(PALETTE, DARK_PALETTE, strict=True)),
    )
    pictures = [drawn for section in sections for drawn in section.pictures]
    shown = [table for section in sections for table in section.tables]
    return Page(html, pictures, shown, headlines)


def _template() -> Any:
    """The template, with everything that is put into it escaped."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as error:
        raise MissingDependencyError("jinja2", "report", "the report") from error
    here = files("nnx.benchmarks.report")
    environment = Environment(
        loader=FunctionLoader(lambda name: (here / name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _draw(charts: Iterable[Chart]) -> list[Picture]:
    return [picture(chart) for chart in paired(charts)]


# -- sections -------------------------------------------------------------------------------------


def _performance(studies: Sequence[Study]) -> Section:
    section = Section("performance", "Accuracy over the amount of data")
    several = len(studies) > 1
    for study in studies:
        name = study.source.label or study.task["title"]
        for sentence in learning.order_at_the_ends(study):
            section.sentences.append(f"{name}: {sentence}" if several else sentence)
    section.pictures = _draw([*learning.charts(studies), *learning.cost_charts(studies)])
    return section


def _throughput_headline(series: Sequence[Series]) -> list[str]:
    """The fastest step of the grid, and how near it came to its products."""
    steps = [
        (one, cell)
        for one in series
        for cell in one.part("grid")
        if cell.pass_ == throughput.main_pass(one.part("grid"))
    ]
    if not steps:
        return []
    one, top = max(steps, key=lambda pair: pair[1].gflop_per_second)
    where = f" on {one.name}" if len(series) > 1 else ""
    return [
        f"At its best{where} a {TITLES[top.pass_]} takes {rate(top.examples_per_second)} "
        f"examples/s through {count(top.n_h)} hidden units (m = {count(top.m)}): "
        f"{count(top.gflop_per_second)} GFLOP/s, "
        f"{percent(top.share)} of the speed of its matrix products alone."
    ]


def _throughput(series: Sequence[Series], sources: Sequence[Source]) -> Section:
    section = Section(
        "throughput",
        "Throughput",
        "How many examples a second go through a network, what limits that, and where the time "
        "goes. Every limit was measured in the same run on the same machine.",
    )
    if any(one.part(part) for one in series for part in ("grid", "widths", "depth", "dtype")):
        parts = (throughput.charts, machine.charts, variants.charts)
        section.pictures = _draw(chart for charts in parts for chart in charts(series))
    for source in sources:
        for part, reason in source.record.findings.reasons.items():
            where = f" ({source.label})" if source.label else ""
            section.sentences.append(f"Not measured{where}: {part}, since {reason}.")
    return section


def _peers(sources: Sequence[Source]) -> Section:
    return Section(
        "peers",
        "Beside other libraries",
        "The same network, weights, data and batch in every library, one after the other.",
        pictures=_draw(peers.charts(sources)),
    )


def _laws(studies: Sequence[Study], teachers: Sequence[Source]) -> Section:
    section = Section(
        "laws",
        "The laws",
        "How the error falls with data and size, as laws that predict what was not measured.",
        pictures=_draw(laws.charts(studies, teachers)),
    )
    for study in studies:
        section.sentences += _consequences(study)
    if studies:
        section.tables.append(law_table(studies))
    return section


def _consequences(study: Study) -> Iterator[str]:
    """What follows from the laws, in the record's own sentences."""
    label = f"{study.source.label}: " if study.source.label else ""
    found = study.plain["consequences"]
    for name in ("overtakes", "data_needed", "best_size"):
        yield from (f"{label}{one['sentence']}" for one in found[name])
    joint = study.plain["laws"].get("joint") or {}
    if laws.joint_law(study) is None and joint.get("reason"):
        yield f"{label}No joint law in m and N: {joint['reason']}."


def _tables(
    kinds: Mapping[str, Sequence[Source]], studies: Sequence[Study], series: Sequence[Series]
) -> Section:
    section = Section("tables", "Tables", "Every number; each table is also a CSV file.")
    found = losses(series, kinds["peers"], studies)
    if found.rows:
        section.tables.append(found)
    if studies:
        section.tables += scale_tables(studies)
    if kinds["bench"]:
        section.tables += throughput_tables(kinds["bench"])
    if kinds["peers"]:
        section.tables += peers_tables(kinds["peers"])
    if kinds["laws"]:
        section.tables += teacher_tables(kinds["laws"])
    return section


# -- environment and settings ---------------------------------------------------------------------


def _one_for_each_place(sources: Sequence[Source]) -> list[Source]:
    """One record for each environment; what changes from minute to minute does not count."""
    passing = ("date", "load_average", "devices", "blas", "variables")
    known: dict[str, Source] = {}
    # The one that tells of the most devices stands for its place.
    for source in sorted(sources, key=lambda source: -len(source.devices)):
        lasting = {k: v for k, v in source.environment.items() if k not in passing}
        known.setdefault(repr((source.path.parent, sorted(lasting.items()))), source)
    return [source for source in sources if any(source is one for one in known.values())]


def _place(source: Source) -> dict[str, Any]:
    """Where and when, for the top of the page."""
    return {
        "label": "" if any(source.place in line for line in hardware(source)) else source.place,
        "hardware": hardware(source),
        "date": str(source.environment.get("date", ""))[:10],
        "commit": commit(source.environment),
    }


def _facts(source: Source, name: str) -> dict[str, Any]:
    """A member of a record as rows of a name and a value."""
    rows = list(_flat("", source.plain[name]))
    took = (source.plain.get("times") or {}).get("seconds")
    if name == "settings" and took:
        rows.append(("measuring took", seconds(took)))
    title = ": ".join(filter(None, (source.label, f"{source.path.name} ({source.schema})")))
    return {"title": title if name == "settings" else source.place, "rows": rows}


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Nested values as (a.b.c, text)."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}" if name else str(key), inner)
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _flat(f"{name}[{index}]", item)
    elif isinstance(value, list):
        yield name, ", ".join(_plain(item) for item in value) or "none"
    else:
        yield name, _plain(value)


def _plain(value: Any) -> str:
    if value is None or value == {}:
        return "–"
    if isinstance(value, list):
        return "-".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
