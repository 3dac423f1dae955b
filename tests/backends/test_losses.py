"""The reference losses against SciPy's formulas, central differences and ±1e4 logits."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from nnx.backends import get_backend
from nnx.backends.errors import DataError, UnknownNameError
from nnx.backends.reference.activations import ACTIVATIONS
from nnx.backends.reference.losses import (
    LOSSES,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    MeanSquaredError,
    Poisson,
    get_loss,
    loss_with_gradient,
)

special = pytest.importorskip("scipy.special")
stats = pytest.importorskip("scipy.stats")

drawn = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)
smoothings = st.sampled_from([0.0, 0.1, 0.5])
deltas = st.sampled_from([0.5, 1.0, 2.5])


@pytest.fixture(params=["cpu", "strict"], ids=["numpy", "strict"])
def xp(request):
    """The namespaces that the formulas run on."""
    return get_backend(request.param).xp


# The loss of each example (a column) from A and Y, in other words than the reference's.
FORMULAS = {
    "binary_cross_entropy": lambda A, Y: (
        -np.sum(special.xlogy(Y, A) + special.xlog1py(1 - Y, -A), axis=0)
    ),
    "categorical_cross_entropy": lambda A, Y: np.sum(special.xlogy(Y, 1 / A), axis=0),
    "mean_squared_error": lambda A, Y: np.linalg.norm(A - Y, axis=0) ** 2 / len(A),
    "mean_absolute_error": lambda A, Y: np.linalg.norm(A - Y, ord=1, axis=0) / len(A),
    "huber": lambda A, Y: np.mean(special.huber(1.0, A - Y), axis=0),
    "poisson": lambda A, Y: np.mean(-stats.poisson.logpmf(Y, A) - special.gammaln(Y + 1), axis=0),
}

# The pairs that a network may have: the activation's range lies in the loss's domain.
PAIRS = [
    (loss, activation)
    for loss in sorted(LOSSES)
    for activation, g in sorted(ACTIVATIONS.items())
    if LOSSES[loss].domain[0] <= g.range[0] and g.range[1] <= LOSSES[loss].domain[1]
]


def draw_targets(rng, loss, n_y, m):
    """One-hot columns, probabilities, counts or real values, as the loss wants them."""
    if loss.target == "classes":
        return np.eye(n_y)[:, rng.integers(n_y, size=m)]
    if loss.target == "binary":
        return rng.choice([0.0, 1.0, 0.3], size=(n_y, m))
    if loss.name == "poisson":
        return rng.integers(0, 9, size=(n_y, m)).astype("float64")
    return rng.normal(scale=2, size=(n_y, m))


def draw_outputs(rng, loss, n_y, m):
    """A inside the domain, where every formula is well conditioned."""
    if loss.target == "classes":
        return special.softmax(rng.normal(size=(n_y, m)), axis=0)
    if loss.target == "binary":
        return rng.uniform(0.01, 0.99, size=(n_y, m))
    if loss.name == "poisson":
        return rng.uniform(0.1, 9, size=(n_y, m))
    return rng.normal(scale=2, size=(n_y, m))


def numpy_of(x):
    return np.from_dlpack(x)


def cost(xp, loss, activation, Z, Y, weights=None):
    """J as a float and dZ as a NumPy array, through the public function."""
    Z = xp.asarray(Z)
    weights = None if weights is None else xp.asarray(weights)
    A = activation.forward(xp, Z)
    J, dZ = loss_with_gradient(xp, loss, activation, Z, A, xp.asarray(Y), weights)
    assert J.shape == ()
    assert dZ.dtype == Z.dtype
    assert J.dtype == Z.dtype
    return float(J), numpy_of(dZ)


def test_every_loss_has_an_independent_formula():
    assert set(FORMULAS) == set(LOSSES)
    assert len(PAIRS) == 3 * len(ACTIVATIONS) + 2 + 2 + 5


@each_dtype
@pytest.mark.parametrize("name", sorted(LOSSES))
@drawn
@given(n_y=sizes, m=sizes, seed=seeds)
def test_values(xp, name, dtype, n_y, m, seed):
    rng = np.random.default_rng(seed)
    loss = LOSSES[name]
    A = draw_outputs(rng, loss, n_y, m).astype(dtype)
    Y = draw_targets(rng, loss, n_y, m).astype(dtype)
    L = loss.losses(xp, xp.asarray(A), xp.asarray(Y))
    assert L.dtype == getattr(xp, dtype)
    want = FORMULAS[name](A.astype("float64"), Y.astype("float64"))
    # The terms of a Poisson loss reach 20 and may cancel.
    eps = np.finfo(dtype).eps
    assert_allclose(numpy_of(L), want, rtol=16 * eps, atol=(64 if name == "poisson" else 8) * eps)


@drawn
@given(n_y=sizes, m=sizes, seed=seeds, e=smoothings)
def test_values_from_logits_with_label_smoothing(xp, n_y, m, seed, e):
    rng = np.random.default_rng(seed)
    Z = rng.normal(scale=4, size=(n_y, m))
    onehot = np.eye(n_y)[:, rng.integers(n_y, size=m)]
    binary = rng.choice([0.0, 1.0, 0.3], size=(n_y, m))

    smooth = (1 - e) * onehot + e * np.full((n_y, m), 1 / n_y)
    want = -np.einsum("jm,jm->m", smooth, special.log_softmax(Z, axis=0))
    L = CategoricalCrossEntropy(e).linked_losses(xp, xp.asarray(Z), xp.asarray(onehot))
    assert_allclose(numpy_of(L), want, rtol=1e-13, atol=1e-13)

    smooth = (1 - e) * binary + e * 0.5
    want = -np.sum(smooth * special.log_expit(Z) + (1 - smooth) * special.log_expit(-Z), axis=0)
    L = BinaryCrossEntropy(e).linked_losses(xp, xp.asarray(Z), xp.asarray(binary))
    assert_allclose(numpy_of(L), want, rtol=1e-13, atol=1e-13)


def test_label_smoothing_by_hand(xp):
    Z = np.log(np.array([[0.5], [0.3], [0.2]]))
    J, dZ = cost(xp, CategoricalCrossEntropy(0.3), ACTIVATIONS["softmax"], Z, np.array([1]))
    assert math.isclose(
        J, -(0.1 * math.log(0.5) + 0.8 * math.log(0.3) + 0.1 * math.log(0.2)), rel_tol=1e-14
    )
    assert_allclose(dZ[:, 0], [0.5 - 0.1, 0.3 - 0.8, 0.2 - 0.1], rtol=1e-14)

    Z, Y = np.array([[math.log(3)]]), np.array([[1.0]])  # a = 3/4
    J, dZ = cost(xp, BinaryCrossEntropy(0.2), ACTIVATIONS["sigmoid"], Z, Y)
    assert math.isclose(J, -(0.9 * math.log(0.75) + 0.1 * math.log(0.25)), rel_tol=1e-14)
    assert_allclose(dZ, [[0.75 - 0.9]], rtol=1e-14)


@pytest.mark.parametrize("loss_class", [BinaryCrossEntropy, CategoricalCrossEntropy])
@pytest.mark.parametrize("e", [-0.1, 1, 1.5, math.nan])
def test_bad_label_smoothing(loss_class, e):
    with pytest.raises(DataError, match=r"label_smoothing must be in \[0, 1\)"):
        loss_class(e)


@drawn
@given(n_y=sizes, m=sizes, seed=seeds, delta=deltas)
def test_huber_of_any_delta(xp, n_y, m, seed, delta):
    rng = np.random.default_rng(seed)
    A, Y = rng.normal(scale=3, size=(2, n_y, m))
    loss = Huber(delta)
    L, dA = (f(xp, xp.asarray(A), xp.asarray(Y)) for f in (loss.losses, loss.gradient))
    assert_allclose(
        numpy_of(L), np.mean(special.huber(delta, A - Y), axis=0), rtol=1e-13, atol=1e-14
    )
    assert_allclose(numpy_of(dA), np.clip(A - Y, -delta, delta) / n_y, rtol=1e-15)


def test_huber_by_hand(xp):
    A, Y = xp.asarray([[0.0, 0.5, 2.0, -3.0, 1.0]]), xp.asarray([[0.0] * 5])
    assert numpy_of(Huber().losses(xp, A, Y)).tolist() == [0, 0.125, 1.5, 2.5, 0.5]
    assert numpy_of(Huber().gradient(xp, A, Y)).tolist() == [[0, 0.5, 1, -1, 1]]


@pytest.mark.parametrize("delta", [0, -1, math.nan])
def test_huber_refuses_delta(delta):
    with pytest.raises(DataError, match="huber: delta must be positive"):
        Huber(delta)


def test_absolute_error_by_hand(xp):
    A, Y = xp.asarray([[1.0, 2.0], [3.0, -1.0]]), xp.asarray([[1.0, 0.0], [5.0, -0.5]])
    loss = get_loss("mean_absolute_error")
    assert numpy_of(loss.losses(xp, A, Y)).tolist() == [1.0, 1.25]
    assert numpy_of(loss.gradient(xp, A, Y)).tolist() == [[0, 0.5], [-0.5, -0.5]]


def test_squared_error_is_the_mean_over_all_elements(xp):
    rng = np.random.default_rng(1)
    A, Y = rng.normal(size=(2, 3, 4))
    J, dZ = cost(xp, MeanSquaredError(), ACTIVATIONS["identity"], A, Y)
    assert math.isclose(J, np.mean((A - Y) ** 2), rel_tol=1e-14)
    assert_allclose(dZ, 2 * (A - Y) / 3, rtol=1e-15)


@pytest.mark.parametrize(("loss_name", "activation_name"), PAIRS)
@settings(drawn, max_examples=10)
@given(n_y=sizes, m=sizes, seed=seeds, weighted=st.booleans())
def test_gradient_by_central_differences(xp, loss_name, activation_name, n_y, m, seed, weighted):
    rng = np.random.default_rng(seed)
    loss, g = LOSSES[loss_name], ACTIVATIONS[activation_name]
    h = 1e-3
    Z = rng.uniform(3 * h, 2, size=(n_y, m)) * rng.choice([-1, 1], size=(n_y, m))
    if loss_name == "poisson":  # log a is steep near zero, where a ReLU would put a
        Z = np.abs(Z) + 0.5
    Y = draw_targets(rng, loss, n_y, m)
    if loss_name in ("mean_absolute_error", "huber"):  # keep |a - y| off the kinks at 0 and delta
        sides = rng.choice([-2.0, -0.5, 0.5, 2.0], size=(n_y, m))
        Y = numpy_of(g.forward(xp, xp.asarray(Z))) + sides
    weights = rng.uniform(0.5, 2, size=m) if weighted else None
    V = rng.uniform(-1, 1, size=(n_y, m))

    def shifted(k):
        return cost(xp, loss, g, Z + k * h * V, Y, weights)[0]

    numeric = (8 * (shifted(1) - shifted(-1)) - (shifted(2) - shifted(-2))) / (12 * h)
    J, dZ = cost(xp, loss, g, Z, Y, weights)
    # dZ is of the summed losses, J their mean. Fourth order: truncation h^4, rounding eps |J| / h.
    assert abs(np.sum(dZ * V) / m - numeric) < 1e-10 * (1 + abs(J)) * (1 + np.sum(np.abs(dZ)))


@pytest.mark.parametrize("name", sorted(LOSSES))
@drawn
@given(n_y=sizes, m=sizes, seed=seeds, e=smoothings)
def test_linked_formulas_are_the_chain(xp, name, n_y, m, seed, e):
    rng = np.random.default_rng(seed)
    smooth = {
        "binary_cross_entropy": BinaryCrossEntropy(e),
        "categorical_cross_entropy": CategoricalCrossEntropy(e),
    }
    loss = smooth.get(name, LOSSES[name])
    link = ACTIVATIONS[loss.link]
    Z = xp.asarray(rng.uniform(-3, 3, size=(n_y, m)))  # not saturated: e^-6 at least
    Y = xp.asarray(draw_targets(rng, loss, n_y, m))
    A = link.forward(xp, Z)
    assert_allclose(
        numpy_of(loss.linked_losses(xp, Z, Y)),
        numpy_of(loss.losses(xp, A, Y)),
        rtol=1e-13,
        atol=1e-13,
    )
    chain = link.backward(xp, loss.gradient(xp, A, Y), A)
    # a (1 - a) >= 0.002, so that the rounding of 1 - a is divided by it.
    assert_allclose(
        numpy_of(loss.linked_gradient(xp, A, Y)), numpy_of(chain), rtol=1e-12, atol=1e-12
    )


@drawn
@given(n_y=sizes, m=sizes, seed=seeds, e=smoothings, kind=st.sampled_from(["int64", "int32"]))
def test_labels_equal_one_hot_columns(xp, n_y, m, seed, e, kind):
    rng = np.random.default_rng(seed)
    loss = CategoricalCrossEntropy(e)
    labels = rng.integers(n_y, size=m).astype(kind)
    onehot = np.zeros((n_y, m), dtype="float32")
    onehot[labels, np.arange(m)] = 1
    Z = rng.normal(size=(n_y, m)).astype("float32")
    A = special.softmax(Z, axis=0)
    assert A.dtype == Z.dtype
    for method, argument in (
        (loss.losses, A),
        (loss.gradient, A),
        (loss.linked_losses, Z),
        (loss.linked_gradient, A),
    ):
        argument = xp.asarray(argument)
        from_labels = method(xp, argument, xp.asarray(labels))
        assert from_labels.dtype == xp.float32
        from_onehot = method(xp, argument, xp.asarray(onehot))
        assert_array_equal(numpy_of(from_labels), numpy_of(from_onehot))


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])  # linked and not
@drawn
@given(n_y=sizes, m=sizes, seed=seeds)
def test_example_weights(xp, activation, n_y, m, seed):
    rng = np.random.default_rng(seed)
    loss, g = CategoricalCrossEntropy(), ACTIVATIONS[activation]
    Z, labels = rng.normal(size=(n_y, m)), rng.integers(n_y, size=m)
    s = rng.uniform(0.1, 2, size=m)
    J, dZ = cost(xp, loss, g, Z, labels, s)
    alone = [cost(xp, loss, g, Z[:, [i]], labels[[i]]) for i in range(m)]
    assert math.isclose(J, sum(s[i] * alone[i][0] for i in range(m)) / m, rel_tol=1e-13)
    for i in range(m):
        assert_allclose(dZ[:, i], s[i] * alone[i][1][:, 0], rtol=1e-12, atol=1e-15)


def test_weights_of_one_are_no_weights(xp):
    rng = np.random.default_rng(5)
    Z, labels = rng.normal(size=(3, 4)), np.array([0, 2, 1, 1])
    args = xp, CategoricalCrossEntropy(), ACTIVATIONS["softmax"], Z, labels
    without, with_ones = cost(*args), cost(*args, np.ones(4))
    assert without[0] == with_ones[0]
    assert_array_equal(without[1], with_ones[1])


@each_dtype
def test_linked_cross_entropies_are_right_at_huge_logits(xp, dtype):
    eps = np.finfo(dtype).eps
    values = [-1e4, -3000.0, -90.0, 0.0, 90.0, 3000.0, 1e4]
    Z = np.array([values, values[::-1], np.roll(values, 2)], dtype=dtype)
    exact = Z.astype("float64")

    for y in (0.0, 1.0, 0.25):
        Y = np.full(Z.shape, y, dtype=dtype)
        J, dZ = cost(xp, BinaryCrossEntropy(), ACTIVATIONS["sigmoid"], Z, Y)
        want = -np.sum(y * special.log_expit(exact) + (1 - y) * special.log_expit(-exact), axis=0)
        assert math.isclose(J, np.mean(want), rel_tol=8 * eps)
        assert_allclose(dZ, special.expit(exact) - y, rtol=4 * eps, atol=eps)

    for label in range(3):
        Y = np.full(len(values), label)
        J, dZ = cost(xp, CategoricalCrossEntropy(), ACTIVATIONS["softmax"], Z, Y)
        assert math.isclose(J, np.mean(-special.log_softmax(exact, axis=0)[label]), rel_tol=8 * eps)
        assert_allclose(
            dZ, special.softmax(exact, axis=0) - np.eye(3)[:, Y], rtol=4 * eps, atol=eps
        )


@each_dtype
@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_value_losses_are_right_at_huge_outputs(xp, name, dtype):
    eps = np.finfo(dtype).eps
    Z = np.array([[1e4, -1e4, 0.0], [0.25, 1e4, -1e4]], dtype=dtype)
    Y = np.array([[-1e4, -1e4, 1e4], [0.0, -0.5, 1e4]], dtype=dtype)
    J, dZ = cost(xp, get_loss(name), ACTIVATIONS["identity"], Z, Y)
    E = Z.astype("float64") - Y
    slope = {"mean_squared_error": E, "mean_absolute_error": np.sign(E) / 2}
    assert math.isclose(J, np.mean(FORMULAS[name](E, 0 * E)), rel_tol=8 * eps)
    assert_allclose(dZ, slope.get(name, np.clip(E, -1, 1) / 2), rtol=4 * eps)


@each_dtype
def test_poisson_is_right_at_hugely_negative_logits(xp, dtype):
    Z = np.array([[-1e4, -500.0, -1e4]], dtype=dtype)
    Y = np.array([[3.0, 1.0, 0.0]], dtype=dtype)
    J, dZ = cost(xp, Poisson(), ACTIVATIONS["exponential"], Z, Y)
    assert math.isclose(J, (3e4 + 500) / 3, rel_tol=1e-6)
    assert_allclose(dZ, [[-3, -1, 0]], atol=1e-200)


@each_dtype
@pytest.mark.parametrize(("loss_name", "activation_name"), PAIRS)
def test_every_pair_is_finite_at_huge_logits(xp, loss_name, activation_name, dtype):
    loss = LOSSES[loss_name]
    rows = [[1e4, -1e4, 300.0, -300.0, 1e4], [-1e4, 1e4, -300.0, -120.0, 1e4]]
    Z = np.array(rows, dtype=dtype)
    if activation_name == "exponential":  # e^40, whose square is a float32
        Z = np.minimum(Z, 40)
    targets = {"classes": [np.eye(2)[[0, 0, 0, 0, 0]].T, np.eye(2)[[1, 1, 1, 1, 1]].T]}
    targets["binary"] = [np.zeros((2, 5)), np.ones((2, 5))]
    targets["values"] = [np.zeros((2, 5)), np.full((2, 5), 20.0)]  # 20: a count, for Poisson
    for Y in targets[loss.target]:
        J, dZ = cost(xp, loss, ACTIVATIONS[activation_name], Z, Y.astype(dtype))
        assert math.isfinite(J)
        assert np.all(np.isfinite(dZ))


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_nan_propagates(xp, name):
    loss = LOSSES[name]
    link = ACTIVATIONS[loss.link]
    Z = np.array([[0.1, np.nan, 0.3], [0.2, 0.4, -0.1]])
    Y = np.array([[1.0, 1, 0], [0, 0, 1]])
    bad = [False, True, False]
    for method, argument in (
        (loss.losses, np.abs(Z)),
        (loss.gradient, np.abs(Z)),
        (loss.linked_losses, Z),
        (loss.linked_gradient, np.abs(Z)),
    ):
        result = numpy_of(method(xp, xp.asarray(argument), xp.asarray(Y)))
        assert_array_equal(np.isnan(result if result.ndim == 1 else result[0]), bad)
    J, dZ = cost(xp, loss, link, Z, Y)
    assert math.isnan(J)
    assert np.isnan(dZ[0]).tolist() == bad


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_inputs_are_left_alone(xp, name):
    rng = np.random.default_rng(0)
    loss = LOSSES[name]
    A, Y = draw_outputs(rng, loss, 3, 4), draw_targets(rng, loss, 3, 4)
    s = np.ones(4)
    copies = A.copy(), Y.copy(), s.copy()
    for x in (A, Y, s):
        x.flags.writeable = False
    for activation in ("identity", loss.link):
        cost(xp, loss, ACTIVATIONS[activation], A, Y, s)
    assert_array_equal(A, copies[0])
    assert_array_equal(Y, copies[1])
    assert_array_equal(s, copies[2])


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("binary_crossentropy", "binary_cross_entropy"),
        ("Mean_Squared_Eror", "mean_squared_error"),
        ("hubber", "huber"),
    ],
)
def test_unknown_name_gives_the_nearest(typed, meant):
    with pytest.raises(UnknownNameError, match=f"loss '{typed}'; did you mean '{meant}'"):
        get_loss(typed)


def test_unknown_name_lists_all():
    with pytest.raises(UnknownNameError) as caught:
        get_loss("zzz")
    assert "did you mean" not in str(caught.value)
    assert all(name in str(caught.value) for name in LOSSES)


def test_names_and_objects_are_found():
    for name, loss in LOSSES.items():
        assert get_loss(name) is loss
        assert loss.name == name
    own = Huber(0.3)
    assert get_loss(own) is own
