"""The report without a browser: what stands in it, what it leaves out, what it refuses."""

import csv
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from nnx.benchmarks.report import find_sources, write_report
from nnx.cli import main
from nnx.errors import DataError, MissingDependencyError
from report_records import MAKERS, bench_record, peers_record, scale_record, write

Plain = dict[str, Any]
SECTIONS = {"performance", "throughput", "peers", "laws", "tables", "environment"}
FIGURES = {
    "performance", "cost", "throughput-m", "throughput-hidden", "gflops", "roofline",
    "where-time-goes", "memory", "depth", "dtype", "widths", "vectorized", "peers-steps",
    "peers-fits", "law-data", "law-size", "teacher-loss", "teacher-slope",
}  # fmt: skip


class Reader(HTMLParser):
    """Ids, figures with their descriptions, addresses and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.described: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        if found.get("role") == "img":
            self.described.append(found["aria-label"] or "")
        self.addresses += [found[name] or "" for name in ("href", "src") if name in found]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory, records: dict[str, Plain]) -> Path:
    """The report of one record of each kind."""
    folder = tmp_path_factory.mktemp("whole")
    for name, plain in records.items():
        write(folder, name, plain)
    return write_report([folder])


def read(path: Path) -> Reader:
    return Reader(path.read_text(encoding="utf-8"))


# -- the page -------------------------------------------------------------------------------------


def test_every_section_and_figure_is_there(report: Path) -> None:
    page = read(report)
    assert set(page.ids) >= SECTIONS | {f"figure-{name}" for name in FIGURES}
    assert "absent" not in page.ids
    assert len(page.ids) == len(set(page.ids))


def test_the_first_words_are_the_headline_and_the_first_figure_is_the_lectures(
    report: Path,
) -> None:
    page = read(report)
    order = [page.text.index(text) for text in (
        "With 131,072 examples the large network gets", "size decides", "The lecture's sketch",
        "Examples per second over m", "Beside other libraries", "The laws",
        "Where nnx comes second", "Settings of",
    )]  # fmt: skip
    # The contents name the sections, too, so only what stands in them is in order.
    assert order[:4] == sorted(order[:4])
    figures = [name for name in page.ids if name.startswith("figure-")]
    assert figures[0] == "figure-performance"


def test_every_figure_says_in_words_what_it_shows(report: Path) -> None:
    page = read(report)
    assert len(page.described) == 2 * len(FIGURES)
    assert all(len(words) > 60 and re.search(r"\d", words) for words in page.described)


def test_the_page_needs_nothing_else(report: Path) -> None:
    page = read(report)
    assert not page.tags & {"script", "iframe", "img", "object", "embed", "audio", "video"}
    html = report.read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)", html)
    for address in page.addresses:
        assert not address.startswith(("http", "//", "/")), address
        local = address.partition("#")[0]
        assert not local or local == "data:," or (report.parent / local).is_file(), address
    ids = set(page.ids)
    assert all(a[1:] in ids for a in page.addresses if a.startswith("#"))


def test_what_comes_from_records_is_escaped(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    for raw in ("<Processor>", "<endless>", "<failed>", "<too long>"):
        assert raw not in html
        assert raw.replace("<", "&lt;").replace(">", "&gt;") in html


def test_colours_follow_the_readers_setting(report: Path) -> None:
    html = report.read_text(encoding="utf-8")
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 2 * len(FIGURES)
    for drawing in drawings:
        fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", drawing))
        assert "var(--ink" in drawing
        assert not fixed & {"#000000", "#ffffff", "#0072b2"}
        assert "<text" in drawing
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_every_axis_has_a_label(report: Path) -> None:
    """With its unit or its meaning; axes of names need none."""
    for name in FIGURES - {"where-time-goes", "vectorized", "peers-fits", "dtype"}:
        svg = (report.parent / "figures" / f"{name}.svg").read_text(encoding="utf-8")
        labels = re.findall(r">([^<>]*(?:\([^<>]+\)|loss|test|slope)[^<>]*)</text>", svg)
        assert len(labels) >= 2, name


def test_files_beside_the_page(report: Path, records: dict[str, Plain]) -> None:
    for name in FIGURES:
        stem = report.parent / "figures" / name
        assert stem.with_suffix(".svg").read_text(encoding="utf-8").startswith("<svg")
        assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        assert "var(" not in stem.with_suffix(".svg").read_text(encoding="utf-8")
    data = json.loads((report.parent / "data.json").read_text(encoding="utf-8"))
    assert data["schema"] == "nnx-report/1"
    assert {one["name"] for one in data["figures"]} == FIGURES
    assert [r["record"] for r in data["records"] if r["file"] == "scale.json"] == [records["scale"]]
    with (report.parent / "scale-cells.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    cells = records["scale"]["cells"]
    assert len(rows) == len(cells)
    assert float(rows[0]["test error"]) == cells[0]["test_error"]
    assert [row["because"] for row in rows] == [cell["reason"] for cell in cells]


def test_where_nnx_comes_second_is_listed(report: Path) -> None:
    with (report.parent / "losses.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["against"], row["cell"]) for row in rows] == [("JAX", "step 784-512-10, m = 1024")]
    assert float(rows[0]["ratio"]) == pytest.approx(0.95)


def test_a_smaller_network_ahead_at_the_largest_m_is_listed_and_said(tmp_path: Path) -> None:
    record = scale_record(seeds=2)
    last = max(record["settings"]["m"])
    for cell in record["cells"]:
        if (cell["contender"], cell["m"]) == ("small", last):
            cell["test_error"] = 0.001
    page = read(write_report([write(tmp_path, "scale", record)]))
    assert "a larger network errs more" in page.text
    assert "the small network leads (99.9 %), not the order of size" in page.text
    assert "size decides" not in page.text


def test_the_same_records_make_the_same_files(tmp_path: Path, records: dict[str, Plain]) -> None:
    pages = []
    for name in ("one", "two"):
        folder = tmp_path / name
        write(folder, "teacher-law", records["teacher-law"])
        page = write_report([folder])
        pages.append({path.name: path.read_bytes() for path in folder.rglob("*.*g")})
        pages[-1]["html"] = page.read_bytes()
    assert pages[0] == pages[1]


# -- parts ----------------------------------------------------------------------------------------

ABSENT = {
    "throughput": "nnx bench --out bench-out",
    "scale": "nnx scale --out bench-out",
    "teacher-law": "python -m nnx.benchmarks.teacher_law --out bench-out",
    "peers": "nnx peers --out bench-out",
}


@pytest.mark.parametrize("name", MAKERS)
def test_one_record_alone_and_the_commands_for_the_others(
    name: str, tmp_path: Path, records: dict[str, Plain]
) -> None:
    page = read(write_report([write(tmp_path, name, records[name])]))
    missing = page.text.partition("No record of these was given")[2]
    commands = {command for other, command in ABSENT.items() if other != name}
    assert all(f"{command} measures" in missing for command in commands)
    assert f" {ABSENT[name]} measures" not in missing


def test_the_first_form_of_a_throughput_record(tmp_path: Path) -> None:
    record = bench_record()
    cells = [{k: v for k, v in c.items() if k != "part"} for c in record["cells"]]
    grid = [c for c, whole in zip(cells, record["cells"], strict=True) if whole["part"] == "grid"]
    old = {"schema": "nnx-bench/1", "settings": record["settings"], "cells": grid}
    old["environment"] = record["environment"]
    page = read(write_report([write(tmp_path, "throughput", old)]))
    assert {"figure-throughput-m", "figure-gflops"} <= set(page.ids)
    assert not {"figure-roofline", "figure-depth"} & set(page.ids)


def test_nothing_measured_is_a_page_with_tables_only(tmp_path: Path) -> None:
    record = bench_record()
    record["cells"] = [cell for cell in record["cells"] if cell["status"] == "skipped"]
    record |= {name: [] for name in ("peaks", "operations", "memory", "vectorized", "energy")}
    page = read(write_report([write(tmp_path, "throughput", record)]))
    assert "would take about 99 s <too long>" in page.text
    assert not [name for name in page.ids if name.startswith("figure-")]


def test_a_study_without_laws_says_why(tmp_path: Path, records: dict[str, Plain]) -> None:
    record = json.loads(json.dumps(records["scale"]))
    nothing = {"is_power_law": False, "reason": "too few points", "held_out": None, "region": None}
    for law in record["laws"]["per_contender"]:
        law |= {**dict.fromkeys(("alpha", "beta", "gamma")), **nothing}
    record["laws"]["joint"] |= {**dict.fromkeys(("E", "A", "a", "B", "b")), **nothing}
    record["learning_rates"][0] |= {"chosen": None}
    record["learning_rates"][0]["tried"][0]["validation_error"] = None
    page = read(write_report([write(tmp_path, "scale", record)]))
    assert "too few points" in page.text
    assert "No joint law in m and N: too few points." in page.text
    assert "figure-law-data" in page.ids
    assert "figure-law-size" not in page.ids


def test_a_task_with_squared_errors(tmp_path: Path, records: dict[str, Plain]) -> None:
    record = json.loads(json.dumps(records["scale"]))
    record["task"] |= {"metric": "mean squared error", "chance": 1.0}
    page = read(write_report([write(tmp_path, "scale", record)]))
    assert "mean squared error, the medium network" in page.text
    assert "of the test examples right" not in page.text


# -- side by side ---------------------------------------------------------------------------------


def test_two_machines_side_by_side(tmp_path: Path) -> None:
    for name, model, devices in (("a", "One", ("cpu",)), ("b", "Two", ("cpu", "cuda:0"))):
        write(tmp_path / name, "throughput", bench_record(devices, model=model))
        write(tmp_path / name, "scale", scale_record(seeds=2, model=model))
    out = tmp_path / "both.html"
    page = read(write_report([tmp_path / "a", tmp_path / "b"], out))
    assert "Speed-up over One, 2 cores, cpu" in page.text
    assert "Two, 2 cores + A GPU, cuda:0: between 0.68 and 143 times." in page.text
    assert "At n_h = 16 it is ahead from m = 64 on." in page.text
    assert "slower than the CPU" in page.text
    assert "figure-energy" in page.ids
    assert page.text.count("Environment: ") == 2


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        (({"model": "One"}, {"model": "Two"}), ["One, 2 cores", "Two, 2 cores"]),
        (({"commit": "aaaaaaaa"}, {"commit": "bbbbbbbb"}), ["aaaaaaa", "bbbbbbb"]),
        (({}, {}), ["a", "b"]),
    ],
)
def test_a_label_tells_records_apart(
    changes: tuple[Plain, Plain], labels: list[str], tmp_path: Path
) -> None:
    paths = [
        write(tmp_path / name, "peers", peers_record(**change))
        for name, change in zip("ab", changes, strict=True)
    ]
    assert [source.label for source in find_sources(paths)] == labels


def test_records_of_one_kind_in_one_folder_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for name in ("peers", "peers-depth4"):
        write(tmp_path, name, peers_record())
    assert [source.label for source in find_sources([tmp_path])] == ["peers", "peers-depth4"]


def test_a_record_named_twice_counts_once_and_folders_of_folders_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "machine", "peers", peers_record())
    assert len(find_sources([path, tmp_path, tmp_path / "machine"])) == 1


# -- what is refused ------------------------------------------------------------------------------


def spoil(*way: str | int, value: Any = None) -> Callable[[Plain], None]:
    """Set a value deep in a record."""

    def change(plain: Any) -> None:
        for key in way[:-1]:
            plain = plain[key]
        plain[way[-1]] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("scale", spoil("cells", 3, "m", value="many"), "cells[3].m"),
        ("scale", spoil("task", "metric", value="beauty"), "task.metric"),
        ("scale", spoil("times", "cells", value=[]), "times.cells"),
        ("throughput", spoil("cells", 0, "timings", "nnx", value=None), "cells[0].timings.nnx"),
        ("throughput", spoil("peaks", 0, "samples", value=3), "peaks[0].samples"),
        ("throughput", spoil("environment", "commit", value="abc"), "environment.commit"),
        ("peers", spoil("comparisons", 1, "case", "n", value=[784]), "comparisons[1].case.n"),
        ("peers", spoil("comparisons", 0, "outcomes", "nnx", "samples", value=[-1]),
         "comparisons[0].outcomes.nnx.samples[0]"),
        ("teacher-law", spoil("slopes", 0, "alpha", value="steep"), "slopes[0].alpha"),
        ("teacher-law", spoil("cells", 2, "parameters", value=0), "cells[2].parameters"),
        ("teacher-law", spoil("schema", value="nnx-teacher-law/9"), "schema"),
    ],
)  # fmt: skip
def test_a_bad_record_is_named_with_its_field_and_nothing_is_written(
    name: str,
    change: Callable[[Plain], None],
    field: str,
    folder: Path,
    records: dict[str, Plain],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "report.html").write_text("the last one")
    spoiled = json.loads(json.dumps(records[name]))
    change(spoiled)
    path = write(folder, name, spoiled)
    assert main(["report", str(path)]) == 1
    error = capsys.readouterr().err
    assert f"{path}: {field}: " in error
    assert (folder / "report.html").read_text() == "the last one"
    assert not (folder / "figures").exists()
    assert not (folder / "data.json").exists()


@pytest.mark.parametrize("text", ['{"schema": "nnx-sc', "", "\x00\xff", "[1, 2]", "{}"])
def test_a_truncated_or_foreign_file_is_an_error(text: str, folder: Path) -> None:
    path = folder / "broken.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=re.escape(f"{path}: ")):
        write_report([path])
    assert not (folder / "report.html").exists()


def test_a_truncated_record_in_a_folder_is_an_error_and_other_json_is_passed_over(
    folder: Path,
) -> None:
    (folder / "package.json").write_text('{"name": "x"}')
    assert len(find_sources([folder])) == 4
    scale = folder / "scale.json"
    scale.write_text(scale.read_text()[:1000])
    with pytest.raises(DataError, match=r"scale\.json: not whole JSON"):
        write_report([folder])


def test_a_folder_without_records_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no record in this folder; these write them: nnx"):
        write_report([tmp_path])
    with pytest.raises(DataError, match=r"gone\.json: cannot be read"):
        write_report([tmp_path / "gone.json"])


def test_a_page_must_be_html(folder: Path) -> None:
    with pytest.raises(DataError, match=r"--out .*page\.pdf: wanted the name of a file"):
        write_report([folder], folder / "page.pdf")


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_named_with_its_extra(
    library: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match=r"nnx-learn\[report\]"):
        write_report([folder])
    assert not (folder / "report.html").exists()


def test_the_command_names_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    for name in ("throughput", "scale", "peers"):
        (folder / f"{name}.json").unlink()
    assert main(["report"]) == 0
    assert capsys.readouterr().out == f"report:  {Path('bench-out/report.html')}\n"
    assert main(["report", "--out", "there/mine.html", "bench-out/teacher-law.json"]) == 0
    assert Path("there/mine.html").is_file()
    assert Path("there/figures/teacher-slope.png").is_file()
