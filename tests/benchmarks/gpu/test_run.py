"""The run of a call: limits, interruption, evidence; with small programs as its parts."""

import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nnx.benchmarks.gpu import run as module
from nnx.benchmarks.gpu.parts import Call, Part
from nnx.benchmarks.gpu.run import Run

PREFLIGHT = """
import pathlib, sys
pathlib.Path(sys.argv[1], "preflight.json").write_text('{"a": 1}')
"""
# Writes a row, waits, and writes another when it is interrupted, as a benchmark does.
ROWS = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1], "rows.txt")
path.write_text("first")
try:
    time.sleep(60)
except KeyboardInterrupt:
    path.write_text("first, interrupted")
    sys.exit(130)
"""
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1], "child").write_text(str(child.pid))
time.sleep(60)
"""


def program(name: str, code: str, seconds: float = 20, **more: Any) -> Part:
    return Part(name, seconds, command=("-c", textwrap.dedent(code), "{work}", "{out}"), **more)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, Any]]:
    """Run parts as a call; return the status and the record."""
    monkeypatch.setattr(module, "_GRACE", 1.0)

    def run(*parts: Part, seconds: float = 60, earlier: Path | None = None) -> tuple[int, Any]:
        call = Call("check", seconds, parts)
        status = Run(call, tmp_path / "out", tmp_path / "work", earlier).run()
        return status, json.loads((tmp_path / "out" / "check.json").read_text())

    return run


def test_parts_run_in_order_and_leave_few_files(start: Any, tmp_path: Path) -> None:
    status, record = start(
        program("preflight", PREFLIGHT, needed=True),
        program("one", "print('so many words')", keeps={"preflight.json": "kept.json"}),
        program("two words", "import sys; sys.exit(3)"),
        program("three", "import pathlib, sys; pathlib.Path(sys.argv[2], 'own.json').touch()"),
    )
    assert status == 1
    assert [(part["name"], part["outcome"]) for part in record["parts"]] == [
        ("preflight", "ok"), ("one", "ok"), ("two words", "failed with status 3"), ("three", "ok"),
    ]  # fmt: skip
    assert record["preflight"] == {"a": 1}
    kept = {path.name for path in (tmp_path / "out").iterdir()}
    assert kept == {"check.json", "check-logs.tar.gz", "kept.json", "own.json"}
    with tarfile.open(tmp_path / "out" / "check-logs.tar.gz") as archive:
        log = archive.extractfile("one.log")
        assert log is not None
        assert log.read() == b"so many words\n"
        assert "two-words.log" in archive.getnames()


def test_a_part_at_its_limit_is_interrupted_and_its_rows_are_kept(
    start: Any, tmp_path: Path
) -> None:
    status, record = start(program("rows", ROWS, 4), program("next", "print(1)"))
    assert status == 1
    assert [part["outcome"] for part in record["parts"]] == ["out of time", "ok"]
    assert record["parts"][0]["seconds"] < 4
    assert (tmp_path / "work" / "rows.txt").read_text() == "first, interrupted"


def test_what_does_not_end_is_killed_with_what_it_started(start: Any, tmp_path: Path) -> None:
    _, record = start(program("stubborn", STUBBORN, 4))
    assert record["parts"][0]["outcome"] == "out of time"
    child = int((tmp_path / "work" / "child").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline:
        # Whoever adopts it has to see that it has ended.
        if Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{child}/stat").exists()


def test_a_part_may_take_no_more_than_the_call_has_left(start: Any) -> None:
    status, record = start(
        program("first", "import time; time.sleep(60)", 60),
        program("second", "print(1)", 20),
        seconds=4,
    )
    assert status == 1
    assert [part["outcome"] for part in record["parts"]] == ["out of time", "no time left"]


def test_nothing_follows_a_preflight_that_fails(start: Any) -> None:
    status, record = start(
        program("preflight", "print('no nvmath'); raise SystemExit(1)", needed=True),
        program("one", "print(1)"),
    )
    assert status == 1
    assert [part["outcome"] for part in record["parts"]] == ["failed with status 1", "not run"]


def test_tests_run_side_by_side_and_are_counted(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = tmp_path / "test_good.py", tmp_path / "test_bad.py"
    mark = "import pytest\npytestmark = pytest.mark.gpu\n"
    good.write_text(f"{mark}def test_one():\n    pass\ndef test_two():\n    pytest.skip('none')\n")
    bad.write_text(f"{mark}def test_three():\n    assert 1 == 2, 'so it is'\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    tests = {"good": ("test_good.py",), "bad": ("test_bad.py",)}
    status, record = start(Part("tests", 60, tests=tests))
    assert status == 1
    (part,) = record["parts"]
    assert part["outcomes"] == {"good": "ok", "bad": "failed with status 1"}
    assert part["tests"] == {"passed": 1, "skipped": 1, "failed": 1}
    assert part["skipped"] == {"none": 1}
    assert part["failed"][0]["test"] == "test_bad.py::test_three"
    assert "so it is" in part["failed"][0]["message"]
    # A later call of other tests runs it again, by this name.
    bad.write_text(f"{mark}def test_three():\n    pass\n")
    again = Part("tests", 60, tests={"good": ("test_good.py",)}, again=True)
    status, record = start(again, earlier=tmp_path / "out")
    assert status == 0
    assert record["parts"][0]["outcomes"] == {"good": "ok", "again": "ok"}
    assert record["parts"][0]["tests"] == {"passed": 2, "skipped": 1}


def test_tests_that_are_cut_off_are_counted(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (tmp_path / "test_long.py").write_text(
        "import pytest, time\npytestmark = pytest.mark.gpu\n"
        "def test_short():\n    pass\ndef test_long():\n    time.sleep(60)\n"
    )
    monkeypatch.chdir(tmp_path)
    _, record = start(Part("tests", 10, tests={"long": ("test_long.py",)}))
    (part,) = record["parts"]
    assert part["outcome"] == "out of time"
    assert part["tests"]["passed"] == 1


def test_under_a_tool(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """compute-sanitizer is given nnx's kernels alone, and the tests no memory pool."""
    part = Part("memcheck", 30, tests={"some": ("test_some.py",)}, tool="memcheck")
    monkeypatch.setattr(module, "_tools", lambda: str(tmp_path / "bin"))
    status, record = start(part)
    assert status == 1
    assert record["parts"][0]["outcome"] == "compute-sanitizer is not on this machine"
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.write_text('#!/bin/sh\necho "$@" "$NNX_SANITIZER" "$NNX_REQUIRE_GPU"\n')
    tool.chmod(0o755)
    status, record = start(part)
    assert status == 0
    said = (tmp_path / "work" / "memcheck-some.log").read_text()
    assert said.startswith("--kernel-name kns=step_ --error-exitcode 1 --tool memcheck")
    assert said.rstrip().endswith("1 1")
    assert "-m pytest test_some.py -m gpu" in said


def test_finished_cells_of_an_earlier_run_are_there_again(start: Any, tmp_path: Path) -> None:
    keep = (
        "import pathlib, sys; f = pathlib.Path(sys.argv[1], 'scale/cells'); f.mkdir(parents=True)"
    )
    start(program("scale", f"{keep}; (f / 'a.json').write_text('1')"))
    look = "import pathlib, sys; print(sorted(pathlib.Path(sys.argv[1]).rglob('*.*')))"
    start(program("look", look), earlier=tmp_path / "out")
    said = (tmp_path / "work" / "look.log").read_text()
    assert "scale/cells/a.json" in said
    assert "scale.log" not in said


def test_ctrl_c_leaves_the_evidence_and_no_process(tmp_path: Path) -> None:
    """Also where the run was started by a shell that ignores SIGINT for it."""
    code = f"""
        import pathlib, signal, sys
        from nnx.benchmarks.gpu.parts import Call, Part
        from nnx.benchmarks.gpu.run import Run
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        part = Part("stubborn", 50, command=("-c", {STUBBORN!r}, "{{work}}"))
        out = pathlib.Path(sys.argv[1])
        try:
            Run(Call("check", 60, (part,)), out / "out", out / "work").run()
        except KeyboardInterrupt:
            sys.exit(130)
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)])
    child = tmp_path / "work" / "child"
    deadline = time.monotonic() + 60
    while not (child.exists() and child.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    record = json.loads((tmp_path / "out" / "check.json").read_text())
    assert record["parts"][0]["outcome"] == "interrupted"
    stat = Path(f"/proc/{child.read_text()}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"
    assert os.path.exists(tmp_path / "out" / "check-logs.tar.gz")
