"""The reference activations against other closed forms, central differences and ±1e4 logits."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from nnx.backends import get_backend
from nnx.backends.errors import DataError, UnknownNameError
from nnx.backends.reference.activations import (
    ACTIVATIONS,
    Activation,
    Elementwise,
    elu,
    get_activation,
    leaky_relu,
)

special = pytest.importorskip("scipy.special")
expit = special.expit

drawn = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
each_activation = pytest.mark.parametrize("name", sorted(ACTIVATIONS))
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.fixture(params=["cpu", "strict"], ids=["numpy", "strict"])
def xp(request):
    """The namespaces that the formulas run on."""
    return get_backend(request.param).xp


# Klambauer et al. (2017), the constants as printed with their published code.
ALPHA = 1.6732632423543772848170429916717
SCALE = 1.0507009873554804934193349852946


def _gelu_argument(z):
    return 2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)


def _gelu_slope(z):
    v = _gelu_argument(z)
    return expit(v) + z * expit(v) * expit(-v) * 2 * math.sqrt(2 / math.pi) * (
        1 + 3 * 0.044715 * z**2
    )


def _exp_below_zero(z):
    return np.exp(np.minimum(z, 0))


# Value and derivative of each activation, in other words than the reference's.
VALUES = {
    "identity": lambda z: z,
    "sigmoid": expit,
    "tanh": lambda z: 2 * expit(2 * z) - 1,
    "relu": lambda z: (z + np.abs(z)) / 2,
    "leaky_relu": lambda z: np.maximum(z, z / 100),
    "elu": lambda z: np.maximum(z, 0) + _exp_below_zero(z) - 1,
    "selu": lambda z: SCALE * (np.maximum(z, 0) + ALPHA * (_exp_below_zero(z) - 1)),
    "gelu": lambda z: z * expit(_gelu_argument(z)),
    "silu": lambda z: z * expit(z),
    "softplus": lambda z: np.logaddexp(0, z),
    "softmax": lambda z: special.softmax(z, axis=0),
    "exponential": np.exp,
}
SLOPES = {
    "identity": np.ones_like,
    "sigmoid": lambda z: expit(z) * expit(-z),
    "tanh": lambda z: 4 * expit(2 * z) * expit(-2 * z),
    "relu": lambda z: np.heaviside(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, 1, 0.01),
    "elu": _exp_below_zero,
    "selu": lambda z: SCALE * np.where(z > 0, 1, ALPHA * _exp_below_zero(z)),
    "gelu": _gelu_slope,
    "silu": lambda z: expit(z) + z * expit(z) * expit(-z),
    "softplus": expit,
    "exponential": np.exp,
}


def expected_dZ(name, dA, Z):
    if name != "softmax":
        return dA * SLOPES[name](Z)
    A = special.softmax(Z, axis=0)
    jacobians = [np.diag(a) - np.outer(a, a) for a in A.T]
    return np.stack([J @ d for J, d in zip(jacobians, dA.T, strict=True)], axis=1)


def forward(xp, activation, Z):
    A = activation.forward(xp, xp.asarray(Z))
    assert A.dtype == getattr(xp, Z.dtype.name)
    return np.from_dlpack(A)


def backward(xp, activation, dA, Z):
    Z_ = xp.asarray(Z)
    cache = activation.forward(xp, Z_) if activation.derivative_from == "A" else Z_
    dZ = activation.backward(xp, xp.asarray(dA), cache)
    assert dZ.dtype == getattr(xp, Z.dtype.name)
    return np.from_dlpack(dZ)


dtypes = st.sampled_from(["float32", "float64"])
shapes = st.tuples(st.integers(1, 5), st.integers(1, 5))


def matrices(limit):
    return hnp.arrays("float64", shapes, elements=st.floats(-limit, limit, width=32))


def test_every_activation_has_an_independent_formula():
    assert set(VALUES) == set(ACTIVATIONS)
    assert set(SLOPES) == set(ACTIVATIONS) - {"softmax"}


@each_activation
@drawn
@given(Z=matrices(8), dtype=dtypes)
def test_values(xp, name, dtype, Z):
    Z = Z.astype(dtype)
    A = forward(xp, ACTIVATIONS[name], Z)
    want = VALUES[name](Z.astype("float64"))
    # exp(z) and softmax turn the rounding of z (relative) into a relative error of |z| eps.
    eps = np.finfo(dtype).eps
    assert_allclose(A, want, rtol=32 * eps, atol=8 * eps)


@each_activation
@drawn
@given(data=st.data(), Z=matrices(4))
def test_derivative_by_central_differences(xp, name, data, Z):
    # Away from the kinks at zero: the stencil reaches 2 h to both sides.
    h = 1e-3
    Z = Z + np.where(Z >= 0, 3 * h, -3 * h)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    dA, V = rng.standard_normal(Z.shape), rng.uniform(-1, 1, Z.shape)

    def shifted(k):
        return np.sum(dA * forward(xp, ACTIVATIONS[name], Z + k * h * V))

    numeric = (8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * h)
    dZ = backward(xp, ACTIVATIONS[name], dA, Z)
    # Fourth order: a truncation of h^4 times the fifth derivative, a rounding of eps |sum| / h.
    scale = np.sum(np.abs(dA)) * max(1, np.max(np.abs(forward(xp, ACTIVATIONS[name], Z))))
    assert abs(np.sum(dZ * V) - numeric) < 1e-10 * scale


@each_activation
@drawn
@given(data=st.data(), Z=matrices(8), dtype=dtypes)
def test_derivative_against_its_closed_form(xp, name, dtype, data, Z):
    dA = data.draw(hnp.arrays(dtype, Z.shape, elements=st.floats(-2, 2, width=32)))
    Z = Z.astype(dtype)
    dZ = backward(xp, ACTIVATIONS[name], dA, Z)
    # 1 - T^2 of GELU cancels to within eps and is then multiplied by up to 13 (near z = 5).
    eps = np.finfo(dtype).eps
    want = expected_dZ(name, dA.astype("float64"), Z.astype("float64"))
    assert_allclose(dZ, want, rtol=64 * eps, atol=64 * eps)


@each_dtype
@each_activation
def test_stable_at_huge_logits(xp, name, dtype):
    sizes = [1e4, 9999.5, 3e3, 500.0, 104.0, 60.0]
    limit = math.log(np.finfo(dtype).max) if name == "exponential" else math.inf
    row = [-z for z in sizes] + [0.0, -0.0] + [z for z in sizes if z < limit]
    Z = np.array([row, row[::-1], np.roll(row, 3)], dtype=dtype)
    dA = np.array([[1.0], [-0.5], [2.0]], dtype=dtype) * np.ones_like(Z)
    A, dZ = forward(xp, ACTIVATIONS[name], Z), backward(xp, ACTIVATIONS[name], dA, Z)
    assert np.all(np.isfinite(A))
    assert np.all(np.isfinite(dZ))
    # The condition number of exp(z) is |z|: here up to 60 (float32) or 500 (float64).
    eps = np.finfo(dtype).eps
    rtol = 500 * eps if name == "exponential" else 8 * eps
    exact = Z.astype("float64")
    assert_allclose(A, VALUES[name](exact), rtol=rtol, atol=eps)
    assert_allclose(dZ, expected_dZ(name, dA.astype("float64"), exact), rtol=rtol, atol=4 * eps)


@each_activation
@drawn
@given(Z=matrices(1e4), dtype=dtypes)
def test_declared_range_holds(xp, name, dtype, Z):
    if name == "exponential":
        Z = np.minimum(Z, 80)
    A = forward(xp, ACTIVATIONS[name], Z.astype(dtype))
    # The bounds are rounded as any number of that dtype is: -1.758... is no float32.
    low, high = np.array(ACTIVATIONS[name].range, dtype=dtype)
    assert A.min() >= low
    assert A.max() <= high


@each_activation
def test_range_is_no_wider_than_a_tenth_beyond_what_is_taken(xp, name):
    row = np.linspace(-40, 40, 4001)
    low, high = ACTIVATIONS[name].range
    A = forward(xp, ACTIVATIONS[name], np.stack([row, -row]))
    if math.isfinite(low):
        assert np.min(A) - low < 0.1
    else:
        assert np.min(A) < -0.3
    if math.isfinite(high):
        assert high - np.max(A) < 0.1
    else:
        assert np.max(A) > 10


@each_activation
def test_nan_propagates(xp, name):
    Z = np.array([[0.5, -1.0, 2.0], [1.5, np.nan, -2.0]])
    A = forward(xp, ACTIVATIONS[name], Z)
    bad = np.isnan(Z)
    if name == "softmax":  # the units of one example share a denominator
        bad = np.broadcast_to(bad.any(axis=0), Z.shape)
    assert_array_equal(np.isnan(A), bad)
    dZ = backward(xp, ACTIVATIONS[name], Z, np.abs(np.nan_to_num(Z)))
    assert_array_equal(np.isnan(dZ), bad)


@each_activation
def test_inputs_are_left_alone(xp, name):
    Z = np.linspace(-3, 3, 12).reshape(3, 4)
    before, dA = Z.copy(), np.ones_like(Z)
    Z.flags.writeable = dA.flags.writeable = False
    forward(xp, ACTIVATIONS[name], Z)
    backward(xp, ACTIVATIONS[name], dA, Z)
    assert_array_equal(Z, before)
    assert_array_equal(dA, np.ones_like(Z))


@drawn
@given(Z=matrices(20))
def test_softmax_columns_are_probabilities_and_ignore_a_shift(xp, Z):
    A = forward(xp, ACTIVATIONS["softmax"], Z)
    assert_allclose(np.sum(A, axis=0), 1, rtol=1e-14)
    shift = 1000.0 * np.arange(1, Z.shape[1] + 1)
    # Z + 5000 is rounded to 5000 eps, which is the relative error of its exponential.
    assert_allclose(forward(xp, ACTIVATIONS["softmax"], Z + shift), A, rtol=2e-12)


@drawn
@given(Z=matrices(6), alpha=st.floats(0.05, 0.95))
def test_leaky_relu_and_elu_with_their_own_alpha(xp, Z, alpha):
    dA = np.full_like(Z, 3.0)
    leaky, exponential = leaky_relu(alpha), elu(alpha)
    assert_allclose(forward(xp, leaky, Z), np.maximum(Z, alpha * Z), rtol=1e-15)
    assert_allclose(backward(xp, leaky, dA, Z), 3 * np.where(Z > 0, 1, alpha), rtol=1e-15)
    below = alpha * np.exp(np.minimum(Z, 0))
    wanted = np.maximum(Z, 0) + below - alpha
    assert_allclose(forward(xp, exponential, Z), wanted, rtol=1e-14, atol=1e-15)
    # Written from A: alpha exp(z) = A + alpha keeps the rounding of A, at most alpha eps.
    dZ = backward(xp, exponential, dA, Z)
    assert_allclose(dZ, 3 * np.where(Z > 0, 1, below), rtol=1e-14, atol=1e-15)
    assert np.all(forward(xp, exponential, Z) >= exponential.range[0])


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan])
def test_leaky_relu_refuses_alpha(alpha):
    with pytest.raises(DataError, match="leaky_relu: alpha must be between 0 and 1"):
        leaky_relu(alpha)


@pytest.mark.parametrize("alpha", [0, -1, math.nan])
def test_elu_refuses_alpha(alpha):
    with pytest.raises(DataError, match="elu: alpha must be positive"):
        elu(alpha)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("sigmiod", "sigmoid"),
        ("ReLU", "relu"),
        ("leakyrelu", "leaky_relu"),
        ("soft_max", "softmax"),
    ],
)
def test_unknown_name_gives_the_nearest(typed, meant):
    with pytest.raises(UnknownNameError, match=f"activation '{typed}'; did you mean '{meant}'"):
        get_activation(typed)


def test_unknown_name_without_a_near_one_lists_all():
    with pytest.raises(UnknownNameError) as caught:
        get_activation("qqqqqq")
    assert "did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in ACTIVATIONS)
    assert isinstance(caught.value, ValueError)


def test_names_and_objects_are_found():
    for name, activation in ACTIVATIONS.items():
        assert get_activation(name) is activation
        assert activation.name == activation.builtin == name
    own = leaky_relu(0.3)
    assert get_activation(own) is own


@drawn
@given(Z=matrices(3))
def test_a_user_s_own_activation(xp, Z):
    cube = Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
    assert cube.builtin is None
    assert_allclose(forward(xp, cube, Z), Z * Z * Z, rtol=1e-14)
    assert_allclose(backward(xp, cube, np.full_like(Z, 2.0), Z), 6 * Z * Z, rtol=1e-14)


@pytest.mark.parametrize("g", [*ACTIVATIONS.values(), leaky_relu(0.3), elu(2.0)])
def test_nnx_s_activations_can_be_pickled(g: Activation) -> None:
    """Processes exchange estimators that hold them."""
    again = pickle.loads(pickle.dumps(g))
    assert type(again) is type(g)
    assert (again.name, again.builtin, again.range) == (g.name, g.builtin, g.range)
    Z = np.linspace(-2, 2, 9)[None, :]
    assert_array_equal(again.forward(np, Z), g.forward(np, Z))


def test_an_activation_of_one_s_own_is_pickled_as_python_does() -> None:
    g = Elementwise("plain", np.negative, np.positive)
    assert pickle.loads(pickle.dumps(g)) == g
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(Elementwise("own", lambda xp, Z: Z, lambda xp, A: A))
