"""The JSON record of `nnx bench`, "nnx-bench/2": written whole or not at all, checked when read.

The first form, "nnx-bench/1", had the grid alone; it can still be read.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast, get_args

from nnx.benchmarks.cell import LIMITS, NETWORK, Cell, Part, Pass, Timing
from nnx.benchmarks.fields import Field, read_json
from nnx.benchmarks.findings import Findings
from nnx.benchmarks.settings import Settings
from nnx.errors import DataError

SCHEMA, FIRST_SCHEMA = "nnx-bench/2", "nnx-bench/1"


@dataclass(frozen=True)
class Record:
    """A sweep as it is kept.

    Attributes
    ----------
    settings : Mapping[str, Any]
        The fields of `Settings`, as plain JSON values.
    environment : Mapping[str, Any]
        What `environment` told when the sweep ran.
    cells : Sequence[Cell]
        Every cell of every part, measured or skipped.
    findings : Findings
        What was measured beside the cells; empty for an "nnx-bench/1".
    seconds : float or None
        How long the measuring took; None where the file does not tell.
    """

    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    cells: Sequence[Cell]
    findings: Findings = field(default_factory=Findings)
    seconds: float | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        environment: Mapping[str, Any],
        cells: Sequence[Cell],
        findings: Findings | None = None,
        seconds: float | None = None,
    ) -> "Record":
        """Make the record of what has just been measured."""
        return cls(asdict(settings), environment, tuple(cells), findings or Findings(), seconds)

    def part(self, name: Part) -> tuple[Cell, ...]:
        """The cells of one part: "grid", "widths", "depth" or "dtype"."""
        return tuple(cell for cell in self.cells if cell.part == name)


def write_record(record: Record, path: str | Path) -> Path:
    """Write `record` to `path`, whole or not at all."""
    return write_json(
        path,
        {
            "schema": SCHEMA,
            "settings": record.settings,
            "environment": record.environment,
            "cells": [cell.to_json() for cell in record.cells],
            **record.findings.to_json(),
            "times": {"seconds": record.seconds},
        },
    )


def read_record(path: str | Path) -> Record:
    """Read a record back.

    Raises
    ------
    DataError
        When the file is not such a record, naming the file and the field at fault.
    """
    top = read_json(path)
    schema = top.get("schema", str)
    if schema.value not in (SCHEMA, FIRST_SCHEMA):
        raise schema.error(f"wanted {SCHEMA!r} or {FIRST_SCHEMA!r}, got {schema.value!r}")
    first = schema.value == FIRST_SCHEMA
    return Record(
        settings=top.get("settings", dict).value,
        environment=top.get("environment", dict).value,
        cells=tuple(_read_cell(cell, first) for cell in top.get("cells", list).items()),
        findings=Findings() if first else Findings.read(top),
        seconds=None if first else _read_seconds(top.get("times", dict)),
    )


def write_json(path: str | Path, plain: Mapping[str, Any]) -> Path:
    """Write JSON to `path`, whole or not at all."""
    text = json.dumps(plain, indent=1, allow_nan=False) + "\n"
    return write_whole(path, text.encode())


def write_whole(path: str | Path, data: bytes) -> Path:
    """Write a file through a temporary one beside it, which replaces it in one stroke.

    Raises
    ------
    DataError
        When the folder cannot be made or written into.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):  # where there is no folder there is no temporary file
            temporary.unlink(missing_ok=True)
    return path


def _read_seconds(times: Field) -> float | None:
    return None if times.maybe("seconds", float) is None else times.positive("seconds")


def _read_cell(cell: Field, first: bool) -> Cell:
    """Read one cell; the derived numbers in the file are for people and are computed anew."""
    measured = cell.text("status", ("measured", "skipped")) == "measured"
    timings = {}
    if measured:
        found = cell.get("timings", dict)
        network, other = LIMITS.values()
        names = (NETWORK, network, *([other] if other in found.value else []))
        timings = {name: _read_timing(found.get(name, dict)) for name in names}
    return Cell(
        device=cell.text("device"),
        dtype=cell.text("dtype"),
        pass_=cast(Pass, cell.text("pass", get_args(Pass))),
        m=cell.count("m"),
        n_h=cell.count("n_h"),
        layers=cell.count("layers"),
        flop=cell.count("flop"),
        bytes_needed=cell.count("bytes_needed"),
        part="grid" if first else cast(Part, cell.text("part", get_args(Part))),
        timings=timings,
        reason="" if measured else cell.text("reason"),
    )


def _read_timing(timing: Field) -> Timing:
    """Read the samples of one contender: positive, finite, at least one."""
    return Timing(timing.count("repeats"), timing.samples("seconds_per_call"))
