"""Optimizers by name and by setting, and learning rates over time."""

import math
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.errors import DataError
from nnx.optimizers import get_optimizer
from nnx.schedules import (
    Constant,
    Cosine,
    InverseScaling,
    OnPlateau,
    Schedule,
    StepDecay,
    Warmup,
)

NAMES = ["gradient_descent", "momentum", "nesterov", "rmsprop", "adam", "adamw"]


@pytest.mark.parametrize("name", [*NAMES, "lbfgs"])
def test_every_optimizer_lowers_the_cost(name: str, device: str) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4, 60)), rng.integers(0, 2, 60)
    net = nnx.MLP([4, 6, 1], "tanh", "sigmoid", device=device, dtype="float64")
    costs = net.fit(X, Y, epochs=20, batch_size="all", optimizer=name)["cost"]
    assert costs[-1] < costs[0]
    assert np.all(np.isfinite(costs))


def test_none_is_adam() -> None:
    assert get_optimizer(None) == nnx.Adam()
    assert get_optimizer("adam") == nnx.Adam()


def test_weight_decay_shrinks_the_weights() -> None:
    X, Y = np.zeros((3, 4)), np.zeros(4, int)
    net = nnx.MLP([3, 4, 2], device="cpu", dtype="float64")
    W1 = net.parameters["W1"].copy()
    net.fit(X, Y, epochs=1, optimizer=nnx.AdamW(0.1, weight_decay=0.5))
    # X is zero, so the cost does not depend on W1: only the decay moves it.
    np.testing.assert_allclose(net.parameters["W1"], W1 * (1 - 0.1 * 0.5))


def test_clip_norm_bounds_the_step() -> None:
    rng = np.random.default_rng(0)
    net = nnx.MLP([3, 1], output="identity", device="cpu", dtype="float64")
    before = net.theta.copy()
    net.fit(
        100 * rng.standard_normal((3, 8)),
        np.ones(8),
        epochs=1,
        optimizer=nnx.GradientDescent(0.1, clip_norm=2.0),
    )
    assert np.linalg.norm(net.theta - before) == pytest.approx(0.1 * 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nnx.Adam(0), "learning_rate must be a finite number above 0, got 0"),
        (lambda: nnx.Adam("fast"), "learning_rate must be a finite number above 0, got 'fast'"),
        (lambda: nnx.Adam(math.inf), "learning_rate must be a finite number above 0, got inf"),
        (lambda: nnx.Adam(beta1=1.0), r"Adam: beta1 must be in \[0, 1\), got 1.0"),
        (lambda: nnx.Momentum(beta=-0.1), r"Momentum: beta must be in \[0, 1\]"),
        (lambda: nnx.RMSprop(epsilon=0), "RMSprop: epsilon must be positive"),
        (lambda: nnx.AdamW(weight_decay=-1), "weight_decay must not be negative"),
        (lambda: nnx.Adam(clip_norm=0), "clip_norm must be positive, got 0"),
        (lambda: nnx.LBFGS(memory=0), "LBFGS: memory must be a whole number of at least 1"),
        (lambda: Cosine(0.1, 0), "epochs must be a finite number above 0"),
        (lambda: StepDecay(0.1, every=0), "every must be a finite number above 0"),
        (lambda: Warmup(Constant(0.1), -1), "epochs must be a finite number above 0"),
        (lambda: InverseScaling(0), "learning_rate must be a finite number above 0"),
        (lambda: OnPlateau(0.1, patience=0), "patience must be a whole number of at least 1"),
    ],
)
def test_settings_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()


@pytest.mark.parametrize(
    ("schedule", "times", "rates"),
    [
        (Constant(0.3), [0, 7.5], [0.3, 0.3]),
        (StepDecay(1.0, 0.5, every=10), [0, 9.99, 10, 25], [1, 1, 0.5, 0.25]),
        (Cosine(1.0, 10, final=0.2), [0, 5, 10, 99], [1, 0.6, 0.2, 0.2]),
        (InverseScaling(1.0, 0.5), [0, 3, 8], [1, 0.5, 1 / 3]),
        (Warmup(Constant(2.0), 10), [4.999, 10, 50], [1, 2, 2]),
    ],
)
def test_rates_over_time(schedule: Schedule, times: list[float], rates: list[float]) -> None:
    assert [schedule(e) for e in times] == pytest.approx(rates)


def test_warmup_starts_small_but_not_at_zero() -> None:
    assert 0 < Warmup(Constant(1.0), 5)(0) < 0.01


def test_plateau_lowers_the_rate_when_the_cost_stays() -> None:
    schedule = Warmup(OnPlateau(1.0, factor=0.1, patience=2), 1)
    rates = []
    for cost in (3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.5, 1.2):
        schedule.observe(cost)
        rates.append(schedule(5))
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_fit_leaves_the_callers_schedule_alone() -> None:
    """A plateau counts costs; the caller's object must not remember those of a run."""
    schedule = OnPlateau(1e-9, patience=1)
    net = nnx.MLP([2, 3, 2], device="cpu")
    rates = net.fit(np.eye(2), [0, 1], epochs=4, optimizer=nnx.Adam(schedule))["learning_rate"]
    assert rates[-1] < 1e-9
    assert schedule(0) == 1e-9


def test_schedules_count_fractions_of_epochs() -> None:
    seen = []

    class Spy(Schedule):
        def __call__(self, e: float) -> float:
            seen.append(e)
            return 0.01

    spy = Spy()
    spy.__class__.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]
    nnx.MLP([2, 2], device="cpu").fit(
        np.ones((2, 8)), np.zeros(8, int), epochs=2, batch_size=2, optimizer=nnx.Adam(spy)
    )
    assert seen == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]
