"""The benchmark of the estimators, on a point that takes no time."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")

from nnx.benchmarks import estimators
from nnx.benchmarks.estimators import Point, Result, count, geometric_mean, main, points


def test_the_grid() -> None:
    grid = points((100, 7), ((10,), (4, 4)), ("adam",), "float32")
    assert len(grid) == 4
    assert grid[0] == Point(100, (10,), "adam", 20, "float32")


def test_ratios() -> None:
    result = Result(grid := points((7,), ((4,),), ("sgd",), "float64")[0])
    assert result.point is grid
    result.fit = {"nnx": [1.0, 2.0, 9.0], "sklearn": [4.0, 4.0, 4.0]}
    assert result.ratio("fit") == 2
    assert math.isnan(result.ratio("first_fit"))
    assert geometric_mean([2, 8, math.nan]) == pytest.approx(4)


def test_a_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "record.json"
    main(["--rows", "60", "--hidden", "4", "--solver", "adam", "--samples", "1", "--out", str(out)])
    assert "geometric mean" in capsys.readouterr().out
    (found,) = json.loads(out.read_text())["results"]
    assert found["difference"] < 1e-9
    assert set(found["fit"]) == {"nnx", "sklearn"}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    """Measure nothing: the points that would have been, and processes that are not started."""
    found: list[Point] = []

    def measure(point: Point, processes: dict[str, Any], samples: int) -> Result:
        found.append(point)
        seconds = {"nnx": [1.0], "sklearn": [2.0]}
        return Result(point, fit=seconds, predict=seconds, difference=0.0)

    monkeypatch.setattr(estimators, "measure", measure)
    monkeypatch.setattr(estimators, "_Process", Process)
    Process.open = 0
    return found


class Process:
    """A library's process, as far as its life goes."""

    open = 0

    def __init__(self, library: str, device: str) -> None:
        Process.open += 1

    def close(self) -> None:
        Process.open -= 1


GRID = ["--rows", "10", "20", "--hidden", "4", "--solver", "adam", "sgd"]


def test_the_points_of_a_plan_are_counted(measured: list[Point]) -> None:
    assert main([]) == 0
    assert len(measured) == count() == 4 * 3 * 3
    assert count(rows=(100_000,), hidden=((512, 512),), solvers=("adam",)) == 1
    assert Process.open == 0


def test_no_point_begins_after_the_limit(
    measured: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out = tmp_path / "record.json"
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(estimators.time, "monotonic", lambda: next(clock))
    assert main([*GRID, "--limit", "2.5", "--out", str(out)]) == 0
    assert [(point.rows, point.solver) for point in measured] == [(10, "adam"), (10, "sgd")]
    assert len(json.loads(out.read_text())["results"]) == 2
    assert "2 points were left out: 2.5 s were over" in capsys.readouterr().out


def test_a_limit_that_leaves_no_time_is_no_error(measured: list[Point], capsys: Any) -> None:
    assert main([*GRID, "--limit", "1e-9"]) == 0
    assert measured == []
    assert "4 points were left out" in capsys.readouterr().out


def test_ctrl_c_loses_the_point_under_way(
    measured: list[Point], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    out, real, seen = tmp_path / "record.json", estimators.measure, []

    def interrupted(*arguments: Any) -> Result:
        seen.append(len(json.loads(out.read_text())["results"]) if out.exists() else 0)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(estimators, "measure", interrupted)
    assert main([*GRID, "--out", str(out)]) == 130
    assert seen == [0, 1, 2]
    assert len(json.loads(out.read_text())["results"]) == 2
    assert Process.open == 0
    assert "the record holds the points before" in capsys.readouterr().err


def test_a_process_is_ended_in_the_middle_of_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    process = estimators._Process("sklearn", "cpu")
    point = {"rows": 1000, "hidden": [4], "solver": "sgd", "iterations": 10**9}
    process.ask(point=point)
    assert process._process.stdin is not None
    process._process.stdin.write('{"call": "fit", "repeats": 1}\n')
    process._process.stdin.flush()
    process.close()
    assert process._process.returncode not in (0, None)
