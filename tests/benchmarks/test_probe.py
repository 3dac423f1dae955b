"""The probe of the fast floor: every question has an answer, and each is written when found."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnx.backends import Backend
from nnx.benchmarks import probe, questions
from nnx.benchmarks.probe import cases, count

Output = pytest.CaptureFixture[str]
SMALL = {"m": (8,), "hidden": (16, 8)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes for a test, and a clock by which no launch needs repeating."""
    from host_gpu.streams import Clock

    monkeypatch.setattr(Clock, "cost", staticmethod(lambda name: 5.0))
    monkeypatch.setattr(questions, "INPUTS", 12)
    shapes = {"hidden": (128, 24, 16), "1 output": (8, 24, 16)}
    monkeypatch.setattr(questions, "SHAPES", shapes)
    monkeypatch.setattr(questions, "SMALLEST", (4, 4, 1))
    monkeypatch.setattr(questions, "REPLAYS", 3)
    monkeypatch.setattr(questions, "GRAPHS", (1, 3))
    monkeypatch.setattr("nnx.graph_program._STEPS", 2)
    monkeypatch.setattr(probe, "environment", lambda devices: {"devices": devices})


@pytest.mark.usefixtures("small")
def test_every_question_is_answered(gpu_backend: Backend, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "probe.json"
    assert probe._report(gpu_backend, path, cases(**SMALL)) == 0
    record = json.loads(path.read_text())
    assert record["schema"] == "nnx-probe/2"
    assert record["failed"] == {}
    assert len(record["products"]) == 5 * 2 * (3 + 8)
    for row in record["products"]:
        if row["epilogue"] == "DEFAULT":
            assert row["algorithms"]
            assert row["nodes"]
            assert row["ms"] > 0
        else:
            assert row["plain_ms"] > 0
    assert [(row["m"], row["n_h"]) for row in record["steps"]] == [(8, 16)] * 4 + [(8, 8)] * 4
    assert all(row["us"] > 0 and row["us_products"] > 0 for row in record["steps"])
    assert [row["steps_per_graph"] for row in record["smallest"]] == [1, 3]
    habits = record["habits"]
    assert {habit: tuple(found) for habit, found in habits.items()} == questions.HABITS
    chosen = habits["chosen_by"]["float32"]
    assert len(chosen["launched_ms"]) == len(chosen["in_graph_ms"]) > 0
    found = sum(len(record[question]) for question in ("products", "steps", "smallest"))
    assert found + sum(map(len, habits.values())) == count(**SMALL) == record["asked"]
    shown = capsys.readouterr().out
    assert "products float32 hidden TN DEFAULT: " in shown
    assert "habits runs_repeat_bit_by_bit tf32: True" in shown


@pytest.fixture
def lt(host_backend: Backend) -> Any:
    """The host's cuBLASLt, to be changed."""
    from host_gpu import HostLt

    api = HostLt()
    host_backend.use_cublaslt(api)  # type: ignore[attr-defined]
    yield api
    host_backend.use_cublaslt(HostLt())  # type: ignore[attr-defined]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("bit", [False, True])
def test_the_habits_are_those_of_the_library(host_backend: Backend, lt: Any, bit: bool) -> None:
    lt.mask_at_zero, lt.algorithms, lt.refuses = bit, 3, lambda number: number == 1
    lt.missing = lambda epilogue, kind: epilogue == "RELU_AUX_BIAS" and kind == 2  # float16
    asked = questions.Probe(host_backend)
    found = {p: asked.habits("relu_mask_at_zero", p) for p in questions.PRECISIONS}
    assert found == {**dict.fromkeys(questions.PRECISIONS, int(bit)), "float16": None}
    found = {p: asked.habits("relu_of_nan", p) for p in questions.PRECISIONS}
    # The mended NaN of the host's cuBLASLt; in bfloat16 a number too, not its bits.
    assert found == {**dict.fromkeys(questions.PRECISIONS, "0.0"), "float16": None}
    by = asked.habits("chosen_by", "float32")
    assert [[ms is None for ms in times] for times in by.values()] == [[False, True, False]] * 2


@pytest.mark.usefixtures("small")
def test_a_product_without_algorithms_is_a_row(
    host_backend: Backend, lt: Any, tmp_path: Path, capsys: Output
) -> None:
    lt.algorithms = 3
    lt.missing = lambda epilogue, kind: epilogue == "BGRADB"
    assert probe._report(host_backend, tmp_path / "p.json", cases(["products"], ["hidden"])) == 0
    rows = json.loads((tmp_path / "p.json").read_text())["products"]
    assert {row["algorithms"] for row in rows if row["epilogue"] == "BGRADB"} == {0}
    assert {row["algorithms"] for row in rows if row["epilogue"] != "BGRADB"} == {3}
    assert "products tf32 hidden NT BGRADB: no algorithm" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_what_fails_is_written_down_and_the_others_are_asked(
    host_backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = questions.Probe.smallest

    def fail(self: questions.Probe, steps: int) -> Any:
        if steps == 1:
            raise RuntimeError("no such thing")
        return real(self, steps)

    monkeypatch.setattr(questions.Probe, "smallest", fail)
    asked = cases(["smallest", "steps"], m=(8,), hidden=(8,))
    assert probe._report(host_backend, tmp_path / "probe.json", asked) == 1
    record = json.loads((tmp_path / "probe.json").read_text())
    assert record["failed"] == {"smallest 1": "RuntimeError: no such thing"}
    assert [row["steps_per_graph"] for row in record["smallest"]] == [3]
    assert len(record["steps"]) == 4


@pytest.mark.usefixtures("small")
def test_ctrl_c_loses_the_row_that_was_asked_for(
    host_backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    """As does a kill: at each row, those before it are in the file."""
    path, seen, real = tmp_path / "steps.json", [], questions.Probe.steps

    def interrupted(self: questions.Probe, *case: Any) -> Any:
        rows = json.loads(path.read_text()).get("steps", []) if path.exists() else []
        seen.append(len(rows))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(self, *case)

    monkeypatch.setattr(questions.Probe, "steps", interrupted)
    monkeypatch.setattr(probe, "get_backend", lambda name: host_backend)
    words = ["--ask", "steps", "--m", "8", "--hidden", "8", "--record", "steps.json"]
    assert probe.main([*words, "--out", str(tmp_path)]) == 130
    assert seen == [0, 1, 2]
    record = json.loads(path.read_text())
    assert [row["precision"] for row in record["steps"]] == ["float32", "tf32"]
    assert record["asked"] == 4
    assert f"what was found so far is in {tmp_path}" in capsys.readouterr().err


def test_the_rows_of_a_plan_are_counted_without_a_gpu() -> None:
    assert count(["smallest"]) == 5
    assert count(["habits"]) == 5 + 5 + 4 + 1
    assert count(["products"]) == 3 * count(["products"], ["hidden"]) == 3 * 5 * 11
    assert count(["steps"]) == 8 * 4
    assert count(["steps"], m=(1, 2, 3), hidden=(4,)) == 3 * 4
    assert count(["steps"], hidden=(4,)) == len(probe.M) * 4
    assert count() == 5 + 15 + 165 + 32


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "no fast floor to ask about: device 'cpu' is not"),
        (["--device", "cpu", "--hidden", "8", "0"], "--hidden: wanted whole numbers from 1 on"),
    ],
)
def test_what_cannot_be_asked(
    words: list[str], message: str, tmp_path: Path, capsys: Output
) -> None:
    assert probe.main([*words, "--out", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
