"""The JSON record of a sweep, "nnx-bench/1": written whole or not at all, checked when read."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

from nnx.benchmarks.cell import LIMITS, NETWORK, Cell, Pass, Timing
from nnx.benchmarks.settings import Settings
from nnx.errors import DataError

SCHEMA = "nnx-bench/1"


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
        Every cell of the grid, measured or skipped.
    """

    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    cells: Sequence[Cell]

    @classmethod
    def of(
        cls, settings: Settings, environment: Mapping[str, Any], cells: Sequence[Cell]
    ) -> "Record":
        """Make the record of a sweep that has just run."""
        return cls(asdict(settings), environment, tuple(cells))


def write_record(record: Record, path: str | Path) -> Path:
    """Write `record` to `path`, whole or not at all."""
    return write_json(
        path,
        {
            "schema": SCHEMA,
            "settings": record.settings,
            "environment": record.environment,
            "cells": [cell.to_json() for cell in record.cells],
        },
    )


def read_record(path: str | Path) -> Record:
    """Read a record back.

    Raises
    ------
    DataError
        When the file is not such a record, naming the file and the field at fault.
    """
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not whole JSON (truncated or another file?): {error}") from error
    top = _Field(str(path), "", plain)
    schema = top.get("schema", str)
    if schema.value != SCHEMA:
        raise schema.error(f"wanted {SCHEMA!r}, got {schema.value!r}")
    return Record(
        settings=top.get("settings", dict).value,
        environment=top.get("environment", dict).value,
        cells=tuple(_read_cell(cell) for cell in top.get("cells", list).items()),
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


@dataclass(frozen=True)
class _Field:
    """A value of the file with the way to it, for errors that name both."""

    file: str
    name: str
    value: Any

    def error(self, problem: str) -> DataError:
        """Make the error about this field."""
        return DataError(f"{self.file}: {self.name or 'the file'}: {problem}")

    def get(self, key: str, kind: type) -> "_Field":
        """Return the member `key`, which must be there and of this kind."""
        if not isinstance(self.value, dict):
            raise self.error(f"wanted an object, got {self.value!r:.60}")
        name = f"{self.name}.{key}" if self.name else key
        if key not in self.value:
            raise _Field(self.file, name, None).error("is missing")
        return _Field(self.file, name, self.value[key]).of_kind(kind)

    def of_kind(self, kind: type) -> "_Field":
        """Return this field if its value is of `kind`; an int is a float too, a bool neither."""
        kinds = (int, float) if kind is float else kind
        if not isinstance(self.value, kinds) or isinstance(self.value, bool):
            raise self.error(f"wanted {kind.__name__}, got {self.value!r:.60}")
        return self

    def items(self) -> "list[_Field]":
        """List the members of a list."""
        return [
            _Field(self.file, f"{self.name}[{index}]", item)
            for index, item in enumerate(self.value)
        ]

    def count(self, key: str) -> int:
        """Return the member `key`, a whole number from 1 on."""
        found = self.get(key, int)
        if found.value < 1:
            raise found.error(f"wanted a number from 1 on, got {found.value}")
        return int(found.value)

    def text(self, key: str, among: Sequence[str] = ()) -> str:
        """Return the member `key`, a string, one of `among` where that is given."""
        found = self.get(key, str)
        if among and found.value not in among:
            raise found.error(f"wanted one of {', '.join(among)}, got {found.value!r}")
        return str(found.value)


def _read_cell(cell: _Field) -> Cell:
    """Read one cell; the derived numbers in the file are for people and are computed anew."""
    measured = cell.text("status", ("measured", "skipped")) == "measured"
    timings = {}
    if measured:
        found = cell.get("timings", dict)
        timings = {
            name: _read_timing(found.get(name, dict)) for name in (NETWORK, *LIMITS.values())
        }
    return Cell(
        device=cell.text("device"),
        dtype=cell.text("dtype"),
        pass_=cast(Pass, cell.text("pass", get_args(Pass))),
        m=cell.count("m"),
        n_h=cell.count("n_h"),
        layers=cell.count("layers"),
        flop=cell.count("flop"),
        bytes_needed=cell.count("bytes_needed"),
        timings=timings,
        reason="" if measured else cell.text("reason"),
    )


def _read_timing(timing: _Field) -> Timing:
    """Read the samples of one contender: positive, finite, at least one."""
    samples = timing.get("seconds_per_call", list)
    if not samples.value:
        raise samples.error("wanted at least one sample, got none")
    for sample in samples.items():
        value = sample.of_kind(float).value
        if not (math.isfinite(value) and value > 0):
            raise sample.error(f"wanted seconds above 0, got {value!r}")
    return Timing(timing.count("repeats"), tuple(map(float, samples.value)))
