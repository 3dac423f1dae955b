"""Compiled steps against the same steps through the primitives."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends import engine
from nnx.backends.reference.activations import Elementwise
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)
from nnx.backends.reference.updates import AdamRule, RMSpropRule
from nnx.compiled import Program
from nnx.errors import DataError, DTypeError, ShapeError
from nnx.step import OptimizerState, why_not_compiled, worth_compiling

HIDDEN = [
    "identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus",
]  # fmt: skip
OUTPUTS = [
    ("softmax", None),
    ("sigmoid", None),
    ("exponential", None),
    ("identity", "mean_squared_error"),
    ("tanh", "huber"),
    ("relu", "mean_absolute_error"),
    ("sigmoid", "mean_squared_error"),
    ("softmax", nnx.CategoricalCrossEntropy(label_smoothing=0.2)),
    ("sigmoid", nnx.BinaryCrossEntropy(label_smoothing=0.2)),
    ("softmax", ClippedCategoricalCrossEntropy()),
    ("softmax", ClippedCategoricalCrossEntropy(label_smoothing=0.2)),
    ("sigmoid", ClippedBinaryCrossEntropy()),
    ("identity", HalfSquaredError()),
    ("exponential", PoissonDeviance()),
]
RULES = [
    nnx.GradientDescent(0.01),
    nnx.Momentum(0.01),
    nnx.Nesterov(0.01),
    nnx.RMSprop(0.001),
    nnx.Adam(0.01),
    nnx.AdamW(0.01, weight_decay=0.1),
    nnx.Optimizer(AdamRule(epsilon=1e-3, epsilon_hat=True), 0.01),
    nnx.GradientDescent(0.01, clip_norm=0.05),
]
# Shapes for each way to share the work: by units with units in rows or in columns, Z[L] in parts or
# whole, by examples with one block or several, gradients in turns, one worker, no hidden layer.
SHAPES = [
    ([5, 3], 7),
    ([40, 300, 8], 1300),
    ([300, 64, 10], 90),
    ([60, 300, 200, 10], 70),
    ([784, 64, 10], 1100),
    ([50, 40, 30, 20, 3], 1700),
    ([784, 10], 1500),
    ([784, 10], 300),
    ([784, 100, 10], 64),
    ([400, 90, 70, 10], 50),
    ([3000, 100], 50),
    ([784, 90, 700], 60),
    ([30, 700, 600], 70),
    ([60, 150, 20, 3], 300),
    ([60, 150, 20, 3], 700),
    ([100, 120, 130, 3], 260),
    ([20, 4, 2], 1),
]


def data_for(net: nnx.Network, count: int, labels: bool, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = np.asfortranarray(rng.standard_normal((net.n_x, count)), dtype=net.dtype)
    if net.loss.target == "classes":
        Y = rng.integers(0, net.n_y, count)
        return X, Y if labels else np.asfortranarray(np.eye(net.n_y, dtype=net.dtype)[:, Y])
    Y = rng.random((net.n_y, count)) < 0.5
    if net.loss.target == "values":
        Y = np.abs(rng.standard_normal((net.n_y, count)))
    return X, np.asfortranarray(Y, dtype=net.dtype)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_compiled_steps_are_the_primitives_steps(data: st.DataObject) -> None:
    n, m = data.draw(st.sampled_from(SHAPES))
    hidden = data.draw(st.sampled_from(HIDDEN))
    output, loss = data.draw(st.sampled_from(OUTPUTS))
    rule = data.draw(st.sampled_from(RULES))
    labels, weighted, gathered = (data.draw(st.booleans()) for _ in range(3))
    net = nnx.MLP(
        n,
        hidden,
        output,
        loss=loss,
        keep_prob=data.draw(st.sampled_from([1.0, 0.7])),
        l2=data.draw(st.sampled_from([0.0, 0.3])),
        l1=data.draw(st.sampled_from([0.0, 0.1])),
        seed=data.draw(st.integers(0, 2**70)),
        dtype="float64",
        device="cpu",
    )
    net.theta[...] *= 0.3  # an exponential output of larger numbers grows without bounds
    other, steps = net.copy(), 3
    X, Y = data_for(net, steps * m, labels, seed=n[0])
    rng = np.random.default_rng(1)
    weights = order = None
    if weighted:
        weights = rng.uniform(0.1, 2, steps * m)
    if gathered:
        order = rng.permutation(steps * m)
    rates = np.array([0.01, 0.02, 0.005])
    penalty_m = data.draw(st.sampled_from([None, np.array([3.0, 7.0, 2.0])]))
    totals = [
        nnx.TrainingStep(each, m, rule, compiled=compiled).run(
            X, Y, weights, rates, order=order, penalty_m=penalty_m
        )
        for each, compiled in ((net, True), (other, False))
    ]
    assert float(totals[0]) == pytest.approx(float(totals[1]), rel=1e-10)
    # Rules that divide by the root of v turn a rounding of 1e-15 in a gradient that is nearly zero
    # into the rate times 1e-15 / epsilon, 0.02 * 1e-7.
    divides = isinstance(rule.rule, RMSpropRule | AdamRule)
    scale = (2e-9 if divides else 1e-10) * max(1.0, float(np.abs(other.theta).max()))
    np.testing.assert_allclose(net.theta, other.theta, rtol=0, atol=scale)


@pytest.mark.parametrize(("n", "m"), SHAPES)
@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("hidden", ["relu", "gelu"])
@pytest.mark.parametrize("optimizer", [nnx.Momentum(0.05), nnx.GradientDescent(0.05)])
def test_float32_and_any_number_of_workers(
    n: list[int], m: int, workers: int, hidden: str, optimizer: nnx.Optimizer
) -> None:
    net = nnx.MLP(n, hidden, device="cpu", seed=2)
    other = net.copy()
    X, Y = data_for(net, 2 * m, True, seed=0)
    state, rates = OptimizerState(net, optimizer), np.full(2, 0.05)
    program = Program(
        net, m, workers, state.gradient, state.slots, optimizer.rule,
        labels=True, weighted=False, gathered=False,
    )  # fmt: skip
    assert program.workers in (1, workers)
    losses, _ = program.launch(X, Y, None, None, rates, 1)
    total = nnx.TrainingStep(other, m, optimizer, compiled=False).run(X, Y, None, rates)
    assert losses / m == pytest.approx(float(total), rel=1e-5)
    np.testing.assert_allclose(net.theta, other.theta, rtol=1e-4, atol=1e-5)


def test_more_workers_than_examples() -> None:
    net = nnx.MLP([50, 120, 120, 50], device="cpu", seed=2)
    other, optimizer = net.copy(), nnx.GradientDescent(0.05)
    X, Y = data_for(net, 50, True, seed=0)
    state = OptimizerState(net, optimizer)
    program = Program(
        net, 50, 64, state.gradient, state.slots, optimizer.rule,
        labels=True, weighted=False, gathered=False,
    )  # fmt: skip
    assert program.workers == 50
    program.launch(X, Y, None, None, np.full(1, 0.05), 1)
    nnx.TrainingStep(other, 50, optimizer, compiled=False).run(X, Y, None, np.full(1, 0.05))
    np.testing.assert_allclose(net.theta, other.theta, rtol=1e-4, atol=1e-5)


def test_a_step_by_examples_holds_little_beside_parameters_and_gradient() -> None:
    net = nnx.MLP([784, 256, 10], device="cpu")
    optimizer = nnx.Adam()
    state, m = OptimizerState(net, optimizer), 16_384
    program = Program(
        net, m, 2, state.gradient, state.slots, optimizer.rule,
        labels=True, weighted=False, gathered=False,
    )  # fmt: skip
    assert program.by_examples
    activations = 4 * m * (256 + 10)
    assert program.bytes < 0.35 * activations


def test_gradients_of_a_compiled_step() -> None:
    net = nnx.MLP([30, 20, 3], "tanh", l2=0.2, device="cpu", dtype="float64")
    X, Y = data_for(net, 50, True, seed=0)
    step, before = nnx.TrainingStep(net, 50, compiled=True), net.theta.copy()
    J = step.gradients(X, Y)
    np.testing.assert_array_equal(net.theta, before)
    A_L, caches = net.forward(X)
    assert float(J) == pytest.approx(net.cost(A_L, Y), rel=1e-12)
    for name, wanted in net.backward(Y, caches).items():
        np.testing.assert_allclose(step.state.gradient.views[name], wanted, rtol=1e-11, atol=1e-14)


def test_whole_runs_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    data = nnx.datasets.moons(430)

    def curve() -> Any:
        net = nnx.MLP([2, 16, 16, 1], "relu", "sigmoid", keep_prob=0.9, dtype="float64", seed=4)
        return net.fit(data.X, data.Y, epochs=30, batch_size=64, validation=0.1)["cost"]

    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: None)
    compiled = curve()
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: False)
    np.testing.assert_allclose(compiled, curve(), rtol=1e-10)


def test_non_finite_values_are_not_lost() -> None:
    for bad in (np.nan, np.inf):
        net = nnx.MLP([3, 4, 2], device="cpu")
        X = np.ones((3, 6), np.float32, order="F")
        X[0, 0] = bad
        J = nnx.TrainingStep(net, 6, compiled=True)(X, np.zeros(6, np.int64))
        assert not np.isfinite(J)


def test_a_label_out_of_range_gives_nan_and_reads_no_other_memory() -> None:
    net = nnx.MLP([3, 4, 2], device="cpu")
    X = np.ones((3, 6), np.float32, order="F")
    assert np.isnan(nnx.TrainingStep(net, 6, compiled=True)(X, np.full(6, 10**9)))


def test_what_a_compiled_step_refuses() -> None:
    step = nnx.TrainingStep(nnx.MLP([4, 5, 3], device="cpu"), 6, compiled=True)
    X, Y = np.ones((4, 6), np.float32, order="F"), np.zeros(6, np.int64)
    with pytest.raises(ShapeError, match=r"X of shape \(4, 6\); got \(4, 5\)"):
        step(X[:, :5], Y[:5])
    with pytest.raises(ShapeError, match=r"for the 6 examples of X; got \(5,\)"):
        step(X, Y[:5])
    with pytest.raises(DTypeError, match=r"float32 \(labels: int64\); got X float64"):
        step(X.astype(np.float64), Y)
    with pytest.raises(DTypeError, match=r"Y int32"):
        step(X, Y.astype(np.int32))
    with pytest.raises(DTypeError, match="weights must be contiguous float32"):
        step(X, Y, np.ones(6))
    C_ordered = np.ascontiguousarray(X)
    assert np.isfinite(step(C_ordered, Y))


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (
            nnx.MLP([2, 3, 2], Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z * Z)),
            "the activation cube of layer 1",
        ),
        (nnx.MLP([2, 2], output="softmax", loss="mean_squared_error"), "with the output softmax"),
        (nnx.MLP([2, 2], output="gelu"), "mean_squared_error .* with the output gelu"),
        (nnx.MLP([2, 3, 2], device="strict"), "device 'strict' is not"),
    ],
)  # fmt: skip
def test_what_is_not_compiled_goes_through_the_primitives(net: nnx.Network, reason: str) -> None:
    with pytest.raises(DataError, match=rf"this step cannot be compiled: .*{reason}"):
        nnx.TrainingStep(net, 4, compiled=True)
    assert not nnx.TrainingStep(net, 4).compiled


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnx.backends.engine.why_unusable", lambda: "Numba is not installed")
    net = nnx.MLP([2, 3, 2], device="cpu")
    assert why_not_compiled(net) == "Numba is not installed"
    assert not nnx.TrainingStep(net, 4).compiled


def test_a_run_alone_decides_whether_it_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the process did before, so that the same seed gives the same bits."""
    net = nnx.MLP([784, 512, 10], device="cpu")
    for _ in range(50):
        assert worth_compiling(net, 64, 100) is False
        assert worth_compiling(net, 200, 100_000) is None
    monkeypatch.setenv("NNX_COMPILE", "1")
    assert worth_compiling(net, 64, 1) is None


def test_a_numba_that_cannot_be_loaded_leaves_the_primitives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(name: str) -> None:
        raise ImportError("Numba needs NumPy 2.5 or less")

    engine.why_not_loaded.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr("importlib.import_module", fail)
        net = nnx.MLP([2, 3, 2], device="cpu")
        assert why_not_compiled(net) == "Numba cannot be loaded: Numba needs NumPy 2.5 or less"
        assert not nnx.TrainingStep(net, 4).compiled
    engine.why_not_loaded.cache_clear()
    assert nnx.TrainingStep(net, 4).compiled
