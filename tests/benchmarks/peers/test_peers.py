"""The comparison with peers, on the contenders that every development environment has."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnx.benchmarks.peers import Case, Comparison, Outcome, compare, fits, installed, steps
from nnx.benchmarks.peers.child import prepare
from nnx.benchmarks.peers.contenders import CONTENDERS, LIBRARIES, ON_GPU
from nnx.cli import main
from nnx.errors import DataError, UnknownNameError

STEP = Case("step", (8, 5, 3), 6, 6)
HERE, _ = installed(list(CONTENDERS))


def test_the_grid_and_the_fits() -> None:
    assert len(steps()) == 25
    assert steps((64,), (512,), layers=4)[0].n == (784, 512, 512, 512, 512, 10)
    assert [fit.rows for fit in fits()] == [1347, 100_000, 100_000]


def test_the_grid_of_a_gpu() -> None:
    grid = steps(device="cuda", precision="bfloat16")
    assert len(grid) == 16
    assert grid[-1].name == "step 784-8192-10, m = 65536, bfloat16 on cuda"
    assert {case.precision for case in fits("cuda", "tf32")} == {"tf32"}


def test_who_is_compared_on_a_gpu() -> None:
    assert set(ON_GPU) == {
        "nnx", "matmul", "matmul, other order", "JAX", "PyTorch", "PyTorch compiled",
    }  # fmt: skip


def test_a_library_without_a_gpu_says_so() -> None:
    (case,) = steps((4,), (5,), device="cuda")
    with pytest.raises(NotImplementedError, match="sklearn is not compared on cuda"):
        prepare("scikit-learn", case)


def test_flop_are_those_of_the_five_products() -> None:
    n_x, n_h, n_y, m = 784, 64, 10, 32
    assert steps((m,), (n_h,))[0].flop == 2 * m * n_h * (2 * n_x + 3 * n_y)


def test_a_case_survives_json() -> None:
    assert Case.from_json(json.loads(json.dumps(STEP.to_json()))) == STEP


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in HERE if not name.startswith("matmul")])
def test_every_library_takes_the_same_steps(name: str) -> None:
    _, costs = prepare(name, STEP)
    _, wanted = prepare("nnx", STEP)
    np.testing.assert_allclose(costs, wanted, rtol=1e-4)
    assert costs[2] < costs[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in HERE if not name.startswith("matmul")])
def test_every_library_fits(name: str) -> None:
    case = Case("fit", (8, 20, 3), 20, 70, 30, 0.01)
    _, (cost,) = prepare(name, case)
    assert cost < 0.5


def test_a_comparison_in_processes() -> None:
    (found,) = compare(
        [STEP], ["nnx", "matmul", "scikit-learn"], samples=2, sample_seconds=0.001, rest_seconds=0
    )
    assert set(found.outcomes) == {"nnx", "matmul", "scikit-learn"}
    assert all(len(o.samples) == 2 and not o.problem for o in found.outcomes.values())
    assert found.fastest_peer == "scikit-learn"
    assert found.ratio("nnx") == 1
    assert found.share == pytest.approx(found.seconds("matmul") / found.seconds("nnx"))
    assert json.loads(json.dumps(found.to_json()))["fastest_peer"] == "scikit-learn"


def test_what_failed_or_disagreed_does_not_count() -> None:
    good, bad = Outcome((2.0, 1.0, 3.0)), Outcome((0.1,), problem="its cost is 2 where nnx has 1")
    found = Comparison(STEP, {"nnx": good, "JAX": bad})
    assert good.median == 2
    assert math.isnan(found.seconds("JAX"))
    assert found.fastest_peer == ""
    assert math.isnan(found.share)
    assert found.to_json()["outcomes"]["JAX"]["median"] is None


def test_a_process_that_ends_is_a_problem_of_its_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONTENDERS, "gone", CONTENDERS["nnx"])
    monkeypatch.setitem(LIBRARIES, "gone", "nnx")
    (found,) = compare([STEP], ["nnx", "gone"], samples=1, sample_seconds=0.001, rest_seconds=0)
    assert "ended" in found.outcomes["gone"].problem or "KeyError" in found.outcomes["gone"].problem
    assert found.outcomes["nnx"].samples


def test_the_command_stops_at_its_limit_and_keeps_what_it_has(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("nnx.cli.peers.installed", lambda names: (["nnx"], []))
    command = ["peers", "--m", "4,8", "--hidden", "5", "--no-fits", "--samples", "1"]
    assert main([*command, "--limit", "0", "--out", str(tmp_path)]) == 0
    assert "stopped after 0 s: 1 of 2 cases" in capsys.readouterr().out
    record = json.loads((tmp_path / "peers.json").read_text())
    assert [c["case"]["m"] for c in record["comparisons"]] == [4]


def test_the_command_names_numbers_that_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--m", "64,x"]) == 2
    assert "wanted positive numbers such as 64,1024, got '64,x'" in capsys.readouterr().err


def test_another_cost_is_a_problem() -> None:
    from nnx.benchmarks.peers.compare import _disagreement

    assert _disagreement(STEP, (1.0, 0.9), (1.0, 0.9)) == ""
    assert "0.95 where nnx has 0.9" in _disagreement(STEP, (1.0, 0.95), (1.0, 0.9))
    assert "nan" in _disagreement(STEP, (math.nan,), (1.0,))


def test_unknown_peers_and_samples() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown peer 'JAXX' .*known: JAX"):
        installed(["JAXX"])
    with pytest.raises(DataError, match="samples must be at least 1, got 0"):
        next(compare([STEP], ["nnx"], samples=0))


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr("nnx.cli.peers.steps", lambda *_, **__: [STEP])
    fit = Case("fit", (8, 20, 3), 20, 70, 3)
    monkeypatch.setattr("nnx.cli.peers.fits", lambda *_: [fit])
    monkeypatch.setattr("nnx.cli.peers.installed", lambda names: (["nnx", "matmul"], ["Keras"]))
    assert main(["peers", "--quick", "--samples", "1", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "step 8-5-3, m = 6" in text
    assert "missing: Keras" in text
    record = json.loads((tmp_path / "peers.json").read_text())
    assert record["schema"] == "nnx-peers/2"
    assert [c["case"]["kind"] for c in record["comparisons"]] == ["fit", "step"]
