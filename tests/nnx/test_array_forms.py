"""Arrays that lie in memory in any way, through each of a network's doors, bit for bit."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from array_forms import DTYPES, FORMS, NOT_REAL, laid, plain
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import nnx
from drawn import drawn
from nnx.backends import engine, get_backend
from nnx.backends.reference.activations import get_activation
from nnx.backends.reference.losses import get_loss
from nnx.backends.reference.updates import AdamRule
from nnx.errors import DataError, DTypeError, NnxError, ShapeError

Array = Any
RNG = np.random.default_rng(0)
N_X, M = 5, 48
X = RNG.standard_normal((N_X, M))
LABELS = RNG.integers(0, 3, M)
VALUES = RNG.standard_normal((2, M))
WEIGHTS = RNG.uniform(0.5, 2, M)
ADDED = [ml_dtypes.bfloat16, ml_dtypes.float8_e5m2, ml_dtypes.float8_e4m3fn, ml_dtypes.int4]


def network(output: str = "softmax", device: str = "cpu", **more: Any) -> nnx.Network:
    n_y = 3 if output == "softmax" else 2
    return nnx.MLP([N_X, 6, n_y], "tanh", output, device=device, seed=1, l2=0.1, **more)


def trained(net: nnx.Network, *arguments: Any, **more: Any) -> Array:
    more = {"epochs": 2, "batch_size": 20, **more}
    net.fit(*arguments, **more)
    return net.backend.to_numpy(net.theta).copy()


def gradient(net: nnx.Network, X: Array, Y: Array, w: Array) -> Array:
    found = net.backward(Y, net.forward(X)[1], sample_weight=w)
    return np.concatenate([np.ravel(net.backend.to_numpy(found[name])) for name in found])


# (network, X, Y, example weights) -> what comes out.
DOORS: dict[str, Callable[[nnx.Network, Array, Array, Array], Any]] = {
    "fit": lambda net, X, Y, w: trained(net, X, Y, sample_weight=w),
    "fit, in order": lambda net, X, Y, w: trained(net, X, Y, shuffle=False, batch_size="all"),
    "fit in blocks": lambda net, X, Y, w: trained(net, X, Y, sample_weight=w, block_size=7),
    "fit, streamed": lambda net, X, Y, w: trained(net, X, Y, sample_weight=w, data="stream"),
    "fit, L-BFGS": lambda net, X, Y, w: trained(net, X, Y, optimizer="lbfgs"),
    "validation": lambda net, X, Y, w: [
        net.fit(plain(X), plain(Y), epochs=1, validation=(X, Y))[f"validation_{what}"]
        for what in ("cost", "score")
    ],
    "held out": lambda net, X, Y, w: trained(net, X, Y, sample_weight=w, validation=0.25),
    "predict": lambda net, X, Y, w: net.predict(X),
    "predict_proba": lambda net, X, Y, w: net.predict_proba(X),
    "score": lambda net, X, Y, w: net.score(X, Y),
    "forward": lambda net, X, Y, w: net.forward(X)[0],
    "cost": lambda net, X, Y, w: net.cost(net.forward(X)[0], Y, sample_weight=w),
    "cost of A[L]": lambda net, X, Y, w: net.cost(X[: net.n_y], Y, sample_weight=w),
    "backward": gradient,
    "gradient_check": lambda net, X, Y, w: nnx.gradient_check(net, X, Y),
}


def same(found: Any, wanted: Any) -> None:
    np.testing.assert_array_equal(found, wanted, strict=isinstance(wanted, np.ndarray))


@pytest.fixture(params=["compiled", "primitives"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    compiled = None if request.param == "compiled" else False
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: compiled)
    return str(request.param)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("door", DOORS)
def test_the_same_comes_out(kind: str, door: str, form: str) -> None:
    make, through = FORMS[form], DOORS[door]
    for output, Y in (("softmax", LABELS), ("identity", VALUES)):
        for dtype in ("float32", "float64"):
            given = [make(x) for x in (X.astype(dtype), Y, WEIGHTS)]
            before = [plain(x) for x in given]
            same(through(network(output), *given), through(network(output), *before))
            for x, kept in zip(given, before, strict=True):
                same(plain(x), kept)  # nothing was written into it


def in_any_form(x: Array, draw: Any) -> Array:
    """A copy of x that lies in memory in a way that is drawn."""
    steps = tuple(draw(st.sampled_from((1, -1, 2, -3))) for _ in x.shape)
    return laid(x, steps, draw(st.integers(0, 9)), draw(st.sampled_from("<>")))


@drawn(150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), door=st.sampled_from(sorted(DOORS)), dtype=st.sampled_from(DTYPES))
def test_any_form_of_any_dtype(data: st.DataObject, door: str, dtype: str) -> None:
    output, Y = data.draw(st.sampled_from([("softmax", LABELS), ("identity", VALUES)]))
    numbers = np.abs(3 * X) if dtype.startswith("u") else 3 * X
    targets = Y if Y.ndim == 2 else Y.astype(data.draw(st.sampled_from(DTYPES[1:])))
    given = [in_any_form(x, data.draw) for x in (numbers.astype(dtype), targets, WEIGHTS)]
    through = DOORS[door]
    same(through(network(output), *given), through(network(output), *map(plain, given)))


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("added", ADDED, ids=lambda dtype: dtype.__name__)
def test_numbers_that_numpy_has_no_arithmetic_for(door: str, added: Any, device: str) -> None:
    given = [(x * 2).astype(added) for x in (X, LABELS / 2, np.ones(M))]
    converted = [x.astype(np.float32) for x in given]
    nets = network(device=device), network(device=device)
    through = DOORS[door]
    same(through(nets[0], *given), through(nets[1], *converted))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("door", DOORS)
def test_numbers_of_any_size(door: str, dtype: str, device: str) -> None:
    numbers = np.abs(3 * X).astype(dtype)
    labels = LABELS.astype(dtype if dtype != "bool" else "int8")
    weights = (WEIGHTS + 0.6).astype(dtype)
    through = DOORS[door]
    found = through(network(device=device), numbers, labels, weights)
    wanted = through(network(device=device), numbers.astype(float), labels.astype(int), weights * 1)
    np.testing.assert_array_equal(found, wanted)


NAMES = {
    "X": lambda net, bad, X, Y: [
        lambda: net.fit(bad, Y, epochs=1),
        lambda: net.fit(bad, Y, epochs=1, data="stream"),
        lambda: net.fit(X, Y, epochs=1, validation=(bad, Y)),
        *(lambda f=f: f(bad) for f in (net.predict, net.predict_proba, net.forward)),
        lambda: net.score(bad, Y),
        lambda: nnx.gradient_check(net, bad, Y),
    ],
    "Y": lambda net, bad, X, Y: [
        lambda: net.fit(X, bad[0], epochs=1),
        lambda: net.fit(X, bad[0], epochs=1, data="stream"),
        lambda: net.fit(X, Y, epochs=1, validation=(X, bad[0])),
        lambda: net.score(X, bad[0]),
        lambda: net.cost(net.forward(X)[0], bad[0]),
        lambda: net.backward(bad[0], net.forward(X)[1]),
        lambda: nnx.gradient_check(net, X, bad[0]),
    ],
    "sample_weight": lambda net, bad, X, Y: [
        lambda: net.fit(X, Y, epochs=1, sample_weight=bad[0]),
        lambda: net.fit(X, Y, epochs=1, sample_weight=bad[0], data="stream"),
        lambda: net.cost(net.forward(X)[0], Y, sample_weight=bad[0]),
        lambda: net.backward(Y, net.forward(X)[1], sample_weight=bad[0]),
    ],
    "A[L]": lambda net, bad, X, Y: [lambda: net.cost(bad[:3], Y)],
    "W1": lambda net, bad, X, Y: [lambda: net.parameters.update(W1=bad[:, :6].T)],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [*NOT_REAL, "masked"])
def test_what_is_refused_is_named(name: str, bad: str, device: str) -> None:
    if bad == "masked":
        array, message = np.ma.masked_array(X, X.max() - 0.1 < X), "of .* entr.* masked.*fill"
        array[0, 0] = np.ma.masked
    else:
        array, message = NOT_REAL[bad](X), "wanted real numbers, got an array of dtype"
    net = network(device=device)
    before = net.backend.to_numpy(net.theta).copy()
    for call in NAMES[name](net, array, X, LABELS):
        with pytest.raises(DTypeError, match=f"^{name.replace('[L]', '.L.')}: .*{message}"):
            call()
    same(net.backend.to_numpy(net.theta), before)


@pytest.mark.parametrize("shape", [(), (N_X,), (M,), (1, N_X, M), (0,), (N_X, 0)])
def test_arrays_of_another_number_of_axes(shape: tuple[int, ...], device: str) -> None:
    net, bad = network(device=device), np.ones(shape)
    calls: list[Callable[[], Any]] = [
        lambda: net.fit(bad, LABELS),
        lambda: net.fit(bad, LABELS, data="stream"),
        lambda: net.forward(bad),
        lambda: net.predict(bad),
        lambda: net.score(bad, LABELS),
        lambda: net.cost(bad, LABELS),
    ]
    if shape != (M,):
        calls += [
            lambda: net.fit(X, bad),
            lambda: net.fit(X, bad, data="stream"),
            lambda: net.score(X, bad),
            lambda: net.fit(X, LABELS, sample_weight=bad),
        ]
    for call in calls:
        with pytest.raises(NnxError, match=r"must be of shape|is empty"):
            call()


# -- training steps --------------------------------------------------------------------------------

# Arrays of a step's own dtypes that lie in some way.
LYING = [name for name in FORMS if "big-endian" not in name]
ORDER = RNG.permutation(M)


RATES = np.array([0.1, 0.01, 0.1])


def made(compiled: bool, output: str, dtype: str) -> nnx.TrainingStep:
    reason = engine.why_unusable() if compiled else None
    if reason is not None:
        pytest.skip(reason)
    return nnx.TrainingStep(network(output, dtype=dtype), 16, compiled=compiled)


def through_step(
    step: nnx.TrainingStep, X: Array, Y: Array, w: Array, order: Array, rates: Array
) -> list[Array]:
    """All that a step computes with such arrays: costs, the gradient, the parameters."""
    x, y, few = X[:, :16], Y[..., :16], w[:16]
    found = [step(x, y), step(x, y, few), step(x, y, learning_rate=0.01, penalty_m=20.0)]
    found += [step.gradients(x, y, few), step.block_gradients(x, y, few, first=3)]
    found += [step.run(X, Y, None, rates), step.run(X, Y, w, rates, order=order)]
    found.append(step.run(X, Y, w, rates, order=order, penalty_m=10 * rates))
    if step.backend is get_backend("cpu"):
        step.profile(x, y)
    return [*map(np.asarray, found), step.state.gradient.flat.copy(), step.model.theta.copy()]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("form", LYING)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_step_takes_what_lies_in_any_way(compiled: bool, form: str, dtype: str) -> None:
    make = FORMS[form]
    for output, Y in (("softmax", LABELS), ("identity", VALUES.astype(dtype))):
        given = [make(x) for x in (X.astype(dtype), Y)]
        # Weights must be contiguous.
        weights = WEIGHTS.astype(dtype)
        given.append(make(weights) if make(weights).flags.c_contiguous else weights)
        given += [make(ORDER), make(RATES)]
        found = through_step(made(compiled, output, dtype), *given)
        wanted = through_step(made(compiled, output, dtype), *map(plain, given))
        for one, other in zip(found, wanted, strict=True):
            same(one, other)


@pytest.mark.parametrize("compiled", [True, False])
def test_positions_and_rates_of_other_dtypes(compiled: bool) -> None:
    x, found = X.astype("float32"), []
    for order, rates in [
        (ORDER, RATES),
        (ORDER.astype(">i8"), RATES.astype(">f8")),
        (ORDER.astype("int32"), RATES.astype("longdouble")),
        (ORDER.astype("uint8"), RATES),
    ]:
        step = made(compiled, "softmax", "float32")
        step.run(x, LABELS, None, rates, order=order, penalty_m=100 * rates)
        found.append(step.model.theta.copy())
        same(found[-1], found[0])


def test_a_compiled_step_refuses_other_numbers() -> None:
    x, y, w = X[:, :16].astype("float32"), LABELS[:16], WEIGHTS[:16].astype("float32")
    step = made(True, "softmax", "float32")
    before = step.model.theta.copy()
    for bad in (x.astype(">f4"), x.astype("float64"), x.astype("float16"), x.astype("int32")):
        for call in (step, step.gradients):
            with pytest.raises(
                DTypeError, match=rf"is for float32 .*got X {bad.dtype} and Y int64"
            ):
                call(bad, y)
    for other in (y.astype(">i8"), y.astype("int32"), y.astype("float32")):
        with pytest.raises(DTypeError, match=rf"labels: int64.*got X float32 and Y {other.dtype}"):
            step(x, other)
    with pytest.raises(DTypeError, match=r"weights must be contiguous float32, got >f4"):
        step(x, y, w.astype(">f4"))
    with pytest.raises(DTypeError, match=r"order must hold whole numbers.*float64"):
        step.run(x, y, None, RATES[:1], order=np.arange(16.0))
    same(step.model.theta, before)


@pytest.mark.parametrize("compiled", [True, False])
def test_a_step_refuses_masked_entries(compiled: bool) -> None:
    step = made(compiled, "softmax", "float32")
    good = [X[:, :16].astype("float32"), LABELS[:16], WEIGHTS[:16].astype("float32")]
    for number, name in enumerate(("X", "Y", "weights")):
        bad: list[Any] = list(good)
        bad[number] = np.ma.masked_array(good[number], good[number] == good[number].max())
        for call in (step, step.gradients):
            with pytest.raises(DTypeError, match=f"^{name}: .* entries are masked"):
                call(*bad)


def test_a_compiled_step_reads_nothing_beyond_its_arrays() -> None:
    x, y, w = X.astype("float32"), LABELS, WEIGHTS.astype("float32")
    step = made(True, "softmax", "float32")
    for x_, y_, w_, order in [
        (x[:, :32], y[:32], None, None),
        (x, y, w[:40], None),
        (x, y, w[:40], ORDER),
        (x, y, w[:, None], ORDER),
        (x, y, w, ORDER[:40]),
        (x, y, w, ORDER[None]),
    ]:
        with pytest.raises(ShapeError, match=r"must have .*48 examples"):
            step.run(x_, y_, w_, RATES, order=order)
    for few in (w[:1], w[:0], w[:15], np.float32([[1]])):
        with pytest.raises(ShapeError, match="weights must have a number for each of 16 examples"):
            step(x[:, :16], y[:16], few)


# -- backends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_asarray_gives_what_can_be_computed_with(form: str, dtype: str, device: str) -> None:
    backend, given = get_backend(device), FORMS[form](np.abs(X).astype(dtype))
    for wanted in (None, "float32", "float64"):
        for copy in (None, True):
            found = backend.asarray(given, wanted, copy=copy)
            host = backend.to_numpy(found)
            assert backend.owns(found)
            assert type(host) is np.ndarray
            assert host.dtype.isnative
            assert host.flags.aligned
            same(host, plain(given).astype(host.dtype))
            if copy:
                assert not np.shares_memory(host, given)


def primitives(make: Callable[[Array], Array], name: str, loss_name: str) -> list[Array]:
    """What all primitives of the CPU compute from arrays of a form."""
    backend, rng = get_backend("cpu"), np.random.default_rng(2)
    g, loss = get_activation(name), get_loss(loss_name)
    W, b, A_prev = (make(rng.standard_normal(shape)) for shape in ((3, 5), (3, 1), (5, 8)))
    A, Z, Y = (make(rng.uniform(0.1, 0.9, (3, 8))) for _ in range(3))
    Y = make(LABELS[:8]) if loss.target == "classes" else Y
    theta, m, v = (rng.standard_normal(40) for _ in range(3))
    backend.update(AdamRule(), theta, make(theta), {"m": m, "v": v**2}, 0.1, 1)
    return [
        *backend.dense_forward(W, b, A_prev, g),
        backend.dense_backward(W, Z, get_activation("tanh"), A_prev),
        backend.activation_backward(g, A, Z),
        *backend.weight_gradient(Z, A_prev),
        *backend.loss_with_gradient(loss, g, Z, A, Y, make(WEIGHTS[:8])),
        backend.gather(A_prev, make(ORDER[:4] % 8)),
        backend.dropout(A, 7, 0.5),
        theta,
    ]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "masked nowhere"])
@pytest.mark.parametrize(
    ("g", "loss"), [("softmax", "categorical_cross_entropy"), ("relu", "mean_squared_error")]
)
def test_the_primitives_read_what_lies_in_any_way(form: str, g: str, loss: str) -> None:
    make = FORMS[form]
    wanted = primitives(lambda x: plain(make(x)), g, loss)
    for found, one in zip(primitives(make, g, loss), wanted, strict=True):
        # In strides NumPy may add in another order.
        np.testing.assert_allclose(found, one, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", [np.matrix, np.ma.masked_array])
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_the_blocks_refuse_arrays_of_another_arithmetic(kind: Any) -> None:
    W, b, A_prev = np.ones((3, 3)), np.ones((3, 1)), np.ones((3, 3))
    A, cache = nnx.dense_forward(W, b, A_prev, "tanh")
    message = r"is numpy.*, not an array of device 'cpu'; convert it with get_backend"
    for number, name in enumerate(("W", "b", "A_prev")):
        arrays = [W, b, A_prev]
        arrays[number] = kind(arrays[number])
        with pytest.raises(DTypeError, match=f"{name} {message}"):
            nnx.dense_forward(*arrays, "tanh")
    with pytest.raises(DTypeError, match=f"dA {message}"):
        nnx.dense_backward(kind(A), cache)
    assert type(get_backend("cpu").asarray(kind(A))) is np.ndarray


# -- units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [5.7, 5.0, np.float64(5), 0, -1, True, "5", None, [5]])
def test_units_are_whole_numbers(units: Any) -> None:
    with pytest.raises(DataError, match=r"n\[1\] must be a whole number of at least 1, got"):
        nnx.MLP([4, units, 3], device="cpu")
    with pytest.raises(DataError, match="Dense: units must be a whole number of at least 1, got"):
        nnx.Dense(units)


def test_units_of_a_layer_of_one_s_own_are_whole_numbers() -> None:
    class Own(nnx.Dense):
        def __post_init__(self) -> None:
            pass

    with pytest.raises(DataError, match=r"the units of layers\[1\] must be a whole number"):
        nnx.Network([nnx.Dense(4), Own(5.7), nnx.Dense(3)], n_x=4, device="cpu")  # type: ignore[arg-type]


def test_units_may_be_numpy_s_numbers() -> None:
    for kind in (np.int8, np.int64, np.uint32):
        net = nnx.MLP([kind(4), kind(5), kind(3)], device="cpu")
        assert net.n == (4, 5, 3)
        assert all(type(n) is int for n in net.n)
