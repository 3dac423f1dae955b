"""Every example runs, shows what it claims, and is listed for `nnx demo`."""

import inspect
import runpy
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from nnx import datasets, examples
from nnx.errors import DataError, UnknownNameError
from nnx.examples import depth, digits, flower, houses, linear, loop, zeros

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
FOLDER = Path(examples.__file__).parent
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize("device", DEVICES)
def test_the_network_learns_the_flower_and_logistic_regression_does_not(device: str) -> None:
    numbers = flower.main(device)
    assert 0.4 < numbers["n_h 0"] < 0.6
    assert 0.6 < numbers["n_h 1"] < 0.75
    assert numbers["n_h 4"] >= 0.9
    assert numbers["n_h 20"] >= 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_the_loop_and_the_vectorized_lines_agree(device: str) -> None:
    numbers = loop.main(device, m=500)
    for version in ("loop", "vectorized", "blocks"):
        assert numbers[f"{version}_difference"] <= 1e-12
        assert numbers[f"{version}_seconds"] > 0


@pytest.mark.parametrize("version", [loop.loop, loop.vectorized, loop.blocks])
def test_each_version_gives_the_gradient_of_the_cost(version: object) -> None:
    rng = np.random.default_rng(1)
    X, *parameters = map(rng.standard_normal, [(3, 40), (4, 3), (4, 1), (1, 4), (1, 1)])
    Y = rng.integers(2, size=(1, 40)).astype(np.float64)

    def cost() -> float:
        W1, b1, W2, b2 = parameters
        Z2 = W2 @ np.tanh(W1 @ X + b1) + b2
        return float(np.mean(np.logaddexp(0, Z2) - Y * Z2))

    assert callable(version)
    for parameter, gradient in zip(parameters, version(X, Y, *parameters), strict=True):
        wanted = np.empty_like(parameter)
        for entry in np.ndindex(parameter.shape):
            value, costs = parameter[entry], []
            for step in (1e-5, -1e-5):
                parameter[entry] = value + step
                costs.append(cost())
            parameter[entry] = value
            wanted[entry] = (costs[0] - costs[1]) / 2e-5
        np.testing.assert_allclose(gradient, wanted, rtol=1e-6, atol=1e-9, equal_nan=False)


@pytest.mark.parametrize("device", DEVICES)
def test_zeros_keep_the_hidden_units_equal_and_random_weights_do_not(device: str) -> None:
    numbers = zeros.main(device)
    # The units move, but together: they are as good as one unit, and no better.
    assert numbers["zeros 4 moved"] > 1
    assert numbers["zeros 4 apart"] <= 1e-6
    assert abs(numbers["zeros 4 accuracy"] - numbers["random 1 accuracy"]) <= 0.05
    assert numbers["zeros 4 accuracy"] < 0.75
    assert numbers["random 4 apart"] > 1
    assert numbers["random 4 accuracy"] > 0.85


@pytest.mark.parametrize("device", DEVICES)
def test_identity_layers_are_no_better_than_one_layer(device: str) -> None:
    numbers = linear.main(device)
    for name in ("moons", "flower"):
        one, identity = numbers[f"{name} one layer"], numbers[f"{name} identity"]
        assert numbers[f"{name} difference"] <= 1e-5
        assert abs(identity - one) <= 0.02
        assert numbers[f"{name} tanh"] >= max(0.9, identity + 0.05)


@pytest.mark.parametrize("device", DEVICES)
def test_the_network_knows_house_prices_better_than_a_linear_fit(device: str) -> None:
    numbers = houses.main(device)
    train, test = (
        (np.vstack([part.X, np.ones(part.m)]).T.astype(np.float64), part.Y[0])
        for part in datasets.houses(4000).split()
    )
    weights, *_ = np.linalg.lstsq(train[0], train[1].astype(np.float64))
    linear_fit = 1e5 * float(abs(test[0] @ weights - test[1]).mean())
    assert numbers["one ReLU unit"] == pytest.approx(linear_fit, rel=0.05)
    assert numbers["one ReLU unit, size only"] > 1.3 * numbers["one ReLU unit"]
    assert numbers["4 hidden units"] < 0.95 * linear_fit
    assert numbers["32 hidden units"] < 0.5 * linear_fit


@pytest.mark.parametrize("n_bits", [2, 4, 8])
def test_the_written_parity_networks_are_exact_and_of_the_claimed_size(n_bits: int) -> None:
    numbers = depth.main("cpu", n_bits=n_bits, runs=1, epochs=1)
    for network, units in (
        ("xor_tree", 2 * (n_bits - 1)),
        ("one_unit_per_pattern", 2 ** (n_bits - 1)),
        ("counting", n_bits),
    ):
        assert numbers[f"{network} units"] == units
        assert numbers[f"{network} accuracy"] == 1
    # log2(n) hidden layers in the tree, one in the others.
    hidden = [write(n_bits).L - 1 for write in (depth.xor_tree, depth.counting)]
    assert hidden == [np.log2(n_bits), 1]
    assert depth.one_unit_per_pattern(n_bits).L - 1 == 1


@pytest.mark.parametrize("device", DEVICES)
def test_every_depth_but_none_learns_parity_with_as_many_parameters(device: str) -> None:
    numbers = depth.main(device)
    assert numbers["0 hidden accuracy"] < 0.6
    for hidden in (1, 2, 3):
        assert numbers[f"{hidden} hidden parameters"] == pytest.approx(321, rel=0.05)
        assert numbers[f"{hidden} hidden accuracy"] > 0.95


@pytest.mark.parametrize("n_bits", [0, 1, 6])
def test_a_tree_of_pairs_needs_a_power_of_two(n_bits: int) -> None:
    with pytest.raises(DataError, match=rf"n_bits must be .*, got {n_bits}$"):
        depth.main("cpu", n_bits=n_bits)


@pytest.mark.parametrize("device", DEVICES)
def test_digits_are_read_with_less_than_three_errors_in_a_hundred(device: str) -> None:
    pytest.importorskip("sklearn")
    assert digits.main(device)["test"] > 0.97


def test_every_script_is_listed_and_says_what_it_shows() -> None:
    assert sorted(examples.EXAMPLES) == SCRIPTS
    assert all(shows and "\n" not in shows for shows in examples.EXAMPLES.values())


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_short(script: str) -> None:
    assert len((FOLDER / f"{script}.py").read_text(encoding="utf-8").splitlines()) <= 100


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_example_takes_a_device_and_a_seed(script: str) -> None:
    parameters = inspect.signature(import_module(f"nnx.examples.{script}").main).parameters
    assert (parameters["device"].default, parameters["seed"].default) == ("auto", 0)
    assert all(p.default is not inspect.Parameter.empty for p in parameters.values())


def test_an_example_runs_by_name(capsys: Output) -> None:
    numbers = examples.run("loop", device="cpu", m=50)
    assert numbers["vectorized_difference"] <= 1e-12
    assert "m = 50" in capsys.readouterr().out


def test_an_unknown_example_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown example 'flowers'; did you mean 'flower'"):
        examples.run("flowers")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_runs_on_its_own(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    if script == "digits":
        pytest.importorskip("sklearn")
    monkeypatch.setenv("NNX_DEVICE", "cpu")
    monkeypatch.setattr(sys, "argv", [f"{script}.py"])
    runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
    # A title, then a line for each thing that is compared.
    assert capsys.readouterr().out.count("\n") >= 3
