"""To scikit-learn and back: the same predictions, and training goes on as if nothing had been."""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network as own
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification

from nnx import neural_network as ours
from nnx.errors import DataError, DTypeError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(return_X_y=True)
DATA = {
    "labels": IRIS,
    "text": (IRIS[0], np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]),
    "binary": (IRIS[0], IRIS[1] > 0),
    "several": make_multilabel_classification(60, n_features=4, random_state=0),
    "values": (lambda X, y: (X, y / 100))(*load_diabetes(return_X_y=True)),
}
DATA["two values"] = (DATA["values"][0], np.stack([DATA["values"][1], -DATA["values"][1]], axis=1))
SOLVERS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd", "momentum": 0.8, "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "adaptive"},
    "early": {"solver": "adam", "early_stopping": True},
    "lbfgs": {"solver": "lbfgs"},
}


def kind_of(data: str) -> str:
    return "MLPRegressor" if "value" in data else "MLPClassifier"


def make(module: Any, data: str, solver: str, **settings: Any) -> Any:
    cls = getattr(module, kind_of(data))
    return cls(hidden_layer_sizes=(6, 5), max_iter=8, random_state=0, **SOLVERS[solver], **settings)


def outputs(model: Any, X: Any) -> Iterator[Any]:
    yield model.predict(X)
    if hasattr(model, "predict_proba"):
        yield model.predict_proba(X)


def same(found: Any, wanted: Any, X: Any, rtol: float = 1e-12) -> None:
    for each, other in zip(outputs(found, X), outputs(wanted, X), strict=True):
        if each.dtype.kind in "fc":
            np.testing.assert_allclose(each, other, rtol=rtol, atol=rtol / 100)
        else:
            np.testing.assert_array_equal(each, other)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("data", DATA)
def test_a_fitted_model_predicts_the_same_in_scikit_learn(data: str, solver: str) -> None:
    X, y = DATA[data]
    model = make(ours, data, solver, device="cpu").fit(X, y)
    moved = model.to_sklearn()
    assert type(moved) is getattr(own, kind_of(data))
    same(moved, model, X)
    assert moved.get_params() == {
        name: value for name, value in model.get_params().items() if name in moved.get_params()
    }
    attributes = {name for name in vars(model) if name.endswith("_")}
    assert attributes == {name for name in vars(moved) if name.endswith("_")}
    for W, moved_W in zip(model.coefs_, moved.coefs_, strict=True):
        np.testing.assert_array_equal(W, moved_W)
        assert not np.shares_memory(W, moved_W)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("data", DATA)
def test_a_scikit_learn_model_predicts_the_same_in_nnx(data: str, solver: str) -> None:
    X, y = DATA[data]
    model = make(own, data, solver).fit(X, y)
    moved = getattr(ours, kind_of(data)).from_sklearn(model, device="cpu")
    assert type(moved) is getattr(ours, kind_of(data))
    assert moved.device == "cpu"
    same(moved, model, X)
    same(moved.to_sklearn(), model, X, rtol=0)  # there and back: nothing is lost
    assert moved.loss_curve_ == model.loss_curve_ if solver != "lbfgs" else True


@pytest.mark.parametrize("solver", ["adam", "sgd", "adaptive"])
@pytest.mark.parametrize("data", ["labels", "two values"])
@pytest.mark.parametrize("to_nnx", [True, False])
def test_training_goes_on_after_the_move(data: str, solver: str, to_nnx: bool) -> None:
    """Both start alike; one changes the library in the middle."""
    X, y = DATA[data]
    first = {"classes": [0, 1, 2]} if kind_of(data) == "MLPClassifier" else {}
    stays = make(own, data, solver).partial_fit(X, y, **first)
    moves = make(own if to_nnx else ours, data, solver).partial_fit(X, y, **first)
    cls = getattr(ours, kind_of(data))
    moves = cls.from_sklearn(moves, device="cpu") if to_nnx else moves.to_sklearn()
    for model in (stays, moves):
        for _ in range(4):
            model.partial_fit(X, y)
    assert stays.t_ == moves.t_ == 5 * len(X)
    np.testing.assert_allclose(moves.loss_curve_, stays.loss_curve_, rtol=1e-9)
    assert moves._optimizer.learning_rate == pytest.approx(stays._optimizer.learning_rate)
    same(moves, stays, X, rtol=1e-7)


def test_a_warm_start_goes_on_after_the_move() -> None:
    X, y = IRIS
    models = [make(module, "labels", "adam", warm_start=True) for module in (own, ours)]
    for model in models:
        model.fit(X, y)
    moved = [models[1].to_sklearn(), ours.MLPClassifier.from_sklearn(models[0], device="cpu")]
    for model in (*models, *moved):
        model.fit(X, y)
    for model in (models[1], *moved):
        np.testing.assert_allclose(model.loss_curve_, models[0].loss_curve_, rtol=1e-9)


def test_the_copy_has_a_generator_of_its_own() -> None:
    model = ours.MLPClassifier((3,), max_iter=2, random_state=np.random.RandomState(0)).fit(*IRIS)
    moved = model.to_sklearn()
    assert moved.random_state is not model.random_state
    assert moved.random_state is moved._random_state  # as it was
    assert moved.random_state.random_sample() == model.random_state.random_sample()


def test_models_that_are_not_fitted_move_too() -> None:
    model = ours.MLPRegressor(alpha=0.3, device="cpu", dropout=0.5)
    assert model.to_sklearn().alpha == 0.3
    again = ours.MLPRegressor.from_sklearn(model.to_sklearn(), dropout=0.5)
    assert (again.alpha, again.dropout, again.device) == (0.3, 0.5, "auto")


def test_what_cannot_move_is_an_error() -> None:
    with pytest.raises(DataError, match="activation='gelu' is not one of scikit-learn's"):
        ours.MLPClassifier(activation="gelu").to_sklearn()
    with pytest.raises(DTypeError, match=r"takes a scikit-learn MLPClassifier; got .*MLPRegressor"):
        ours.MLPClassifier.from_sklearn(own.MLPRegressor())
    with pytest.raises(DataError, match="from_sklearn got 'alpha'; beside the model it takes "):
        ours.MLPClassifier.from_sklearn(own.MLPClassifier(), alpha=1)


def test_a_pickled_model_of_an_older_nnx_lacks_nothing() -> None:
    """What `from_sklearn` fills in is every parameter that scikit-learn lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved = ours.MLPClassifier.from_sklearn(own.MLPClassifier())
    assert moved.get_params() == ours.MLPClassifier().get_params()
