"""The plan of each call: every part has tests or cases, and they fit into its time."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nnx.benchmarks.gpu import plan
from nnx.benchmarks.gpu.parts import CALLS, Call, Part
from nnx.errors import DataError

ROOT = Path(__file__).parents[3]
# No test for a GPU may need these: a machine without a network does not have them.
ABSENT = ("polars", "dask", "distributed", "autograd")


def test_the_parts_fit_into_their_calls() -> None:
    for call in CALLS.values():
        assert sum(part.seconds for part in call.parts) <= call.seconds
        names = [part.name for part in call.parts]
        assert len(set(names)) == len(names)
    assert [call.seconds for call in CALLS.values()] == [300, 390, 540]
    shorter = CALLS["more"].within(100)
    assert sum(part.seconds for part in shorter.parts) <= 100
    assert [part.name for part in shorter.parts] == [part.name for part in CALLS["more"].parts]


def test_evidence_is_few_files() -> None:
    """The record and the archive of each call, and what its parts write; at most eight."""
    for call in CALLS.values():
        records = {name for part in call.parts for name in part.keeps.values()}
        writers = [part for part in call.parts if any("{out}" in word for word in part.command)]
        assert 2 + len(records) + len(writers) <= 8, call.name


@pytest.mark.slow
def test_each_part_runs_something_where_libraries_are_missing() -> None:
    code = (
        f"import os, sys; absent = {ABSENT!r}; sys.modules.update(dict.fromkeys(absent))\n"
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    )
    collect = [sys.executable, "-P", "-c", code, "tests", "-m", "gpu", "--collect-only", "-qq"]
    done = subprocess.run(collect, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    everything = {
        line.partition(": ")[0]: int(line.rpartition(": ")[2])
        for line in done.stdout.splitlines()
        if line.startswith("tests/") and line.rpartition(": ")[2].isdigit()
    }
    assert sum(everything.values()) > 500
    # Counted as the plan does: the first two calls run all of them, but for scikit-learn's suite.
    counted = {
        name: plan.count(part)
        for name in ("check", "measure", "more")
        for part in CALLS[name].parts
        if part.tests is not None and not part.tool
    }
    suite = everything.pop("tests/accel/test_scikit_learn_suite.py")
    assert counted["more"] == suite > 0
    skipped = re.findall(r"^SKIPPED \[1\] (\S+?):", done.stdout, re.MULTILINE)
    assert skipped == ["tests/nnx/test_backward.py"]  # whose one test needs autograd
    assert counted["check"] + counted["measure"] == sum(everything.values()) + 1
    for part in CALLS["check"].parts:
        if part.tool:
            assert plan.count(part) > 5
    for call in CALLS.values():
        for part in call.parts:
            if part.tests is None:
                assert plan.count(part) >= 1, part.name


def test_a_part_without_tests_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (tmp_path / "test_cpu.py").write_text("def test_one():\n    pass\n")
    for arguments in (("test_cpu.py",), ("test_missing.py",)):
        part = Part("tests", 10, tests={"some": arguments})
        with pytest.raises(DataError, match=r"part 'tests', some: pytest test_\w+.py finds no te"):
            plan.show(Call("check", 60, (part,)))
    with pytest.raises(DataError, match="part 'none': there is nothing to run"):
        plan.show(Call("check", 60, (Part("none", 10, cases=lambda: 0),)))


def test_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    mark = "import pytest\npytestmark = pytest.mark.gpu\n"
    (tmp_path / "test_one.py").write_text(f"{mark}def test_one():\n    pass\n")
    parts = (
        Part("tests", 20, tests={"a": ("test_one.py",), "b": ("test_one.py",)}),
        Part("memcheck", 10, tests={"a": ("test_one.py",)}, tool="memcheck"),
        Part("probe", 25, cases=lambda: 7),
    )
    plan.show(Call("check", 60, parts))
    shown = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "part seconds runs",
        "tests 20 2 tests in 2 processes side by side",
        "memcheck 10 1 test under compute-sanitizer --tool memcheck",
        "probe 25 7 cases",
        "in all 55 of 60",
    ]
    with pytest.raises(DataError, match="take 55 s, more than 50"):
        plan.show(Call("check", 50, parts))
