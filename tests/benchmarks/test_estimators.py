"""The benchmark of the estimators, on a point that takes no time."""

import json
import math
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

from nnx.benchmarks.estimators import Point, Result, geometric_mean, main, points


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
