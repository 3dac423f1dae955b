"""What a table is: every number, as it is shown and as it goes into a CSV file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nnx.benchmarks.report.sources import Source

Format = Callable[[Any], str]


def _text(value: Any) -> str:
    return str(value)


@dataclass(frozen=True)
class Column:
    """A column: its heading, with the unit, and how its values are shown."""

    head: str
    show: Format = _text

    @property
    def numeric(self) -> bool:
        """Whether values stand at the right."""
        return self.show is not _text


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    name : str
        Stem of its CSV file.
    title, note : str
    columns : sequence of Column
    rows : sequence of sequences
        Values as they are; None where there is none.
    """

    name: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]

    def shown(self) -> list[list[str]]:
        """The rows as text; "–" where there is no value."""
        return [
            ["–" if _absent(v) else c.show(v) for c, v in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def csv(self) -> bytes:
        """The table as CSV with full precision; empty where there is no value."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.head for column in self.columns])
        writer.writerows([["" if _absent(v) else v for v in row] for row in self.rows])
        return buffer.getvalue().encode()


def _absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def record_column(sources: Sequence[Source]) -> list[Column]:
    """A column for the record, where there are several."""
    return [Column("record")] if any(source.label for source in sources) else []


def labels(source: Source, columns: Sequence[Column]) -> list[str]:
    """The value in that column, where there is one."""
    return [source.label] if columns else []
