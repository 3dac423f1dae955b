"""Every primitive on NumPy and on array-api-strict, held to the reference formulas in float64.

Inputs are drawn in every memory order and are read-only on NumPy; outputs are drawn likewise and
start as NaN, inside a larger array of which the rest must not change.
"""

import inspect
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from nnx.backends import Backend, get_backend
from nnx.backends.cpu import CpuBackend
from nnx.backends.reference import dense, losses
from nnx.backends.reference.activations import (
    ACTIVATIONS,
    Elementwise,
    elu,
    get_activation,
    leaky_relu,
)
from nnx.backends.reference.dropout import dropout, make_key
from nnx.backends.reference.losses import LOSSES, BinaryCrossEntropy, CategoricalCrossEntropy
from nnx.backends.reference.sklearn_losses import ClippedCategoricalCrossEntropy
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)

drawn = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
sizes = st.one_of(st.just(1), st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["float32", "float64"])
orders = st.sampled_from(["C", "F", "strided", "reversed"])
outs = st.sampled_from([None, "C", "F", "strided", "reversed"])

CUBE = Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
# One of each kind: those that an override treats alone, from A, from Z, by column, a user's own.
KINDS = [ACTIVATIONS[name] for name in ("identity", "relu", "tanh", "softmax", "gelu")]
KINDS += [leaky_relu(0.3), CUBE]
each_kind = pytest.mark.parametrize("g", KINDS, ids=lambda g: g.name)
every_activation = pytest.mark.parametrize(
    "g", [*ACTIVATIONS.values(), elu(0.5)], ids=lambda g: f"{g.name}{getattr(g, 'alpha', 0) or ''}"
)


@pytest.fixture(params=["cpu", "strict"])
def backend(request):
    return get_backend(request.param)


def lay_out(values, order):
    """A copy of values, (n, m) or (n,), and the larger array that holds it."""
    if order in ("C", "F"):
        base = np.array(values, order=order)
        return base, base
    step = 2 if order == "strided" else -1
    base = np.full([3 * size + 1 for size in values.shape], -7, dtype=values.dtype)
    part = tuple(
        slice(1, 1 + 2 * size, 2) if step == 2 else slice(size, 0, -1) for size in values.shape
    )
    view = base[part]
    view[...] = values
    return view, base


class Draw:
    """Draws arrays for a backend, and checks at the end what was written where."""

    def __init__(self, backend, dtype, seed):
        self.backend, self.dtype = backend, dtype
        self.rng = np.random.default_rng(seed)
        self.tolerance = 100 * np.finfo(dtype).eps
        self._inputs, self._outputs = [], []

    def given(self, values, order="F", dtype=None):
        """An input: (its exact float64 values, the array on the device)."""
        view, base = lay_out(np.asarray(values).astype(dtype or self.dtype), order)
        base.flags.writeable = view.flags.writeable = False
        x = self.backend.xp.asarray(view)
        self._inputs.append((base, base.copy(), x, view.copy()))
        exact = view.astype("float64") if view.dtype.kind == "f" else view.copy()
        return exact, x

    def normal(self, *shape, order="F", scale=1.0):
        return self.given(self.rng.normal(size=shape, scale=scale), order)

    def out(self, shape, order):
        """An output to write into, full of NaN; None where order is."""
        if order is None:
            return None
        view, base = lay_out(np.full(shape, np.nan, dtype=self.dtype), order)
        x = self.backend.xp.asarray(view)
        assert np.shares_memory(np.from_dlpack(x), base)  # else the checks below see nothing
        self._outputs.append((view, base))
        return x

    def check(self, result, want, out=None):
        """The result has the values, dtype and shape wanted, and lies in out where it is given."""
        assert result.dtype == self.backend.dtype(self.dtype)
        assert result.shape == want.shape
        got = np.from_dlpack(result)
        assert_allclose(got, want, rtol=self.tolerance, atol=self.tolerance)
        if out is not None:
            assert result is out
            view = next(v for v, _ in self._outputs if np.shares_memory(v, got))
            assert_array_equal(view, got)

    def finish(self):
        for base, before, x, values in self._inputs:
            assert_array_equal(base, before)
            assert_array_equal(np.from_dlpack(x), values)
        for view, base in self._outputs:  # around the view nothing has changed
            view[...] = -7
            assert np.all(base == -7)


# -- the set of primitives ------------------------------------------------------------------------


def test_overrides_have_the_signature_of_the_reference():
    for name, method in vars(CpuBackend).items():
        if callable(method) and not name.startswith("_"):
            base = getattr(Backend, name)
            assert inspect.signature(method) == inspect.signature(base), name


def test_every_primitive_is_tested_here():
    """A primitive is a public method whose first argument is an array, a loss or a rule."""
    arrays = {"owns", "dtype", "asarray", "to_numpy", "empty", "zeros", "synchronize", "timer"}
    arrays |= {"active", "memory", "describe", "check_same"}
    public = {name for name, f in vars(Backend).items() if callable(f) and name[0] != "_"}
    assert public - arrays == {
        "dense_forward",
        "dense_backward",
        "activation_backward",
        "weight_gradient",
        "loss_with_gradient",
        "update",
        "gather",
        "dropout",
    }
    assert CpuBackend.dropout is Backend.dropout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("loss_class", [CategoricalCrossEntropy, ClippedCategoricalCrossEntropy])
def test_the_short_way_from_labels(loss_class, labels, smoothing, weighted, dtype):
    """The short way for labels, and the reference's for all others."""
    rng, g = np.random.default_rng(0), get_activation("softmax")
    Z = np.asfortranarray(rng.standard_normal((4, 30)) * 3, dtype=dtype)
    Z[:, 0] = [0, 100, 0, 0]  # beyond what is clipped
    Y = np.where(np.arange(30) == 0, 2, rng.integers(0, 4, 30))
    Y = Y if labels else np.eye(4, dtype=dtype)[:, Y]
    weights = rng.uniform(0.5, 2, 30).astype(dtype) if weighted else None
    A, dZ = g.forward(np, Z), np.empty_like(Z)
    loss = loss_class(label_smoothing=smoothing)
    J, same = CpuBackend().loss_with_gradient(loss, g, Z, A, Y, weights, dZ=dZ)
    wanted, slope = Backend.loss_with_gradient(CpuBackend(), loss, g, Z, A, Y, weights)
    assert same is dZ
    np.testing.assert_allclose(J, wanted, rtol=1e-5 if dtype == "float32" else 1e-13)
    np.testing.assert_allclose(dZ, slope, rtol=1e-5, atol=1e-12)
    _, new = CpuBackend().loss_with_gradient(loss, g, Z, A, Y, weights)
    np.testing.assert_array_equal(new, dZ)
    np.testing.assert_array_equal(A, g.forward(np, Z))


# -- dense layers ---------------------------------------------------------------------------------


@each_kind
@drawn
@given(
    n=sizes,
    k=sizes,
    m=sizes,
    seed=seeds,
    dtype=dtypes,
    order=orders,
    out_A=outs,
    out_Z=outs,
)
def test_dense_forward(backend, g, n, k, m, seed, dtype, order, out_A, out_Z):
    out_Z = None if out_A is None else out_Z  # Z alone: below
    draw = Draw(backend, dtype, seed)
    W, W_ = draw.normal(n, k, order=order, scale=k**-0.5)
    b, b_ = draw.normal(n, 1, order=order)
    X, X_ = draw.normal(k, m, order=order)
    A_out, Z_out = draw.out((n, m), out_A), draw.out((n, m), out_Z)
    A, Z = backend.dense_forward(W_, b_, X_, g, A=A_out, Z=Z_out)
    want_A, want_Z = dense.dense_forward(np, W, b, X, g)
    draw.check(A, want_A, A_out)
    if A_out is None or Z_out is not None:
        draw.check(Z, want_Z, Z_out)
    else:
        assert Z is None
    draw.finish()


@pytest.mark.parametrize("name", ["identity", "relu", "gelu"])
def test_dense_forward_into_z_alone(backend, name):
    draw = Draw(backend, "float64", 8)
    (W, W_), (b, b_), (X, X_) = draw.normal(4, 3), draw.normal(4, 1), draw.normal(3, 5)
    Z_out = draw.out((4, 5), "F")
    A, Z = backend.dense_forward(W_, b_, X_, ACTIVATIONS[name], Z=Z_out)
    want_A, want_Z = dense.dense_forward(np, W, b, X, ACTIVATIONS[name])
    draw.check(Z, want_Z, Z_out)
    draw.check(A, want_A)


@every_activation
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_activation_through_its_primitives(backend, g, dtype):
    draw = Draw(backend, dtype, 21)
    (W, W_), (b, b_), (X, X_) = draw.normal(6, 3), draw.normal(6, 1), draw.normal(3, 20)
    A_out, Z_out = draw.out((6, 20), "F"), draw.out((6, 20), "F")
    backend.dense_forward(W_, b_, X_, g, A=A_out, Z=Z_out)
    want_A, want_Z = dense.dense_forward(np, W, b, X, g)
    draw.check(A_out, want_A)
    draw.check(Z_out, want_Z)
    cache, cache_ = draw.given(want_A if g.derivative_from == "A" else want_Z)
    (V, V_), (dZ, dZ_) = draw.normal(2, 6), draw.normal(2, 20)
    want = dense.dense_backward(np, V, dZ, g, cache)
    draw.check(backend.dense_backward(V_, dZ_, g, cache_), want)
    draw.finish()


@drawn
@given(n=sizes, k=sizes, m=sizes, seed=seeds, dtype=dtypes)
def test_dense_forward_gives_columns_that_are_contiguous(n, k, m, seed, dtype):
    backend, draw = get_backend("cpu"), Draw(get_backend("cpu"), dtype, seed)
    (_, W), (_, b), (_, X) = draw.normal(n, k), draw.normal(n, 1), draw.normal(k, m)
    for x in backend.dense_forward(W, b, X, ACTIVATIONS["tanh"]):
        assert x.flags.f_contiguous
    dX = backend.dense_backward(W, draw.normal(n, m)[1], ACTIVATIONS["relu"], X)
    assert dX.flags.f_contiguous


@each_kind
@drawn
@given(n=sizes, k=sizes, m=sizes, seed=seeds, dtype=dtypes, order=orders, out=outs)
def test_dense_backward(backend, g, n, k, m, seed, dtype, order, out):
    draw = Draw(backend, dtype, seed)
    W, W_ = draw.normal(n, k, order=order, scale=n**-0.5)
    dZ, dZ_ = draw.normal(n, m, order=order)
    Z_prev = draw.rng.normal(size=(k, m))
    values = Z_prev if g.derivative_from == "Z" else g.forward(np, Z_prev)
    cache, cache_ = draw.given(values, order)
    target = draw.out((k, m), out)
    result = backend.dense_backward(W_, dZ_, g, cache_, out=target)
    draw.check(result, dense.dense_backward(np, W, dZ, g, cache), target)
    draw.finish()


@each_kind
@drawn
@given(n=sizes, m=sizes, seed=seeds, dtype=dtypes, order=orders, out=outs)
def test_activation_backward(backend, g, n, m, seed, dtype, order, out):
    draw = Draw(backend, dtype, seed)
    dA, dA_ = draw.normal(n, m, order=order)
    Z = draw.rng.normal(size=(n, m))
    cache, cache_ = draw.given(Z if g.derivative_from == "Z" else g.forward(np, Z), order)
    target = draw.out((n, m), out)
    result = backend.activation_backward(g, dA_, cache_, out=target)
    draw.check(result, g.backward(np, dA, cache), target)
    draw.finish()


@each_kind
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_activation_backward_into_its_own_input(backend, g, order):
    draw = Draw(backend, "float64", 3)
    values, Z = draw.rng.normal(size=(2, 4, 3))
    cache, cache_ = draw.given(Z if g.derivative_from == "Z" else g.forward(np, Z), order)
    dA = draw.out((4, 3), order)
    dA[...] = backend.xp.asarray(values)
    result = backend.activation_backward(g, dA, cache_, out=dA)
    draw.check(result, g.backward(np, values, cache), dA)
    draw.finish()


@drawn
@given(
    n=sizes,
    k=sizes,
    m=sizes,
    seed=seeds,
    dtype=dtypes,
    order=orders,
    out_dW=outs,
    out_db=outs,
)
def test_weight_gradient(backend, n, k, m, seed, dtype, order, out_dW, out_db):
    draw = Draw(backend, dtype, seed)
    dZ, dZ_ = draw.normal(n, m, order=order)
    A_prev, A_prev_ = draw.normal(k, m, order=order)
    dW_out, db_out = draw.out((n, k), out_dW), draw.out((n, 1), out_db)
    dW, db = backend.weight_gradient(dZ_, A_prev_, dW=dW_out, db=db_out)
    want_dW, want_db = dense.weight_gradient(np, dZ, A_prev)
    draw.check(dW, want_dW, dW_out)
    draw.check(db, want_db, db_out)
    draw.finish()


def test_dense_primitives_by_hand(backend):
    """The lecture's three products on numbers small enough for paper."""
    xp = backend.xp
    W, b = xp.asarray([[1.0, 2.0], [0.0, -1.0]]), xp.asarray([[0.5], [0.0]])
    X = xp.asarray([[1.0, -3.0, 0.0], [1.0, 1.0, 2.0]])
    A, Z = backend.dense_forward(W, b, X, ACTIVATIONS["relu"])
    assert backend.to_numpy(Z).tolist() == [[3.5, -0.5, 4.5], [-1.0, -1.0, -2.0]]
    assert backend.to_numpy(A).tolist() == [[3.5, 0.0, 4.5], [0.0, 0.0, 0.0]]
    dZ = xp.asarray([[3.0, 0.0, 3.0], [0.0, 6.0, 0.0]])
    dW, db = backend.weight_gradient(dZ, X)
    assert_allclose(backend.to_numpy(dW), [[1.0, 3.0], [-6.0, 2.0]], rtol=1e-15)
    assert_allclose(backend.to_numpy(db), [[2.0], [2.0]], rtol=1e-15)
    dX = backend.dense_backward(W, dZ, ACTIVATIONS["relu"], X)
    assert backend.to_numpy(dX).tolist() == [[3.0, 0.0, 0.0], [6.0, -6.0, 6.0]]


@pytest.mark.parametrize("shape", [(33, 70, 129), (128, 64, 200), (1, 784, 64)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dense_primitives_at_sizes_of_real_layers(backend, shape, dtype):
    n, k, m = shape
    draw = Draw(backend, dtype, 11)
    W, W_ = draw.normal(n, k, scale=k**-0.5)
    b, b_ = draw.normal(n, 1)
    X, X_ = draw.normal(k, m)
    dZ, dZ_ = draw.normal(n, m, scale=n**-0.5)
    g = ACTIVATIONS["tanh"]
    A, Z = backend.dense_forward(W_, b_, X_, g)
    draw.check(Z, W @ X + b)
    draw.check(A, np.tanh(W @ X + b))
    draw.check(backend.dense_backward(W_, dZ_, g, X_), W.T @ dZ * (1 - X * X))
    dW, db = backend.weight_gradient(dZ_, X_)
    draw.check(dW, np.einsum("im,jm->ij", dZ, X) / m)
    draw.check(db, dZ.mean(axis=1, keepdims=True))
    draw.finish()


@pytest.mark.parametrize("name", ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus"])
def test_special_values_pass_as_through_the_reference(backend, name):
    g = ACTIVATIONS[name]
    row = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324]])
    xp = backend.xp
    W, b, X = xp.asarray([[1.0]]), xp.asarray([[-0.0]]), xp.asarray(row)
    for A_out in (None, xp.zeros((1, 7))):
        A, _ = backend.dense_forward(W, b, X, g, A=A_out)
        assert_array_equal(backend.to_numpy(A), g.forward(np, row))
    if g.derivative_from == "A":
        cache = g.forward(np, row)
        dA = np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]])
        got = backend.activation_backward(g, xp.asarray(dA), xp.asarray(cache))
        assert_array_equal(backend.to_numpy(got), g.backward(np, dA, cache))
        dA[...] = np.nan
        got = backend.activation_backward(g, xp.asarray(dA), xp.asarray(cache))
        assert np.all(np.isnan(backend.to_numpy(got)))


# -- losses ---------------------------------------------------------------------------------------

PAIRS = [
    ("binary_cross_entropy", "sigmoid"),
    ("binary_cross_entropy", "softmax"),
    ("categorical_cross_entropy", "softmax"),
    ("categorical_cross_entropy", "sigmoid"),
    ("mean_squared_error", "identity"),
    ("mean_squared_error", "gelu"),
    ("mean_absolute_error", "identity"),
    ("mean_absolute_error", "tanh"),
    ("huber", "identity"),
    ("huber", "relu"),
    ("poisson", "exponential"),
    ("poisson", "softplus"),
]


def draw_targets(rng, loss, n_y, m):
    if loss.target == "classes":
        return rng.integers(n_y, size=m)
    if loss.target == "binary" or loss.name == "poisson":
        return rng.integers(2, size=(n_y, m)).astype("float64")
    return rng.normal(size=(n_y, m))


@pytest.mark.parametrize(("loss_name", "activation_name"), PAIRS)
@drawn
@given(
    n_y=sizes,
    m=sizes,
    seed=seeds,
    dtype=dtypes,
    order=orders,
    out=outs,
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.2]),
)
def test_loss_with_gradient(
    backend, loss_name, activation_name, n_y, m, seed, dtype, order, out, weighted, smoothing
):
    draw = Draw(backend, dtype, seed)
    smooth = {
        "binary_cross_entropy": BinaryCrossEntropy,
        "categorical_cross_entropy": CategoricalCrossEntropy,
    }
    loss = smooth[loss_name](smoothing) if loss_name in smooth else LOSSES[loss_name]
    g = ACTIVATIONS[activation_name]
    if (loss_name, activation_name) == ("binary_cross_entropy", "softmax"):
        n_y += 1  # the softmax of one unit is 1, where the clip depends on the dtype
    Z, Z_ = draw.normal(n_y, m, order=order)
    A, A_ = draw.given(g.forward(np, Z), order)
    targets = draw_targets(draw.rng, loss, n_y, m)
    if targets.ndim == 2 and loss_name in ("huber", "mean_absolute_error"):
        # Off the kinks: which side an error lies on must not hang on its last bit.
        targets = A + draw.rng.choice([-2.0, -0.5, 0.5, 2.0], size=(n_y, m))
    Y, Y_ = draw.given(targets, order, dtype="int64" if targets.ndim == 1 else None)
    s, s_ = draw.given(draw.rng.uniform(0.5, 1.5, size=m), order) if weighted else (None, None)
    target = draw.out((n_y, m), out)
    J, dZ = backend.loss_with_gradient(loss, g, Z_, A_, Y_, s_, dZ=target)
    want_J, want_dZ = losses.loss_with_gradient(np, loss, g, Z, A, Y, s)
    assert J.shape == ()
    assert math.isclose(J, want_J, rel_tol=draw.tolerance, abs_tol=draw.tolerance)
    draw.check(dZ, want_dZ, target)
    draw.finish()


# -- the rest -------------------------------------------------------------------------------------


class SignRule(UpdateRule):
    """A rule of a user's own, with a slot that counts."""

    name = "sign"
    slots = ("count",)

    def apply(self, xp, theta, g, slots, learning_rate, t):
        """Theta := theta - alpha sign(g)."""
        slots["count"] += t
        theta -= learning_rate * xp.sign(g)


class WholeVectorAdam(AdamRule):
    """A subclass that looks at the whole gradient: it must not be cut into blocks."""

    def apply(self, xp, theta, g, slots, learning_rate, t):
        """Adam on g divided by its largest element."""
        super().apply(xp, theta, g / xp.max(xp.abs(g)), slots, learning_rate, t)


RULES = [
    GradientDescentRule(),
    MomentumRule(0.9),
    MomentumRule(0.8, nesterov=True),
    RMSpropRule(),
    AdamRule(),
    AdamRule(weight_decay=0.05),
    SignRule(),
    WholeVectorAdam(),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@settings(drawn, max_examples=10)
@given(
    size=st.sampled_from([1, 7, 16_383, 16_384, 16_385, 40_000]),
    seed=seeds,
    dtype=dtypes,
    strided=st.booleans(),
)
def test_update(backend, rule, size, seed, dtype, strided):
    rng = np.random.default_rng(seed)

    def vector(values):
        base = np.full(2 * size, -7, dtype=dtype)
        view = base[::2] if strided else base[:size]
        view[...] = values
        return base, view, backend.xp.asarray(view)

    base, theta, theta_ = vector(rng.normal(size=size))
    slots = {name: vector(0) for name in rule.slots}
    exact = theta.astype("float64")
    exact_slots = {name: np.zeros(size) for name in rule.slots}
    for t in range(1, 4):
        g = rng.uniform(0.1, 1, size=size) * rng.choice([-1, 1], size=size)
        _, g, g_ = vector(g)
        rule.apply(np, exact, g.astype("float64"), exact_slots, 0.05, t)
        backend.update(rule, theta_, g_, {name: s[2] for name, s in slots.items()}, 0.05, t)
    tolerance = 16 * np.finfo(dtype).eps
    assert_allclose(theta, exact, rtol=tolerance, atol=tolerance)
    for name, (_, slot, _) in slots.items():
        assert_allclose(slot, exact_slots[name], rtol=tolerance, atol=tolerance)
    assert np.all(base[1::2] == -7) if strided else np.all(base[size:] == -7)


@drawn
@given(
    n=sizes,
    m=sizes,
    seed=seeds,
    dtype=dtypes,
    order=orders,
    out=outs,
    index_dtype=st.sampled_from(["int64", "int32"]),
)
def test_gather_of_columns(backend, n, m, seed, dtype, order, out, index_dtype):
    draw = Draw(backend, dtype, seed)
    X, X_ = draw.normal(n, m, order=order)
    size = draw.rng.integers(1, 2 * m + 1)
    index, index_ = draw.given(draw.rng.integers(m, size=size), order, dtype=index_dtype)
    target = draw.out((n, len(index)), out)
    draw.check(backend.gather(X_, index_, out=target), X[:, index], target)
    draw.finish()


@drawn
@given(m=sizes, seed=seeds, dtype=dtypes, order=orders, out=outs)
def test_gather_of_elements(backend, m, seed, dtype, order, out):
    draw = Draw(backend, dtype, seed)
    y, y_ = draw.normal(m, order=order)
    index, index_ = draw.given(draw.rng.permutation(m), "C", dtype="int64")
    target = draw.out((m,), out)
    draw.check(backend.gather(y_, index_, out=target), y[index], target)
    draw.finish()


def test_gather_of_labels_keeps_their_dtype(backend):
    labels = backend.asarray([3, 1, 2, 0], "int32")
    picked = backend.gather(labels, backend.asarray([2, 2, 0], "int64"))
    assert picked.dtype == backend.dtype("int32")
    assert backend.to_numpy(picked).tolist() == [2, 2, 3]


def test_gathered_columns_are_contiguous_and_a_copy():
    backend = get_backend("cpu")
    X = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    picked = backend.gather(X, np.array([1, 3]))
    assert picked.flags.f_contiguous
    assert not np.shares_memory(picked, X)


@drawn
@given(
    n=sizes,
    m=sizes,
    seed=seeds,
    dtype=dtypes,
    order=orders,
    out=outs,
    keep_prob=st.sampled_from([0.2, 0.5, 1.0]),
)
def test_dropout(backend, n, m, seed, dtype, order, out, keep_prob):
    draw = Draw(backend, dtype, seed)
    A, A_ = draw.normal(n, m, order=order)
    key = make_key(seed, 1, 1)
    target = draw.out((n, m), out)
    result = backend.dropout(A_, key, keep_prob, out=target)
    draw.check(result, dropout(np, A, key, keep_prob), target)
    draw.finish()


def test_strict_is_the_reference_backend():
    backend = get_backend("strict")
    assert type(backend) is Backend
    assert backend.xp.__name__ == "array_api_strict"
    assert isinstance(get_backend("cpu"), CpuBackend)
