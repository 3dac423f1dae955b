"""Arrays that lie in memory in any way, through each door of the estimators, bit for bit."""

import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse
from array_forms import DTYPES, FORMS, big_endian, laid, plain
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor

from drawn import drawn
from nnx import accel
from nnx.errors import DTypeError
from nnx.neural_network import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

Array = Any
RNG = np.random.default_rng(0)
M, N_X = 60, 4
X = RNG.standard_normal((M, N_X))
LABELS = RNG.integers(0, 3, M)
VALUES = RNG.standard_normal((M, 2))
WEIGHTS = RNG.uniform(0.5, 2, M)
TARGETS = {MLPClassifier: LABELS, MLPRegressor: VALUES}
SETTINGS = {"hidden_layer_sizes": (5,), "activation": "tanh", "max_iter": 3, "random_state": 0}
SETTINGS["batch_size"] = 16
both = pytest.mark.parametrize("cls", TARGETS, ids=lambda cls: cls.__name__)


def model(cls: Any, **more: Any) -> Any:
    return cls(**SETTINGS, device="cpu", **more)


@pytest.fixture(params=["compiled", "primitives"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    compiled = request.param == "compiled"
    for module in ("stochastic", "lbfgs"):
        name = f"nnx.neural_network.{module}.worth_compiling"
        monkeypatch.setattr(name, lambda *_: None if compiled else False)
    monkeypatch.setattr("nnx.inference.worth_loading", lambda _: compiled)
    return str(request.param)


def parameters(fitted: Any) -> Array:
    return np.concatenate([np.ravel(x) for x in (*fitted.coefs_, *fitted.intercepts_)])


def partial_fits(new: Any, X: Array, y: Array, w: Array) -> Array:
    more = {"classes": np.unique(y)} if isinstance(new, MLPClassifier) else {}
    for _ in range(2):
        new.partial_fit(X, y, sample_weight=w, **more)
    return parameters(new)


def validated(new: Any, X: Array, y: Array, w: Array) -> list[float]:
    new.set_params(validation=(X, y, w), early_stopping=True).fit(plain(X), plain(y))
    scores: list[float] = new.validation_scores_
    return scores


def predicts(method: str) -> Callable[..., Array]:
    def call(new: Any, X: Array, y: Array, w: Array) -> Array:
        fitted = new.fit(plain(X), plain(y))
        return getattr(fitted, method)(X, y, w) if method == "score" else getattr(fitted, method)(X)

    return call


# (estimator, X, y, example weights) -> what comes out.
DOORS: dict[str, Callable[..., Any]] = {
    "fit": lambda new, X, y, w: parameters(new.fit(X, y)),
    "fit with weights": lambda new, X, y, w: parameters(new.fit(X, y, sample_weight=w)),
    "fit in order": lambda new, X, y, w: parameters(new.set_params(shuffle=False).fit(X, y)),
    "fit, L-BFGS": lambda new, X, y, w: parameters(new.set_params(solver="lbfgs").fit(X, y, w)),
    "early stopping": lambda new, X, y, w: parameters(
        new.set_params(early_stopping=True).fit(X, y, w)
    ),
    "validation": validated,
    "partial_fit": partial_fits,
    "score": predicts("score"),
    "predict": predicts("predict"),
}
OF_CLASSES = {name: predicts(name) for name in ("predict_proba", "predict_log_proba")}
every_door = pytest.mark.parametrize(
    ("cls", "door"),
    [(cls, door) for cls in TARGETS for door in DOORS]
    + [(MLPClassifier, door) for door in OF_CLASSES],
)


def through(door: str) -> Callable[..., Any]:
    return {**DOORS, **OF_CLASSES}[door]


@pytest.mark.parametrize("form", FORMS)
@every_door
def test_the_same_comes_out(kind: str, cls: Any, door: str, form: str) -> None:
    make, Y = FORMS[form], TARGETS[cls]
    if form == "broadcast" and cls is MLPClassifier:
        Y = np.ones(M, int) * (np.arange(M) % 2)
        targets = Y  # one class alone is no task
    else:
        targets = make(Y)
    for dtype in ("float32", "float64"):
        arrays = [make(X.astype(dtype)), targets, make(WEIGHTS)]
        found = through(door)(model(cls), *arrays)
        wanted = through(door)(model(cls), *map(plain, arrays))
        np.testing.assert_array_equal(found, wanted, strict=isinstance(wanted, np.ndarray))


def in_any_form(x: Array, draw: Any) -> Array:
    steps = tuple(draw(st.sampled_from((1, -1, 2, -3))) for _ in x.shape)
    return laid(x, steps, draw(st.integers(0, 9)), draw(st.sampled_from("<>")))


@drawn(60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), door=st.sampled_from(sorted(DOORS)), dtype=st.sampled_from(DTYPES))
def test_any_form_of_any_dtype(data: st.DataObject, door: str, dtype: str) -> None:
    cls = data.draw(st.sampled_from([*TARGETS]))
    numbers = (np.abs(3 * X) if dtype.startswith("u") else 3 * X).astype(dtype)
    y = TARGETS[cls]
    if cls is MLPClassifier:
        y = y.astype(data.draw(st.sampled_from([d for d in DTYPES if d != "bool"])))
    arrays = [in_any_form(x, data.draw) for x in (numbers, y, WEIGHTS)]
    found = through(door)(model(cls), *arrays)
    np.testing.assert_array_equal(found, through(door)(model(cls), *map(plain, arrays)))


@pytest.mark.parametrize("dtype", DTYPES)
@both
def test_numbers_of_any_size_are_as_in_scikit_learn(cls: Any, dtype: str) -> None:
    theirs = {MLPClassifier: TheirClassifier, MLPRegressor: TheirRegressor}[cls]
    numbers = np.abs(3 * X).astype(dtype)
    found, wanted = model(cls), theirs(**SETTINGS)
    for one in (found, wanted):
        one.fit(numbers, TARGETS[cls], sample_weight=(WEIGHTS + 0.6).astype(dtype))
    assert found.coefs_[0].dtype == wanted.coefs_[0].dtype
    rtol = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(parameters(found), parameters(wanted), rtol=rtol, atol=1e-6)
    outputs = [np.asarray(one.predict(numbers), float) for one in (found, wanted)]
    np.testing.assert_allclose(*outputs, rtol=1e-3 if dtype == "float32" else 1e-7)


def test_a_compiled_prediction_reads_no_other_byte_order() -> None:
    """Numbers near one came out as 1e234 where X was big-endian."""
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((4000, 20))
    fitted = MLPClassifier((64, 64), max_iter=3, random_state=0, device="cpu")
    fitted.fit(rows, rng.integers(0, 2, 4000))
    for other in (big_endian(rows), laid(rows, offset=3, order=">"), laid(rows, offset=1)):
        np.testing.assert_array_equal(fitted.predict_proba(other), fitted.predict_proba(rows))


@both
def test_labels_and_values_may_be_of_another_byte_order(cls: Any) -> None:
    y = TARGETS[cls]
    fitted = model(cls).fit(X, big_endian(y))
    np.testing.assert_array_equal(fitted.predict(X), model(cls).fit(X, y).predict(X))
    if cls is MLPClassifier:
        assert fitted.classes_.dtype.isnative
        text = np.array(["no", "so so", "yes"])[LABELS]
        found = model(cls).fit(X, text.astype(">U9"))
        np.testing.assert_array_equal(found.predict(X), model(cls).fit(X, text).predict(X))


@both
def test_frames_and_sparse_rows_of_another_byte_order(kind: str, cls: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="a GPU machine without a network may lack it")
    y, many = TARGETS[cls], scipy.sparse.csr_matrix(np.where(np.abs(X) > 1, X, 0))
    other = scipy.sparse.csr_matrix((big_endian(many.data), many.indices, many.indptr), many.shape)
    assert other.data.dtype == ">f8"
    names = list("abcd")
    pairs = [
        (other, many),
        (other.tocsc(), many.tocsc()),
        (pandas.DataFrame(big_endian(X), columns=names), pandas.DataFrame(X, columns=names)),
    ]
    for taken, wanted in pairs:
        found, expected = model(cls), model(cls)
        found.fit(taken, pandas.Series(big_endian(y[:, 0])) if y.ndim == 2 else big_endian(y))
        expected.fit(wanted, y[:, 0] if y.ndim == 2 else y)
        np.testing.assert_array_equal(parameters(found), parameters(expected))
        np.testing.assert_array_equal(found.predict(taken), expected.predict(wanted))
        assert found.coefs_[0].dtype.isnative


def test_weights_that_a_user_assigns_may_lie_in_any_way(kind: str) -> None:
    close = {"rtol": 1e-12}  # backwards, they have no compiled prediction
    for form in ("big-endian", "at an odd address", "backwards", "read-only"):
        found, wanted = (model(MLPClassifier, warm_start=True).fit(X, LABELS) for _ in range(2))
        found.coefs_ = [FORMS[form](W) for W in found.coefs_]
        found.intercepts_ = [FORMS[form](b) for b in found.intercepts_]
        for _ in range(2):
            np.testing.assert_allclose(found.predict_proba(X), wanted.predict_proba(X), **close)
            if found.coefs_[0].flags.writeable:  # a change in place is seen
                found.coefs_[0][0] *= 2
                wanted.coefs_[0][0] *= 2
        np.testing.assert_allclose(found.predict_proba(X), wanted.predict_proba(X), **close)
        np.testing.assert_array_equal(
            parameters(found.fit(X, LABELS)), parameters(wanted.fit(X, LABELS))
        )


@both
def test_one_number_as_the_weight_of_all(cls: Any) -> None:
    y = TARGETS[cls]
    for weight in (2, 2.0, np.float64(2), np.int64(2)):
        found = model(cls).fit(X, y, sample_weight=weight)
        wanted = model(cls).fit(X, y, sample_weight=np.full(M, 2.0))
        np.testing.assert_array_equal(parameters(found), parameters(wanted))


# -- what is refused -------------------------------------------------------------------------------


def refusals(cls: Any, bad_X: Array, bad_y: Array, bad_w: Array) -> dict[str, list[Any]]:
    y, fitted = TARGETS[cls], model(cls).fit(X, TARGETS[cls])
    new = model(cls)
    calls: dict[str, list[Any]] = {
        "X": [
            lambda: new.fit(bad_X, y),
            lambda: model(cls).partial_fit(bad_X, y),
            lambda: fitted.predict(bad_X),
            lambda: fitted.score(bad_X, y),
        ],
        "y": [lambda: new.fit(X, bad_y), lambda: fitted.score(X, bad_y)],
        "sample_weight": [
            lambda: new.fit(X, y, sample_weight=bad_w),
            lambda: fitted.score(X, y, sample_weight=bad_w),
        ],
        "X of validation": [lambda: new.set_params(validation=(bad_X, y)).fit(X, y)],
        "y of validation": [lambda: new.set_params(validation=(X, bad_y)).fit(X, y)],
        "sample_weight of validation": [lambda: new.set_params(validation=(X, y, bad_w)).fit(X, y)],
    }
    if cls is MLPClassifier:
        calls["X"] += [lambda: fitted.predict_proba(bad_X)]
        calls["X"] += [lambda: fitted.predict_log_proba(bad_X)]
        calls["classes"] = [lambda: model(cls).partial_fit(X, y, classes=bad_y)]
    return calls


@both
def test_masked_entries_are_refused_by_name(cls: Any) -> None:
    y = TARGETS[cls]
    masked = [np.ma.masked_array(x, x == x.max()) for x in (X, y, WEIGHTS)]
    for name, calls in refusals(cls, *masked).items():
        for call in calls:
            with pytest.raises(DTypeError, match=rf"^{name}: .* entries are masked; fill them"):
                call()


def test_in_the_place_of_scikit_learn_s_class_masks_count_for_nothing() -> None:
    masked = np.ma.masked_array(X, X > 1)
    accel.install()
    try:
        from sklearn.neural_network import MLPClassifier as StandIn

        fitted = StandIn((5,), max_iter=3, random_state=0).fit(masked, LABELS)
        np.testing.assert_array_equal(fitted.predict(masked), fitted.predict(X))
    finally:
        accel.uninstall()


@pytest.mark.parametrize("kind", ["M8[s]", "m8[s]"])
def test_dates_are_no_numbers_to_predict_from(kind: str) -> None:
    fitted = model(MLPClassifier).fit(X, LABELS)
    for call in (fitted.predict, fitted.predict_proba):
        with pytest.raises(DTypeError, match=r"^X: wanted real numbers, got .* dtype (date|time)"):
            call(X.astype("i8").view(kind))


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("order", ["=", ">"])
def test_a_matrix_is_refused_as_in_scikit_learn(order: str) -> None:
    fitted = model(MLPClassifier).fit(X, LABELS)
    matrix = np.matrix(X, dtype=np.dtype("f8").newbyteorder(order))
    for call in (fitted.predict, lambda x: fitted.fit(x, LABELS)):
        with pytest.raises(TypeError, match=r"np.matrix is not supported"):
            call(matrix)


@pytest.mark.parametrize("sizes", [(5.7,), (5, 5.0), [np.float64(5)], (True,), (None,), [[5, 6]]])
@both
def test_sizes_are_whole_numbers_as_in_scikit_learn(cls: Any, sizes: Any) -> None:
    theirs = {MLPClassifier: TheirClassifier, MLPRegressor: TheirRegressor}[cls]
    with pytest.raises(TypeError):
        theirs(hidden_layer_sizes=sizes).fit(X, TARGETS[cls])
    message = rf"hidden_layer_sizes\[{len(sizes) - 1}\] must be a whole number, got "
    for call in ("fit", "partial_fit"):
        more = {"classes": [0, 1, 2]} if (call, cls) == ("partial_fit", MLPClassifier) else {}
        with pytest.raises(DTypeError, match=message):
            getattr(cls(hidden_layer_sizes=sizes), call)(X, TARGETS[cls], **more)


def test_sizes_may_be_numpy_s_numbers() -> None:
    for sizes in (np.array([5, 6]), (np.int8(5), np.uint64(6)), [np.array(5), 6]):
        fitted = MLPClassifier(sizes, max_iter=2).fit(X, LABELS)
        assert [W.shape for W in fitted.coefs_] == [(N_X, 5), (5, 6), (6, 3)]


# -- other libraries -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "added", [ml_dtypes.bfloat16, ml_dtypes.float8_e5m2], ids=lambda dtype: dtype.__name__
)
@both
def test_numbers_that_numpy_has_no_arithmetic_for_are_float32(cls: Any, added: Any) -> None:
    y = TARGETS[cls]
    arrays = [x.astype(added) for x in (X, y, WEIGHTS)]
    converted = [x.astype(np.float32) for x in arrays]
    for door in ("fit", "fit with weights", "partial_fit"):
        found, wanted = (through(door)(model(cls), *x) for x in (arrays, converted))
        np.testing.assert_array_equal(found, wanted, strict=True)
    fitted = model(cls).fit(*arrays)
    assert fitted.coefs_[0].dtype == np.float32
    for name in ("predict", "predict_proba") if cls is MLPClassifier else ("predict",):
        predict = getattr(fitted, name)
        np.testing.assert_array_equal(predict(arrays[0]), predict(converted[0]))


class Tensor:
    """As a sparse PyTorch tensor: DLPack and NumPy refuse it."""

    layout = "torch.sparse_coo"

    def detach(self) -> "Tensor":
        return self

    def to_dense(self) -> Array:
        return X

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("Can't export tensors with layout other than torch.strided")


@both
def test_sparse_tensors_are_refused_by_name(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(Tensor=Tensor))
    for name, calls in refusals(cls, Tensor(), Tensor(), Tensor()).items():
        for call in calls:
            with pytest.raises(DTypeError, match=rf"^{name}: .*Tensor is sparse.*x.to_dense\(\)"):
                call()


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra peers, which CI lacks")
    half = torch.asarray(X).to(torch.bfloat16)
    found, wanted = model(MLPClassifier), model(MLPClassifier)
    found.fit(half, torch.asarray(LABELS))
    wanted.fit(half.float().numpy(), LABELS)
    np.testing.assert_array_equal(parameters(found), parameters(wanted))
    np.testing.assert_array_equal(found.predict(half), wanted.predict(half.float().numpy()))
    with pytest.raises(DTypeError, match=r"^X: .* is sparse.*x.to_dense\(\)"):
        found.predict(torch.asarray(X).to_sparse())


def test_arrays_of_jax() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax = pytest.importorskip("jax", reason="JAX is in the extra peers, which CI lacks")
    half = jax.numpy.asarray(X, jax.numpy.bfloat16)
    found = model(MLPClassifier).fit(half, LABELS)
    wanted = model(MLPClassifier).fit(np.asarray(half, np.float32), LABELS)
    np.testing.assert_array_equal(parameters(found), parameters(wanted))
