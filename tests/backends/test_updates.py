"""The optimizer updates against the papers' formulas, one scalar at a time, over several steps."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from nnx.backends import get_backend
from nnx.backends.errors import DataError
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
    clip_norm,
)

drawn = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
fractions = st.sampled_from([0.0, 0.5, 0.9, 0.999])
rates = st.floats(1e-4, 0.5)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(params=["cpu", "strict"], ids=["numpy", "strict"])
def xp(request):
    """The namespaces that the formulas run on."""
    return get_backend(request.param).xp


# -- the papers, for one parameter: each gives theta after every gradient -------------------------


def gradient_descent(theta, gradients, rate):
    for g in gradients:
        theta = theta - rate * g
        yield theta


def momentum(theta, gradients, rate, beta):
    """Sutskever et al. (2013), eq. 1 and 2."""
    v = 0.0
    for g in gradients:
        v = beta * v - rate * g
        theta = theta + v
        yield theta


def rmsprop(theta, gradients, rate, beta, epsilon):
    mean_square = 0.0
    for g in gradients:
        mean_square = beta * mean_square + (1 - beta) * g**2
        theta = theta - rate * g / (math.sqrt(mean_square) + epsilon)
        yield theta


def adam(theta, gradients, rate, beta1, beta2, epsilon, decay):
    """Kingma & Ba (2015), algorithm 1; Loshchilov & Hutter (2019), algorithm 2, line 12."""
    m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        m_hat = m / (1 - beta1**t)
        v_hat = v / (1 - beta2**t)
        theta = theta - rate * (m_hat / (math.sqrt(v_hat) + epsilon) + decay * theta)
        yield theta


# -- the rules ------------------------------------------------------------------------------------


def run(xp, rule, theta, gradients, rate):
    """Theta after every step, as NumPy copies; slots start at zero."""
    theta = xp.asarray(theta, copy=True)
    slots = {name: xp.zeros_like(theta) for name in rule.slots}
    for t, g in enumerate(gradients, start=1):
        g = xp.asarray(g)
        rule.apply(xp, theta, g, slots, rate, t)
        yield np.from_dlpack(theta).copy()


def check(xp, rule, formula, seed, rate, *constants, n=4, steps=6):
    rng = np.random.default_rng(seed)
    theta, gradients = rng.normal(size=n), rng.normal(size=(steps, n))
    gradients *= 10 ** rng.uniform(-3, 2, size=(steps, 1))
    got = np.array(list(run(xp, rule, theta, gradients, rate)))
    want = np.array(
        [list(formula(theta[i], gradients[:, i], rate, *constants)) for i in range(n)]
    ).T
    # Each step adds its rounding, of the size of the largest term so far.
    assert_allclose(got, want, rtol=1e-12, atol=1e-13 * (1 + np.max(np.abs(want))))


@drawn
@given(seed=seeds, rate=rates)
def test_gradient_descent(xp, seed, rate):
    check(xp, GradientDescentRule(), gradient_descent, seed, rate)


@drawn
@given(seed=seeds, rate=rates, beta=fractions)
def test_momentum(xp, seed, rate, beta):
    check(xp, MomentumRule(beta), momentum, seed, rate, beta)


@drawn
@given(seed=seeds, rate=rates, beta=fractions, epsilon=st.sampled_from([1e-8, 1e-3, 0.5]))
def test_rmsprop(xp, seed, rate, beta, epsilon):
    check(xp, RMSpropRule(beta, epsilon), rmsprop, seed, rate, beta, epsilon)


@drawn
@given(
    seed=seeds,
    rate=rates,
    beta1=fractions,
    beta2=fractions,
    epsilon=st.sampled_from([1e-8, 1e-3, 0.5]),
    decay=st.sampled_from([0.0, 0.01, 0.3]),
)
def test_adam_and_adamw(xp, seed, rate, beta1, beta2, epsilon, decay):
    rule = AdamRule(beta1, beta2, epsilon, decay)
    check(xp, rule, adam, seed, rate, beta1, beta2, epsilon, decay)


@drawn
@given(seed=seeds, rate=st.floats(1e-3, 0.2), beta=fractions)
def test_nesterov_is_the_gradient_at_the_point_ahead(xp, seed, rate, beta):
    """Sutskever et al. (2013), eq. 3 and 4, on J = 1/2 sum of c theta^2; our theta is ahead."""
    rng = np.random.default_rng(seed)
    c, start = rng.uniform(0.1, 3, size=4), rng.normal(size=4)
    rule = MomentumRule(beta, nesterov=True)

    theirs, v = start.copy(), np.zeros(4)
    ours, slots = xp.asarray(start, copy=True), {"v": xp.zeros(4, dtype=xp.float64)}
    for t in range(1, 9):
        v = beta * v - rate * (c * (theirs + beta * v))
        theirs = theirs + v
        rule.apply(xp, ours, xp.asarray(c) * ours, slots, rate, t)
        assert_allclose(np.from_dlpack(slots["v"]), v, rtol=1e-11, atol=1e-14)
        assert_allclose(np.from_dlpack(ours), theirs + beta * v, rtol=1e-11, atol=1e-14)


def test_nesterov_differs_from_momentum():
    gradients = np.ones((3, 1))
    plain = [float(x[0]) for x in run(np, MomentumRule(0.5), np.zeros(1), gradients, 1.0)]
    ahead = [float(x[0]) for x in run(np, MomentumRule(0.5, True), np.zeros(1), gradients, 1.0)]
    assert plain == [-1.0, -2.5, -4.25]
    assert ahead == [-1.5, -3.25, -5.125]


def test_first_adam_step_is_the_learning_rate():
    """With the bias corrections the first step is alpha sign(g), whatever the size of g."""
    g = np.array([1e-3, -5.0, 4e4])
    (theta,) = run(np, AdamRule(epsilon=1e-12), np.zeros(3), [g], 0.1)
    assert_allclose(theta, [-0.1, 0.1, -0.1], rtol=1e-8)


RULES = [
    GradientDescentRule(),
    MomentumRule(),
    MomentumRule(nesterov=True),
    RMSpropRule(),
    AdamRule(),
    AdamRule(weight_decay=0.1),
]


def test_slots_are_what_the_rules_write():
    assert [rule.slots for rule in RULES] == [(), ("v",), ("v",), ("s",), ("m", "v"), ("m", "v")]
    assert all(isinstance(rule, UpdateRule) for rule in RULES)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_in_place(device, rule, dtype):
    backend = get_backend(device)
    theta = backend.asarray(np.linspace(-1, 1, 5), dtype)
    gradient = backend.asarray(np.linspace(3, -2, 5), dtype)
    slots = {name: backend.zeros((5,), dtype) for name in rule.slots}
    seen = {"theta": theta, **slots}
    before = {name: backend.to_numpy(x).copy() for name, x in seen.items()}
    g_before = backend.to_numpy(gradient).copy()

    assert backend.update(rule, theta, gradient, slots, 0.1, 1) is None

    assert_array_equal(backend.to_numpy(gradient), g_before)
    for name, x in seen.items():
        assert x.dtype == backend.dtype(dtype)
        assert not np.any(backend.to_numpy(x) == before[name]), f"{name} was not written"
    assert set(slots) == set(rule.slots)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_view_of_theta_moves_with_it(rule):
    theta = np.ones(6)
    part = theta[2:4]
    slots = {name: np.zeros(2) for name in rule.slots}
    get_backend("cpu").update(rule, part, np.ones(2), slots, 0.1, 1)
    assert np.all(theta[2:4] < 1)
    assert theta[:2].tolist() == theta[4:].tolist() == [1, 1]


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_nan_gradient_marks_its_own_element_only(rule):
    g = np.array([1.0, np.nan, 1.0])
    (theta,) = run(np, rule, np.zeros(3), [g], 0.1)
    assert np.isnan(theta).tolist() == [False, True, False]


@pytest.mark.parametrize("bad", [-0.1, 1, 1.5, math.nan])
def test_fractions_outside_zero_to_one(bad):
    for make, name in (
        (lambda: RMSpropRule(beta=bad), "RMSprop: beta"),
        (lambda: AdamRule(beta1=bad), "Adam: beta1"),
        (lambda: AdamRule(beta2=bad), "Adam: beta2"),
    ):
        with pytest.raises(DataError, match=rf"{name} must be in \[0, 1\)"):
            make()


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_momentum_outside_zero_to_one(bad):
    with pytest.raises(DataError, match=r"Momentum: beta must be in \[0, 1\]"):
        MomentumRule(bad)
    assert MomentumRule(1).beta == 1


@pytest.mark.parametrize("bad", [0, -1e-8, math.nan])
def test_epsilon_that_is_not_positive(bad):
    with pytest.raises(DataError, match="RMSprop: epsilon must be positive"):
        RMSpropRule(epsilon=bad)
    with pytest.raises(DataError, match="Adam: epsilon must be positive"):
        AdamRule(epsilon=bad)


@pytest.mark.parametrize("bad", [-0.1, math.nan])
def test_weight_decay_that_is_negative(bad):
    with pytest.raises(DataError, match="weight_decay must not be negative"):
        AdamRule(weight_decay=bad)


# -- clipping -------------------------------------------------------------------------------------


@drawn
@given(
    seed=seeds,
    n=st.integers(1, 20),
    max_norm=st.floats(1e-3, 1e3),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_clip_norm(xp, seed, n, max_norm, dtype):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=n) * 10 ** rng.uniform(-3, 3)).astype(dtype)
    norm = math.hypot(*values.astype("float64").tolist())
    g = xp.asarray(values, copy=True)
    assert clip_norm(xp, g, max_norm) is None
    assert g.dtype == getattr(xp, dtype)
    factor = max_norm / norm if norm > max_norm else 1.0
    # sum of n squares: n eps at worst.
    eps = np.finfo(dtype).eps
    assert_allclose(np.from_dlpack(g), values.astype("float64") * factor, rtol=(n + 8) * eps)


def test_clip_norm_leaves_short_and_zero_gradients_exactly(xp):
    for values in ([0.3, -0.4], [0.0, 0.0]):
        g = xp.asarray(values)
        clip_norm(xp, g, 0.75)
        assert np.from_dlpack(g).tolist() == values


def test_clip_norm_of_three_four_five(xp):
    g = xp.asarray([30.0, 40.0])
    clip_norm(xp, g, 5.0)
    assert_allclose(np.from_dlpack(g), [3, 4], rtol=1e-15)


def test_clip_norm_does_not_hide_nan(xp):
    g = xp.asarray([1.0, math.nan])
    clip_norm(xp, g, 1.0)
    assert np.all(np.isnan(np.from_dlpack(g)))


def test_epsilon_hat_is_sklearns_adam(xp):
    """The form at the end of section 2 of Kingma & Ba, as scikit-learn's optimizer has it."""
    module = pytest.importorskip("sklearn.neural_network._stochastic_optimizers")
    rng, rate, epsilon = np.random.default_rng(0), 0.1, 0.5
    start, gradients = rng.standard_normal(6), rng.standard_normal((5, 6))
    other = start.copy()
    theirs = module.AdamOptimizer([other], rate, epsilon=epsilon)
    for g in gradients:
        theirs.update_params([other], [g])
    rule = AdamRule(epsilon=epsilon, epsilon_hat=True)
    assert_allclose(list(run(xp, rule, start, gradients, rate))[-1], other, rtol=1e-12)
