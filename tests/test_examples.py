"""Every example runs, shows what it claims, and is listed for `nnx demo`."""

import runpy
import sys
from pathlib import Path

import pytest

from nnx import examples
from nnx.errors import MissingDependencyError, UnknownNameError
from nnx.examples import (
    deep_vs_shallow,
    digits,
    house_prices,
    linear_activations,
    logistic_vs_network,
    loop_vs_vectorized,
    zero_initialisation,
)

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
FOLDER = Path(examples.__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("device", DEVICES)
def test_the_network_learns_the_flower_and_logistic_regression_does_not(device: str) -> None:
    numbers = logistic_vs_network.main(device)
    assert 0.4 < numbers["logistic"] < 0.6
    assert numbers["network"] >= 0.9


def test_the_decision_boundaries_are_saved(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "boundaries.png"
    logistic_vs_network.main("cpu", m=20, epochs=2, plot=str(path))
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"nnx-learn\[plot\]"):
        logistic_vs_network.main("cpu", m=20, epochs=2, plot="never.png")


@pytest.mark.parametrize("device", DEVICES)
def test_the_loop_and_the_vectorized_lines_agree(device: str) -> None:
    numbers = loop_vs_vectorized.main(device, m=500)
    for version in ("loop", "vectorized", "blocks"):
        assert numbers[f"{version}_difference"] <= 1e-12
        assert numbers[f"{version}_seconds"] > 0


@pytest.mark.parametrize("device", DEVICES)
def test_zeros_keep_the_hidden_units_equal_and_random_weights_do_not(device: str) -> None:
    numbers = zero_initialisation.main(device)
    assert numbers["zeros_spread"] <= 1e-6
    assert numbers["random_spread"] > 1
    assert numbers["zeros_accuracy"] < 0.75
    assert numbers["random_accuracy"] > 0.85


@pytest.mark.parametrize("device", DEVICES)
def test_identity_layers_are_no_better_than_one_layer(device: str) -> None:
    numbers = linear_activations.main(device)
    for name in ("moons", "flower"):
        assert numbers[f"{name} difference"] <= 1e-5
        assert numbers[f"{name} identity"] <= numbers[f"{name} one layer"] + 0.05
        assert numbers[f"{name} tanh"] >= max(0.9, numbers[f"{name} identity"] + 0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_the_network_knows_house_prices_better_than_a_linear_fit(device: str) -> None:
    numbers = house_prices.main(device, m=2000, epochs=60)
    assert 0.6 < numbers["linear"] < 0.85
    assert numbers["network"] > 0.95


@pytest.mark.parametrize("n_bits", [2, 4, 8])
def test_the_written_parity_networks_are_exact_and_of_the_claimed_size(n_bits: int) -> None:
    numbers = deep_vs_shallow.main("cpu", n_bits=n_bits, runs=1, epochs=1)
    for network, units in (
        ("xor_tree", 2 * (n_bits - 1)),
        ("one_unit_per_pattern", 2 ** (n_bits - 1)),
        ("counting", n_bits),
    ):
        assert numbers[f"{network} units"] == units
        assert numbers[f"{network} accuracy"] == 1


@pytest.mark.parametrize("device", DEVICES)
def test_deep_and_shallow_of_equal_size_both_learn_parity(device: str) -> None:
    numbers = deep_vs_shallow.main(device, n_bits=4, runs=1, epochs=400)
    assert numbers["deep parameters"] == pytest.approx(numbers["shallow parameters"], rel=0.05)
    assert numbers["deep accuracy"] > 0.9
    assert numbers["shallow accuracy"] > 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_digits_are_read_with_less_than_three_errors_in_a_hundred(device: str) -> None:
    pytest.importorskip("sklearn")
    assert digits.main(device)["test"] > 0.97


def test_every_script_is_listed_and_says_what_it_shows() -> None:
    assert sorted(examples._MODULES.values()) == SCRIPTS
    assert list(examples._MODULES) == list(examples.EXAMPLES)
    assert all(EXAMPLE and "\n" not in EXAMPLE for EXAMPLE in examples.EXAMPLES.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_short(script: str) -> None:
    assert len((FOLDER / f"{script}.py").read_text(encoding="utf-8").splitlines()) <= 80


def test_an_example_runs_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = examples.run("loop", device="cpu", m=50)
    assert numbers["vectorized_difference"] <= 1e-12
    assert "m = 50" in capsys.readouterr().out


def test_an_unknown_example_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown example 'flowers'; did you mean 'flower'"):
        examples.run("flowers")


def test_a_script_runs_on_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NNX_DEVICE", "cpu")
    monkeypatch.setattr(sys, "argv", ["logistic_vs_network"])
    runpy.run_path(str(FOLDER / "logistic_vs_network.py"), run_name="__main__")
    assert "logistic regression" in capsys.readouterr().out
