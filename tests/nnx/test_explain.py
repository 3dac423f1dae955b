"""`explain_step`: the plan with its figures, the times of a run, and the network left alone."""

import math

import numpy as np
import pytest

import nnx
from nnx.backends import get_backend
from nnx.backends.limits import Limits, measure_limits
from nnx.errors import DataError


class Twice(nnx.Layer):
    """A layer of one's own, which has no plan."""

    def __init__(self, units):
        self.units = units

    def parameters(self, n_prev):
        return {}

    def forward(self, parameters, A_prev, key=None):
        return 2 * A_prev, None

    def backward(self, dA, cache):
        return 2 * dA, {}


def test_a_plan_counts_the_products_and_what_must_move():
    net = nnx.MLP([784, 64, 10], device="cpu")
    report = nnx.explain_step(net, 256, nnx.GradientDescent(), run=False)
    flop = {operation.name: operation.flop for operation in report.operations if operation.flop}
    assert flop == {
        "Z[1] = W[1] A[0]": 2 * 64 * 784 * 256,
        "Z[2] = W[2] A[1]": 2 * 10 * 64 * 256,
        "dW[2] = dZ[2] A[1]^T / m": 2 * 10 * 64 * 256,
        "dA[1] = W[2]^T dZ[2]": 2 * 10 * 64 * 256,
        "dW[1] = dZ[1] A[0]^T / m": 2 * 64 * 784 * 256,
    }
    assert all(math.isnan(seconds) for seconds in report.seconds)
    assert math.isnan(report.step_seconds)
    update = report.operations[-2]
    assert update.bytes == 3 * 4 * net.theta.size
    adam = nnx.explain_step(net, 256, nnx.Adam(), run=False).operations[-2]
    assert adam.bytes == 7 * 4 * net.theta.size


@pytest.mark.parametrize("compile_", ["1", "0"])
def test_a_run_times_the_parts_and_leaves_the_network_alone(monkeypatch, compile_):
    monkeypatch.setattr(
        "nnx.step.why_not_compiled", lambda model: None if compile_ == "1" else "a test"
    )
    net = nnx.MLP([784, 300, 10], device="cpu")
    before = net.theta.copy()
    report = nnx.explain_step(net, 512)
    np.testing.assert_array_equal(net.theta, before)
    parts = np.array(report.seconds)
    assert np.nansum(parts) > 0
    big = [seconds for op, seconds in zip(report.operations, parts, strict=True) if op.flop > 1e8]
    assert len(big) == 2
    assert all(seconds > 0 for seconds in big)
    text = str(report)
    for wanted in ("Z[1] = W[1] A[0]", "dW[1]", "theta := theta - ...", "the whole step", "FLOP"):
        assert wanted in text
    assert ("compiled" in text) == (compile_ == "1")


def test_targets_of_every_loss_can_be_made():
    for output in ("sigmoid", "identity", "exponential"):
        net = nnx.MLP([5, 4, 2], output=output, device="cpu")
        assert nnx.explain_step(net, 8).step_seconds > 0


def test_bad_input_is_named():
    net = nnx.MLP([5, 4, 2], device="cpu")
    with pytest.raises(DataError, match="m must be"):
        nnx.explain_step(net, 0)
    with pytest.raises(DataError, match="takes no single steps"):
        nnx.explain_step(net, 8, nnx.LBFGS())
    own = nnx.Network([Twice(5), nnx.Dense(2, "softmax")], n_x=5, device="cpu")
    with pytest.raises(DataError, match="layer 1 is a Twice"):
        nnx.explain_step(own, 8)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_that_clips_is_timed_too(compiled):
    net = nnx.MLP([5, 4, 2], device="cpu")
    step = nnx.TrainingStep(net, 8, nnx.Adam(clip_norm=1.0), compiled=compiled)
    X, Y = np.ones((5, 8), np.float32, order="F"), np.zeros(8, np.int64)
    plan, seconds = step.profile(X, Y, 3)
    assert step.state.t == 3
    assert seconds[plan.update] > 0


def test_parts_of_a_network_with_layers_of_ones_own_are_not_known():
    step = nnx.TrainingStep(nnx.Network([Twice(5), nnx.Dense(2)], n_x=5, device="cpu"), 8)
    with pytest.raises(DataError, match="layers of one's own"):
        step.profile(np.ones((5, 8), np.float32, order="F"), np.zeros((2, 8), np.float32), 1)


def test_limits_take_the_longer_of_arithmetic_and_traffic():
    limits = Limits(1e9, ((1 << 20, 2e9), (1 << 24, 1e9)))
    assert limits.seconds(2 * 10**9, 0) == 2
    assert limits.seconds(0, 1 << 20) == pytest.approx((1 << 20) / 2e9)
    assert limits.seconds(0, 1 << 26) == pytest.approx((1 << 26) / 1e9)
    # Half way, on logarithmic scales, between the two sizes.
    assert limits.seconds(0, 1 << 22) == pytest.approx((1 << 22) / 2**0.5 / 1e9)


def test_limits_are_measured_once():
    cpu = get_backend("cpu")
    limits = measure_limits(cpu, "float32")
    assert limits is measure_limits(cpu, "float32")
    assert limits.flop_per_second > 1e8
    assert all(rate > 1e7 for _, rate in limits.bytes_per_second)
