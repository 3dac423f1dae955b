"""TrainingStep against the readable forward, cost, backward and update."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends.reference.activations import ACTIVATIONS
from nnx.backends.reference.updates import clip_norm
from nnx.step import OptimizerState

OPTIMIZERS = [
    nnx.GradientDescent(0.01),
    nnx.Momentum(0.01),
    nnx.Nesterov(0.01),
    nnx.RMSprop(0.01),
    nnx.Adam(0.01),
    nnx.AdamW(0.01, weight_decay=0.1),
    nnx.GradientDescent(0.01, clip_norm=0.05),
]
OUTPUTS = [
    ("softmax", None),
    ("sigmoid", None),
    ("identity", None),
    ("exponential", None),
    ("tanh", "huber"),
    ("softmax", "mean_squared_error"),
    ("gelu", "mean_absolute_error"),
]


def readable_step(
    net: nnx.Network, state: OptimizerState, optimizer: nnx.Optimizer, X: Any, Y: Any, s: Any
) -> float:
    """One step in the lecture's lines."""
    A_L, caches = net.forward(X, train=True, t=state.t + 1)
    J = net.cost(A_L, Y, caches=caches, sample_weight=s)
    state.t += 1
    for name, dtheta in net.backward(Y, caches, sample_weight=s).items():
        state.gradient.views[name][...] = dtheta
    if optimizer.clip_norm is not None:
        clip_norm(np, state.gradient.flat, optimizer.clip_norm)
    optimizer.rule.apply(
        np, net.theta, state.gradient.flat, state.slots, optimizer.schedule(0.0), state.t
    )
    return J


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_a_step_is_the_readable_step(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 4))
    n = data.draw(st.lists(st.integers(1, 7), min_size=depth, max_size=depth))
    hidden = data.draw(
        st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=depth - 1, max_size=depth - 1)
    )
    output, loss = data.draw(st.sampled_from(OUTPUTS))
    optimizer = data.draw(st.sampled_from(OPTIMIZERS))
    m, weighted = data.draw(st.integers(1, 9)), data.draw(st.booleans())
    settings_: dict[str, Any] = {
        "loss": loss,
        "keep_prob": data.draw(st.sampled_from([1.0, 0.6])),
        "l2": data.draw(st.sampled_from([0.0, 0.3])),
        "l1": data.draw(st.sampled_from([0.0, 0.1])),
        "seed": data.draw(st.integers(0, 1000)),
        "dtype": "float64",
        "device": "cpu",
    }
    readable = nnx.MLP([*n, 3], hidden, output, **settings_)
    readable.theta[...] *= 0.3  # exp(exp(...)) of larger numbers overflows
    fast = readable.copy()
    rng = np.random.default_rng(settings_["seed"])
    step, state = nnx.TrainingStep(fast, m, optimizer), OptimizerState(readable, optimizer)
    for _ in range(3):
        X = np.asfortranarray(rng.standard_normal((n[0], m)))
        Y: Any = rng.integers(0, 2, (3, m)).astype(float)
        if output == "softmax" and loss is None:
            Y = rng.integers(0, 3, m)
        s = rng.uniform(0.1, 3, m) if weighted else None
        J = step(X, Y, None if s is None else s / s.mean())
        assert float(J) == pytest.approx(
            readable_step(readable, state, optimizer, X, Y, s), rel=1e-10, abs=1e-12
        )
        scale = 1e-9 * max(1.0, float(np.max(np.abs(readable.theta))))
        np.testing.assert_allclose(fast.theta, readable.theta, rtol=1e-9, atol=scale)


def test_the_same_run_on_every_device(device: str) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((5, 40)), rng.integers(0, 3, 40)
    curves = [
        nnx.MLP([5, 8, 8, 3], keep_prob=0.8, l2=0.1, seed=3, device=d, dtype="float64").fit(
            X, Y, epochs=4, batch_size=16, optimizer=nnx.Adam(0.01)
        )["cost"]
        for d in ("cpu", device)
    ]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-10)


def test_a_step_allocates_its_buffers_once() -> None:
    net = nnx.MLP([4, 5, 3], device="cpu")
    step = nnx.TrainingStep(net, 6, nnx.Adam())
    theta, gradient = net.theta, step.state.gradient.flat
    X, Y = np.ones((4, 6), np.float32, order="F"), np.zeros(6, np.int64)
    step(X, Y)
    assert net.theta is theta
    assert step.state.gradient.flat is gradient
    assert np.shares_memory(net.parameters["W1"], theta)


def test_gradients_alone_leave_the_parameters() -> None:
    net = nnx.MLP([4, 5, 3], device="cpu", dtype="float64")
    X, Y = np.ones((4, 6), order="F"), np.zeros(6, np.int64)
    step, before = nnx.TrainingStep(net, 6), net.theta.copy()
    J = step.gradients(X, Y)
    np.testing.assert_array_equal(net.theta, before)
    A_L, caches = net.forward(X)
    assert float(J) == pytest.approx(net.cost(A_L, Y))
    for name, wanted in net.backward(Y, caches).items():
        np.testing.assert_allclose(step.state.gradient.views[name], wanted, rtol=1e-12, atol=1e-15)


def test_what_a_step_refuses() -> None:
    net = nnx.MLP([4, 5, 3], device="cpu")
    with pytest.raises(nnx.errors.ShapeError, match=r"X of shape \(4, 6\); got \(4, 5\)"):
        nnx.TrainingStep(net, 6)(np.ones((4, 5), np.float32), np.zeros(5, np.int64))
    with pytest.raises(nnx.errors.DataError, match=r"LBFGS\(.*takes no single steps"):
        nnx.TrainingStep(net, 6, nnx.LBFGS())  # type: ignore[arg-type]
