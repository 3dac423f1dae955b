"""Training runs on two devices: the record, the tolerance and the exit status."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nnx.benchmarks import agreement
from nnx.benchmarks.agreement import CASES, Comparison, compare, count, main, train


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cost_falls_and_the_same_seed_gives_the_same_run(
    case: agreement.Case, dtype: str
) -> None:
    costs = train(case, "cpu", dtype)
    assert costs[-1] < costs[0]
    assert train(case, "cpu", dtype) == costs
    assert train(case, "cpu", dtype, seed=1) != costs


def test_every_device_agrees_with_the_cpu(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "STEPS", 8)
    for found in compare("cpu", device):
        assert found.agrees, f"{found.case}, {found.dtype}: {found.difference:.1e}"


@pytest.mark.parametrize(
    ("reference", "other", "difference"),
    [
        ((2.0, 1.0), (2.0, 1.0), 0.0),
        ((2.0, 1.0), (2.0, 1.25), 0.25),
        ((2.0, 1.0), (2.0,), float("inf")),
        ((2.0, 1.0), (2.0, float("nan")), float("inf")),
    ],
)
def test_the_difference_is_relative_and_infinite_for_what_cannot_be_compared(
    reference: tuple[float, ...], other: tuple[float, ...], difference: float
) -> None:
    assert Comparison("a case", "float32", reference, other).difference == difference


@pytest.mark.parametrize(
    ("dtype", "change", "agrees"),
    [
        ("float64", 1e-11, True),
        ("float64", 1e-9, False),
        ("float32", 5e-5, True),
        ("float32", 5e-4, False),
    ],
)
def test_the_tolerance_is_that_of_the_dtype(dtype: str, change: float, agrees: bool) -> None:
    assert Comparison("a case", dtype, (1.0,), (1.0 + change,)).agrees is agrees


def test_the_record_is_written_and_the_status_is_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(agreement, "STEPS", 4)
    monkeypatch.setattr(agreement, "CASES", CASES[-1:])
    assert main(["--device", "cpu", "--out", str(tmp_path)]) == 0
    plain = json.loads((tmp_path / "agreement.json").read_text())
    assert plain["schema"] == "nnx-agreement/1"
    assert plain["agrees"] is True
    assert plain["settings"] == {"reference": "cpu", "device": "cpu", "seed": 0, "steps": 4}
    assert [found["dtype"] for found in plain["comparisons"]] == ["float64", "float32"]
    assert all(found["difference"] == 0 for found in plain["comparisons"])
    assert str(tmp_path / "agreement.json") in capsys.readouterr().out


def test_each_comparison_is_written_when_it_is_found_and_ctrl_c_loses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, seen = tmp_path / "agreement.json", []

    def interrupted(case: agreement.Case, device: str, dtype: str, seed: int) -> Any:
        plain = json.loads(path.read_text()) if path.exists() else {"comparisons": []}
        seen.append(len(plain["comparisons"]))
        assert not plain.get("agrees")  # a part of the curves is no agreement
        if len(seen) == 6:
            raise KeyboardInterrupt
        return 1.0, 0.5

    monkeypatch.setattr(agreement, "train", interrupted)
    assert main(["--device", "cpu", "--out", str(tmp_path)]) == 130
    assert seen == [0, 0, 1, 1, 2, 2]
    plain = json.loads(path.read_text())
    assert plain["schema"] == "nnx-agreement/1"
    assert [found["case"] for found in plain["comparisons"]] == [case.name for case in CASES[:2]]
    out, error = capsys.readouterr()
    assert out.count("  ok\n") == 2
    assert f"what was found so far is in {tmp_path}" in error


def test_the_comparisons_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count() == 10
    monkeypatch.setattr(agreement, "train", lambda *_: (1.0,))
    assert len(list(compare("cpu", "cpu"))) == count()


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_a_curve_out_of_tolerance_is_recorded_and_the_status_is_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    wrong: float,
) -> None:
    right = Comparison("a case", "float64", (2.0, 1.0), (2.0, 1.0))
    bad = replace(right, other=(2.0, wrong))
    monkeypatch.setattr(agreement, "compare", lambda *_: [right, bad])
    assert main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    plain = json.loads((tmp_path / "agreement.json").read_text())
    assert plain["agrees"] is False
    assert [found["agrees"] for found in plain["comparisons"]] == [True, False]
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "cpuu"], "did you mean 'cpu'"),
        (["--device", "cpu", "--seed", "-1"], "seed: wanted a number from 0 on, got -1"),
    ],
)
def test_an_error_is_one_line_and_the_status_is_1(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
