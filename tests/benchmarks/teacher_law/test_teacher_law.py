"""The teacher law: settings, one student, slopes, the record, the command."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nnx.benchmarks.scale import CellStore
from nnx.benchmarks.scale.one_thread import one_thread
from nnx.benchmarks.teacher_law import (
    Settings,
    Stage,
    read_teacher_law,
    run_teacher_law,
    write_teacher_law,
)
from nnx.benchmarks.teacher_law import __main__ as command
from nnx.benchmarks.teacher_law.cell import _examples, _student, compute_cell, keys_of
from nnx.benchmarks.teacher_law.settings import parameters_of, units
from nnx.benchmarks.teacher_law.study import slope_of
from nnx.errors import DataError, NnxError, UnknownNameError

TINY: dict[str, Any] = {
    "d": (3, 8),
    "widths": (0, 1, 2),
    "teachers": 2,
    "students": 1,
    "stages": (Stage(60, 100, 0.01), Stage(20, 400, 0.001)),
    "pool": 1000,
    "m_test": 500,
}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """As the study computes every cell, and the examples that its students share."""
    _examples.cache_clear()
    with one_thread():
        yield


def test_the_widths_are_the_authors() -> None:
    assert [units(3, i) for i in range(7)] == [8, 10, 13, 17, 22, 29, 38]
    assert [units(8, i) for i in range(7)] == [15, 19, 25, 32, 42, 55, 72]
    assert units(11, 0) == 22
    assert parameters_of(8) == 8 * 20 + 8 + 8 * 8 + 8 + 8 + 1
    assert Settings().to_json()["examples"] == 21_000_000
    assert Settings.full().to_json()["examples"] == 140_000_000


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"d": (21,)}, "d: wanted whole numbers up to 20, got 21"),
        ({"d": ()}, "d: wanted at least one"),
        ({"widths": (0, 7, 1)}, "widths: wanted whole numbers up to 6, got 7"),
        ({"widths": (0, 1)}, "widths: wanted at least 3 for a slope, got 2"),
        ({"students": 0}, "students"),
        ({"stages": ()}, "stages: wanted at least one"),
        ({"stages": ((1, 100, 0.0),)}, "stages: rate"),
        ({"pool": 50}, "stages: a batch of 100 is more than pool = 50"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(NnxError, match=match):
        Settings(**{**TINY, **changes})


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'float32'"):
        Settings(dtype="float23")


def test_the_teacher_sees_d_inputs_only() -> None:
    X, Y = _examples(3, 0, 600, 1, "float64")
    assert X.shape == (20, 600)
    assert Y.shape == (1, 600)
    assert -0.5 <= X.min() < -0.49 < 0.49 < X.max() < 0.5
    # So a polynomial of 3 inputs says nearly all of it, and one of 3 others nothing.

    def unsaid(x: Any) -> float:
        P = np.stack([x[0] ** i * x[1] ** j * x[2] ** k for i, j, k in np.ndindex(5, 5, 5)]).T
        rest = Y[0] - P @ np.linalg.lstsq(P, Y[0])[0]
        return float(rest.var() / Y.var())

    assert unsaid(X[:3]) < 0.05
    assert unsaid(X[3:6]) > 0.5


def test_the_student_starts_as_the_authors_do() -> None:
    net = _student({**keys_of(Settings(d=(8,)))[0], "n": 400})
    b = np.concatenate([net.parameters[f"b{layer}"].ravel() for layer in (1, 2)])
    assert b.std() == pytest.approx(0.5, rel=0.1)
    assert net.parameters["W2"].std() == pytest.approx(1 / 20, rel=0.05)
    assert net.n_parameters == parameters_of(400)


def test_a_student_learns_and_depends_on_its_key_alone() -> None:
    longer = {**TINY, "stages": (Stage(2000, 100, 0.01), Stage(200, 400, 0.001))}
    first, *_, last = keys_of(Settings(**longer))
    result = compute_cell(first)
    compute_cell(last)
    assert compute_cell(first) == result
    assert result["relative_loss"] < 1
    assert compute_cell({**first, "seed": 5}) != result


def test_a_training_that_leaves_the_numbers_has_no_loss() -> None:
    key = {**keys_of(Settings(**TINY))[0], "stages": [[5, 100, 1e30]]}
    with np.errstate(all="ignore"):
        assert compute_cell(key) == {"loss": None, "relative_loss": None}


def students(alpha: float, scatter: float, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "teacher": teacher,
            "n": n,
            "parameters": n * n,
            "loss": float((1 + teacher) * n ** (-2 * alpha) * np.exp(scatter * rng.normal())),
        }
        for teacher in range(2)
        for n in (8, 10, 13, 17, 22, 29, 38)
        for _ in range(3)
    ]


def test_slopes_are_found_with_their_intervals() -> None:
    exact = slope_of(4, students(0.9, 0.0))
    assert exact["alpha"] == pytest.approx(0.9)
    assert exact["alpha_best"] == pytest.approx(0.9)
    assert exact["four_over_alpha"] == pytest.approx(4 / 0.9)
    assert exact["four_over_d"] == 1.0
    covered = 0
    for seed in range(200):
        low, high = slope_of(4, students(0.9, 0.2, seed))["interval"]
        covered += low <= 0.9 <= high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_failed_student_is_left_out_and_too_few_have_no_slope() -> None:
    cells = students(0.9, 0.0)
    cells[3] = {**cells[3], "loss": None}
    found = slope_of(4, cells)
    assert found["students"] == len(cells) - 1
    assert found["alpha"] == pytest.approx(0.9)
    assert slope_of(4, cells[:2])["alpha"] is None
    assert slope_of(4, [{**cell, "loss": None} for cell in cells])["interval"] is None


@pytest.mark.slow
def test_the_study_is_the_same_by_one_and_two_workers_and_goes_on(tmp_path: Any) -> None:
    settings = Settings(**TINY)
    one = run_teacher_law(settings, CellStore(tmp_path / "one"))
    store = CellStore(tmp_path / "two")
    done = keys_of(settings)[0]
    store.put(done, {"loss": 1.0, "relative_loss": 2.0})  # finished before
    two = run_teacher_law(settings, store, workers=2)
    assert two.cells[0]["loss"] == 1.0
    assert list(two.cells)[1:] == list(one.cells)[1:]
    path = write_teacher_law(one, tmp_path / "teacher-law.json")
    assert read_teacher_law(path) == one


@pytest.fixture
def record(tmp_path: Any) -> Any:
    """A record written by the command."""
    small = ["--d", "3", "--teachers", "1", "--students", "1", "--workers", "1"]
    original = Settings.quick
    stages = {"stages": ((5, 50, 0.01),), "pool": 100, "m_test": 50, "widths": (0, 1, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settings, "quick", lambda **given: original(**stages, **given))
        assert command.main(["--quick", "--out", str(tmp_path), *small]) == 0
    return tmp_path / "teacher-law.json"


def test_the_command_writes_a_record_and_a_table(record: Any, capsys: Any) -> None:
    law = read_teacher_law(record)
    assert [cell["n"] for cell in law.cells] == [13, 10, 8]
    assert law.settings["counted"].startswith("all weights and biases")
    assert len(law.times["cells"]) == 3


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda plain: plain.update(schema="nnx-scale/1"), "schema: wanted 'nnx-teacher-law/1'"),
        (lambda plain: plain["cells"][1].update(loss=-1), r"cells\[1\].loss: wanted a number abo"),
        (lambda plain: plain["cells"][0].pop("loss"), r"cells\[0\].loss: is missing"),
        (lambda plain: plain["cells"][0].pop("n"), r"cells\[0\].n: is missing"),
        (lambda plain: plain["slopes"][0].update(interval=[1]), r"slopes\[0\].interval: wanted tw"),
        (lambda plain: plain["slopes"][0].update(alpha="x"), r"slopes\[0\].alpha: wanted float"),
        (lambda plain: plain.pop("times"), "times: is missing"),
    ],
)
def test_a_foreign_record_is_refused_and_kept(record: Any, change: Any, match: str) -> None:
    plain = json.loads(record.read_text())
    change(plain)
    record.write_text(json.dumps(plain))
    with pytest.raises(DataError, match=f"{record.name}: {match}"):
        read_teacher_law(record)
    before = record.read_bytes()
    assert command.main(["--quick", "--out", str(record.parent), "--workers", "1"]) == 1
    assert record.read_bytes() == before
