"""A record survives the way to the disk and back; a file that is none is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnx.benchmarks import Cell, Record, read_record, write_record
from nnx.benchmarks.findings import Findings
from nnx.benchmarks.record import FIRST_SCHEMA, SCHEMA, write_whole
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


def test_findings_come_back_as_they_were(
    tmp_path: Path, make_record: Callable[..., Record], findings: Findings
) -> None:
    record = replace(make_record(), findings=findings, seconds=12.5)
    found = read_record(write_record(record, tmp_path / "record.json"))
    # NaN is not equal to itself; the texts are.
    assert repr(found.findings) == repr(findings)
    assert found.seconds == 12.5


def test_the_file_has_the_derived_numbers_and_the_reasons(
    tmp_path: Path, make_record: Callable[..., Record], findings: Findings
) -> None:
    no_energy = replace(findings, energy=(), reasons={"energy": "no counter", "depth": "not asked"})
    record = replace(make_record(), findings=no_energy)
    plain = json.loads(write_record(record, tmp_path / "record.json").read_text())
    assert plain["peaks"][0]["matmul_gflop_per_second"] == 100
    assert plain["peaks"][0]["bandwidth_gb_per_second"] == 10
    assert plain["peaks"][1]["data_sheet"] is None
    assert plain["operations"][0]["operations"][1]["seconds"] is None
    assert plain["vectorized"][0]["loop_seconds"] == 2
    assert plain["energy"] == []
    assert plain["energy_reason"] == "no counter"
    assert plain["left_out"] == {"depth": "not asked"}


def test_a_record_of_the_first_form_is_read(
    tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    record = make_record()
    path = write_record(record, tmp_path / "record.json")
    plain = json.loads(path.read_text())
    old = {"schema": FIRST_SCHEMA, **{k: plain[k] for k in ("settings", "environment", "cells")}}
    for cell in old["cells"]:
        del cell["part"]
    path.write_text(json.dumps(old))
    found = read_record(path)
    assert found.cells == record.cells
    assert found.findings == Findings()
    assert found.seconds is None


def test_the_cells_of_a_part(make_record: Callable[..., Record], make_cell: Any) -> None:
    record = make_record()
    deep = make_cell(layers=8, part="depth")
    assert replace(record, cells=(*record.cells, deep)).part("depth") == (deep,)
    assert record.part("grid") == record.cells


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
        (
            "schema",
            "nnx-bench/9",
            r"schema: wanted 'nnx-bench/2' or 'nnx-bench/1', got 'nnx-bench/9'",
        ),
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
            r"seconds_per_call\[1\]: wanted a number above 0, got -1",
        ),
        ("cells.0.part", "corner", r"cells\[0\]\.part: wanted one of grid, widths, depth, dtype"),
        ("peaks", None, r"peaks: is missing"),
        ("peaks.0.samples.matmul_gflop_per_second", [], r"wanted at least one sample"),
        ("peaks.0.bandwidths.0.bytes", 0.5, r"peaks\[0\]\.bandwidths\[0\]\.bytes: wanted int"),
        ("peaks.0.data_sheet", 5, r"peaks\[0\]\.data_sheet: wanted dict, got 5"),
        ("operations.0.m", 0, r"operations\[0\]\.m: wanted a number from 1 on"),
        (
            "operations.0.operations.0.seconds",
            -1.0,
            r"operations\[0\]\.operations\[0\]\.seconds: wanted seconds from 0 on, got -1",
        ),
        ("memory.0.measured_bytes", "many", r"memory\[0\]\.measured_bytes: wanted int"),
        ("vectorized.0.samples", None, r"vectorized\[0\]\.samples: is missing"),
        ("energy.0.joules_per_example", 0, r"energy\[0\]\.joules_per_example: wanted a number"),
        ("energy_reason", 3, r"energy_reason: wanted str, got 3"),
        ("left_out", {"depth": 1}, r"left_out\.depth: wanted str, got 1"),
        ("times", None, r"times: is missing"),
        ("times.seconds", 0, r"times\.seconds: wanted a number above 0, got 0"),
    ],
)
def test_a_field_that_is_wrong_is_named(
    tmp_path: Path,
    make_record: Callable[..., Record],
    findings: Findings,
    way: str,
    value: Any,
    message: str,
) -> None:
    record = replace(make_record(), findings=findings, seconds=1.0)
    path = write_record(record, tmp_path / "record.json")
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
