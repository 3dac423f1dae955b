"""A record survives the way to the disk and back; a file that is none is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnx.benchmarks import Cell, Record, read_record, write_record
from nnx.benchmarks.record import SCHEMA, write_whole
from nnx.errors import DataError


def test_a_record_comes_back_as_it_was(
    tmp_path: Path, make_record: Callable[..., Record], make_cell: Callable[..., Cell]
) -> None:
    record = make_record()
    skipped = make_cell(m=10**9, timings={}, reason="needs more memory")
    record = Record(record.settings, record.environment, (*record.cells, skipped))
    path = write_record(record, tmp_path / "new" / "folder" / "throughput.json")
    found = read_record(path)
    assert found.cells == record.cells
    assert found.environment == record.environment
    assert found.settings == json.loads(json.dumps(record.settings))
    assert [file.name for file in path.parent.iterdir()] == ["throughput.json"]


def change(plain: Any, way: str, value: Any) -> None:
    """Put `value` at the end of a way such as "cells.0.m"; None removes what is there."""
    *before, last = (int(step) if step.isdigit() else step for step in way.split("."))
    for step in before:
        plain = plain[step]
    if value is None:
        del plain[last]
    else:
        plain[last] = value


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        ("schema", "nnx-bench/9", r"schema: wanted 'nnx-bench/1', got 'nnx-bench/9'"),
        ("schema", None, r"schema: is missing"),
        ("cells", {}, r"cells: wanted list"),
        ("cells.0", 3, r"cells\[0\]: wanted an object, got 3"),
        ("cells.0.m", 0, r"cells\[0\]\.m: wanted a number from 1 on, got 0"),
        ("cells.0.m", True, r"cells\[0\]\.m: wanted int, got True"),
        ("cells.0.pass", "sideways", r"cells\[0\]\.pass: wanted one of forward, backward, step"),
        ("cells.0.status", "unknown", r"cells\[0\]\.status: wanted one of measured, skipped"),
        ("cells.0.timings.nnx", None, r"cells\[0\]\.timings\.nnx: is missing"),
        ("cells.0.timings.nnx.seconds_per_call", [], r"seconds_per_call: wanted at least one"),
        (
            "cells.0.timings.nnx.seconds_per_call",
            [1.0, -1],
            r"seconds_per_call\[1\]: wanted seconds above 0, got -1",
        ),
    ],
)
def test_a_field_that_is_wrong_is_named(
    tmp_path: Path, make_record: Callable[..., Record], way: str, value: Any, message: str
) -> None:
    path = write_record(make_record(), tmp_path / "record.json")
    plain = json.loads(path.read_text())
    change(plain, way, value)
    path.write_text(json.dumps(plain))
    with pytest.raises(DataError, match=rf"record\.json: .*{message}"):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not whole JSON"),
        (b"\x89PNG\r\n", "not whole JSON"),
        (b'{"schema": "nnx-be', "not whole JSON"),
        (b"[1, 2]", r"the file: wanted an object, got \[1, 2\]"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(text)
    with pytest.raises(DataError, match=rf"other\.json: .*{message}|other\.json: {message}"):
        read_record(path)


def test_a_file_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.json: cannot be read: No such file"):
        read_record(tmp_path / "absent.json")


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_whole(tmp_path / "kept.json", b"before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match=r"kept\.json: cannot be written: No space left"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_says_which_schema_it_follows(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    plain = json.loads(write_record(make_record(), tmp_path / "r.json").read_text())
    assert plain["schema"] == SCHEMA
    assert plain["settings"]["m"] == [16, 256]
