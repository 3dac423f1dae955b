"""nnx's estimators beside scikit-learn's: the same random_state gives the same run."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from scipy.sparse import csr_matrix
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._multilayer_perceptron import MLPClassifier as TheirClassifier
from sklearn.neural_network._multilayer_perceptron import MLPRegressor as TheirRegressor
from sklearn.preprocessing import StandardScaler

from nnx.neural_network import MLPClassifier, MLPRegressor

OURS = {TheirClassifier: MLPClassifier, TheirRegressor: MLPRegressor}
# Rounding grows from step to step: in float32 it starts 5e8 times larger.
TOLERANCE = {"float64": 1e-6, "float32": 5e-3}


def data(name: str) -> tuple[Any, Any, Any]:
    """The estimator for a data set, X and y."""
    if name == "multilabel":
        X, y = datasets.make_multilabel_classification(150, 12, n_classes=4, random_state=0)
        return TheirClassifier, StandardScaler().fit_transform(X), y
    if name == "targets":
        X, y = datasets.make_regression(120, 8, n_targets=3, noise=5.0, random_state=0)
        return TheirRegressor, X, y / 50
    if name == "counts":
        X, y = datasets.load_diabetes(return_X_y=True)
        return TheirRegressor, 10 * X[:200], np.round(y[:200] / 50)
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))[:300]
    X, y = StandardScaler().fit_transform(X)[order], y[order]
    return (TheirRegressor, X, y / 100) if name == "diabetes" else (TheirClassifier, X, y)


NAMES = ["digits", "iris", "wine", "breast_cancer", "diabetes", "multilabel", "targets", "counts"]


def drawn() -> list[tuple[str, str, dict[str, Any]]]:
    """Forty settings: each solver in turn, everything else drawn with a fixed seed."""
    rng, found = np.random.default_rng(2), []
    for number, solver in zip(range(40), itertools.cycle(["adam", "sgd", "lbfgs"]), strict=False):
        name = NAMES[number % len(NAMES)]

        def draw(*values: Any) -> Any:
            return values[int(rng.integers(len(values)))]

        options = {
            "solver": solver,
            "activation": draw("relu", "tanh", "logistic", "identity"),
            "hidden_layer_sizes": draw((5,), (20,), (10, 7), (8, 8, 8)),
            "alpha": draw(0.0, 1e-4, 0.1),
            "batch_size": draw("auto", 32, 50),
            "early_stopping": draw(False, True),
            "shuffle": draw(True, True, False),
            "learning_rate": draw("constant", "invscaling", "adaptive"),
            "nesterovs_momentum": draw(True, False),
            "momentum": draw(0.0, 0.5, 0.9),
            "learning_rate_init": draw(0.001, 0.01),
            "max_iter": draw(12, 25),
            "tol": draw(1e-4, 1e-2),
            "n_iter_no_change": draw(2, 10),
            "random_state": int(rng.integers(100)),
        }
        if solver == "lbfgs":
            options["max_iter"] = 10  # later iterations amplify rounding without bounds
        if name == "counts":
            options["loss"] = "poisson"
        dtype = draw("float64", "float64", "float32") if solver != "lbfgs" else "float64"
        found.append((name, dtype, options))
    return found


SETTINGS = drawn()


def outcome(estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, list[str]]:
    """The fitted estimator, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator.fit(X, y, sample_weight)
    return estimator, [f"{w.category.__name__}: {w.message}" for w in caught]


def assert_same(ours: Any, theirs: Any, X: Any, tolerance: float) -> None:
    """Every fitted attribute and prediction agree."""
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    assert ours.out_activation_ == theirs.out_activation_
    for mine, other in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=tolerance, abs=tolerance)
    for name in ("loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"):
        assert hasattr(ours, name) == hasattr(theirs, name)
        mine, other = getattr(ours, name, None), getattr(theirs, name, None)
        assert (mine is None) == (other is None)
        if other is not None:
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance)
    method = "predict_proba" if hasattr(theirs, "predict_proba") else "predict"
    mine, other = getattr(ours, method)(X), getattr(theirs, method)(X)
    assert mine.dtype == other.dtype
    np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("compiled", [False, True], ids=["primitives", "compiled"])
@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    SETTINGS,
    ids=[f"{i}-{name}-{o['solver']}-{dtype}" for i, (name, dtype, o) in enumerate(SETTINGS)],
)
def test_drawn_settings(
    name: str, dtype: str, options: dict[str, Any], compiled: bool, monkeypatch: Any
) -> None:
    for module in ("stochastic", "lbfgs"):
        monkeypatch.setattr(
            f"nnx.neural_network.{module}.worth_compiling", lambda *_: None if compiled else False
        )
    their_class, X, y = data(name)
    X = X.astype(dtype)
    theirs, their_warnings = outcome(their_class(**options), X, y)
    ours, our_warnings = outcome(OURS[their_class](**options, device="cpu"), X, y)
    assert our_warnings == their_warnings
    assert_same(ours, theirs, X, TOLERANCE[dtype])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", ["digits", "breast_cancer", "targets"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sample_weight(solver: str, name: str, early_stopping: bool) -> None:
    their_class, X, y = data(name)
    weights = np.random.default_rng(0).uniform(0.1, 3, len(y))
    options = {
        "solver": solver, "hidden_layer_sizes": (9,), "alpha": 0.5, "max_iter": 10,
        "batch_size": 64, "random_state": 3, "early_stopping": early_stopping,
    }  # fmt: skip
    theirs, _ = outcome(their_class(**options), X, y, weights)
    ours, _ = outcome(OURS[their_class](**options, device="cpu"), X, y, weights)
    assert_same(ours, theirs, X, 1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", ["digits", "breast_cancer", "targets"])
def test_another_device(name: str, solver: str) -> None:
    """Arrays that are not NumPy's: everything crosses to the device and back by itself."""
    pytest.importorskip("array_api_strict")
    their_class, X, y = data(name)
    X, y = X[:100], y[:100]
    weights = np.random.default_rng(0).uniform(0.1, 3, len(y))
    options = {"solver": solver, "hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0}
    pair = [their_class(**options), OURS[their_class](**options, device="strict")]
    for estimator in pair:
        estimator.fit(X, y, weights)
    assert_same(pair[1], pair[0], X, 1e-9)
    if solver != "lbfgs":
        for estimator in pair:
            estimator.partial_fit(X, y)
            estimator.coefs_[0][:] *= 0.5
            estimator.partial_fit(X, y)
            estimator.set_params(early_stopping=True).fit(X, y)
        assert_same(pair[1], pair[0], X, 1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fit_and_warm_start_go_on_alike(solver: str) -> None:
    their_class, X, y = data("digits")
    options = {"solver": solver, "hidden_layer_sizes": (9,), "random_state": 1, "max_iter": 4}
    pair = [their_class(**options), OURS[their_class](**options, device="cpu")]
    for estimator in pair:
        for start in range(0, 300, 60):
            part = slice(start, start + 60)
            estimator.partial_fit(X[part], y[part], classes=np.unique(y))
    assert_same(pair[1], pair[0], X, 1e-9)
    for estimator in pair:
        estimator.set_params(warm_start=True, early_stopping=True, alpha=0.3)
        estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
        estimator.fit(X, y).fit(X, y)
        estimator.set_params(early_stopping=False)
        estimator.best_loss_ = np.inf
        estimator.partial_fit(X, y)
    assert_same(pair[1], pair[0], X, 1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("pieces", [False, True])
def test_sparse(solver: str, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dense as a whole, or a few batches at a time."""
    if pieces:
        monkeypatch.setattr("nnx.neural_network.examples._DENSE_BYTES", 0)
        monkeypatch.setattr("nnx.neural_network.examples._PIECE_BYTES", 64 * 8 * 70)
    their_class, X, y = data("digits")
    X = csr_matrix(np.where(X > 0.5, X, 0))
    for weights in (None, np.random.default_rng(0).uniform(0.5, 2, len(y))):
        options = {"solver": solver, "max_iter": 5, "random_state": 0, "batch_size": 32}
        theirs, _ = outcome(their_class(**options), X, y, weights)
        ours, _ = outcome(OURS[their_class](**options, device="cpu"), X, y, weights)
        assert_same(ours, theirs, X, 1e-8)


@pytest.mark.parametrize("verbose", [True, 1, 5])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("learning_rate", ["constant", "adaptive"])
def test_what_is_printed(
    verbose: Any, early_stopping: bool, learning_rate: str, capsys: pytest.CaptureFixture[str]
) -> None:
    their_class, X, y = data("iris")
    options = {
        "solver": "sgd", "verbose": verbose, "early_stopping": early_stopping, "random_state": 0,
        "learning_rate": learning_rate, "tol": 0.05, "n_iter_no_change": 2, "max_iter": 40,
    }  # fmt: skip
    printed = []
    for made in (their_class(**options), OURS[their_class](**options, device="cpu")):
        outcome(made, X, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_the_state_of_the_generator_after_a_fit_is_the_same() -> None:
    their_class, X, y = data("wine")
    states = []
    for cls in (their_class, OURS[their_class]):
        rng = np.random.RandomState(5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            cls(random_state=rng, max_iter=3, early_stopping=True).fit(X, y)
        states.append(rng.random_sample())
    assert states[0] == states[1]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_sparse_predictions(hidden: tuple[int, ...], device: str) -> None:
    their_class, X, y = data("digits")
    ours = OURS[their_class](hidden, max_iter=2, random_state=0, device=device).fit(X, y)
    theirs = their_class(hidden, max_iter=2, random_state=0).fit(X, y)
    for rows in (csr_matrix(X), csr_matrix(X).tocsc(), csr_matrix(X.astype("float32"))):
        mine = ours.predict_proba(rows)
        np.testing.assert_allclose(mine, theirs.predict_proba(rows), atol=1e-6)
        assert mine.dtype == np.float64


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_weights_keep_their_dtype_with_other_data() -> None:
    their_class, X, y = data("digits")
    for first, second in (("float32", "float64"), ("float64", "float32")):
        pair = [their_class(random_state=0), OURS[their_class](random_state=0)]
        for estimator in pair:
            estimator.partial_fit(X.astype(first), y, classes=np.unique(y))
            estimator.partial_fit(X.astype(second), y)
        assert pair[0].coefs_[0].dtype == pair[1].coefs_[0].dtype == first
        np.testing.assert_allclose(pair[0].coefs_[0], pair[1].coefs_[0], atol=1e-5)


def test_extreme_parameters() -> None:
    """The borders of scikit-learn's intervals are nnx's too."""
    their_class, X, y = data("wine")
    for options in (
        {"solver": "sgd", "momentum": 1.0, "learning_rate_init": 1e-4},
        {"solver": "adam", "beta_1": 0.0, "beta_2": 0.0, "epsilon": 1e-3},
        {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.0},
        {"solver": "adam", "tol": 0.0, "n_iter_no_change": np.inf},
        {"solver": "adam", "batch_size": 1, "max_iter": 2},
    ):
        options = {"max_iter": 5, "random_state": 0, "hidden_layer_sizes": 8, **options}
        theirs, _ = outcome(their_class(**options), X, y)
        ours, _ = outcome(OURS[their_class](**options, device="cpu"), X, y)
        assert_same(ours, theirs, X, 1e-9)
