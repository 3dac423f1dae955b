"""The probe of the fast floor: every question has an answer, and what fails is written down."""

import json
from pathlib import Path

import pytest

from nnx.backends import Backend
from nnx.benchmarks import probe

Output = pytest.CaptureFixture[str]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes for a test, and a clock by which no launch needs repeating."""
    from host_gpu.streams import Clock

    monkeypatch.setattr(Clock, "cost", staticmethod(lambda name: 5.0))
    monkeypatch.setattr(probe, "INPUTS", 12)
    shapes = {"hidden": (128, 24, 16), "1 output": (8, 24, 16)}
    monkeypatch.setattr(probe, "SHAPES", shapes)
    monkeypatch.setattr(probe.Probe.products, "__defaults__", (tuple(shapes),))
    monkeypatch.setattr(probe.Probe.steps, "__defaults__", (((8, 16, 1), (8, 8, 2)),))
    monkeypatch.setattr(probe, "SMALLEST", (4, 4, 1))
    monkeypatch.setattr(probe, "REPLAYS", 3)
    monkeypatch.setattr(probe, "GRAPHS", (1, 3))
    monkeypatch.setattr("nnx.graph_program._STEPS", 2)
    monkeypatch.setattr(probe, "environment", lambda devices: {"devices": devices})


@pytest.mark.usefixtures("small")
def test_every_question_is_answered(gpu_backend: Backend, tmp_path: Path, capsys: Output) -> None:
    assert probe._report(gpu_backend, tmp_path) == 0
    record = json.loads((tmp_path / "probe.json").read_text())
    assert record["schema"] == "nnx-probe/1"
    assert record["failed"] == {}
    assert len(record["products"]) == 5 * 2 * (3 + 8)
    plain = [row for row in record["products"] if row["epilogue"] == "DEFAULT"]
    assert all(row["algorithms"] and row["nodes"] and row["ms"] > 0 for row in plain)
    assert [row["depth"] for row in record["steps"]] == [1] * 4 + [2] * 4
    assert all(row["us"] > 0 and row["us_products"] > 0 for row in record["steps"])
    assert [row["steps_per_graph"] for row in record["smallest"]] == [1, 3]
    assert set(record["habits"]["runs_repeat_bit_by_bit"]) == set(probe.PRECISIONS[1:])
    shown = capsys.readouterr().out
    assert "products have algorithms" in shown
    assert "runs_repeat_bit_by_bit" in shown


@pytest.mark.usefixtures("small")
def test_what_fails_is_written_down(
    host_backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: probe.Probe) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(probe.Probe, "smallest", fail)
    assert probe._report(host_backend, tmp_path) == 1
    record = json.loads((tmp_path / "probe.json").read_text())
    assert record["failed"] == {"smallest": "RuntimeError: no such thing"}
    assert record["steps"]


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: Output) -> None:
    assert probe.main(["--device", "cpu", "--out", str(tmp_path)]) == 1
    assert "no fast floor to ask about: device 'cpu' is not" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
