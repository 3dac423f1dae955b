"""The report's files: everything is made first, then each file is written whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnx.benchmarks.record import write_whole
from nnx.benchmarks.report.page import Page, build
from nnx.benchmarks.report.sources import Source, find_sources
from nnx.errors import DataError

SCHEMA = "nnx-report/1"
FIGURES = "figures"


def write_report(paths: Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Write the report of the records that `paths` name.

    Parameters
    ----------
    paths : sequence of path
        Records, and folders that hold them.
    out : path, optional
        The HTML file; by default report.html beside the first record. Beside it come data.json
        and a CSV file for each table, and figures/ with each figure as SVG and PNG.

    Returns
    -------
    Path
        The HTML file.

    Raises
    ------
    DataError
        For a file that is no record, named with the field; nothing is written then. For a name
        that does not end in .html.
    MissingDependencyError
        When Jinja or matplotlib is not installed.
    """
    first = Path(paths[0])
    beside = first if first.is_dir() else first.parent
    path = beside / "report.html" if out is None else Path(out)
    if path.suffix != ".html" or path.is_dir():
        raise DataError(f"--out {path}: wanted the name of a file that ends in .html")
    sources = find_sources(paths)
    page = build(sources)
    contents: dict[Path, bytes] = {}
    for picture in page.pictures:
        stem = path.parent / FIGURES / picture.chart.name
        contents[stem.with_suffix(".svg")] = picture.svg
        contents[stem.with_suffix(".png")] = picture.png
    for table in page.tables:
        contents[path.parent / f"{table.name}.csv"] = table.csv()
    contents[path.parent / "data.json"] = _json(sources, page)
    contents[path] = page.html.encode()
    for name, content in contents.items():
        write_whole(name, content)
    return path


def _json(sources: Sequence[Source], page: Page) -> bytes:
    """All numbers: the records as they are, and what the page says of them."""
    plain: dict[str, Any] = {
        "schema": SCHEMA,
        "headlines": page.headlines,
        "figures": [
            {"name": one.chart.name, "title": one.chart.title, "alt": one.chart.alt}
            for one in page.pictures
        ],
        "records": [
            {"file": one.path.name, "label": one.label, "record": one.plain} for one in sources
        ],
    }
    return (json.dumps(plain, indent=1, ensure_ascii=False) + "\n").encode()
