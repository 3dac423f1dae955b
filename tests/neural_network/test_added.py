"""What nnx adds to scikit-learn's estimators, and what ties their weights to nnx's."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.neural_network._multilayer_perceptron import MLPClassifier as Theirs
from sklearn.utils.class_weight import compute_sample_weight

import nnx
from nnx.errors import DataError, DeviceError, ShapeError, UnknownNameError
from nnx.neural_network import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def fitted(cls: type = MLPClassifier, **options: Any) -> Any:
    settings = {"hidden_layer_sizes": (7,), "max_iter": 5, "random_state": 0, **options}
    return cls(**settings).fit(X, y)


def test_it_is_a_scikit_learn_estimator() -> None:
    assert isinstance(MLPClassifier(), Theirs)
    ours, theirs = MLPClassifier().get_params(), Theirs().get_params()
    assert {name: ours[name] for name in theirs} == theirs
    added = {"device", "precision", "class_weight", "dropout", "callbacks", "validation"}
    assert set(ours) - set(theirs) == added
    assert clone(MLPClassifier(dropout=0.3)).dropout == 0.3


def test_weights_are_views_of_theta_and_a_refit_leaves_them() -> None:
    model = fitted()
    net = model._binding.net
    assert np.shares_memory(model.coefs_[0], net.theta)
    np.testing.assert_array_equal(model.coefs_[0].T, net.parameters["W1"])
    kept = model.coefs_[0]
    before = kept.copy()
    model.set_params(random_state=1).fit(X, y)
    np.testing.assert_array_equal(kept, before)


@pytest.mark.parametrize("assign", ["element", "list", "in place"])
def test_users_may_assign_weights(assign: str) -> None:
    model, theirs = fitted(), fitted(Theirs)
    for each in (model, theirs):
        if assign == "element":
            each.coefs_[0] = np.full((4, 7), 0.1)
        elif assign == "list":
            each.coefs_ = [2 * coef for coef in each.coefs_]
        else:
            each.coefs_[1][:] += 0.5
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-12)
    for each in (model, theirs):
        each.partial_fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_training_goes_on_after_pickling(solver: str) -> None:
    model = fitted(solver=solver)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert other._binding is None
        reference = fitted(Theirs, solver=solver)
        for each in (other, reference):
            each.partial_fit(X, y)
        np.testing.assert_allclose(other.coefs_[0], reference.coefs_[0], atol=1e-12)
    np.testing.assert_array_equal(model.predict(X), fitted(Theirs, solver=solver).predict(X))


def test_scikit_learn_goes_on_where_nnx_stopped() -> None:
    """The optimizer that is kept is scikit-learn's own, with its state."""
    model, theirs = fitted(), fitted(Theirs)
    given = Theirs(**theirs.get_params())
    given.__dict__.update({k: v for k, v in vars(model).items() if k in vars(theirs)})
    for each in (given, theirs):
        each.partial_fit(X, y)
    np.testing.assert_allclose(given.coefs_[0], theirs.coefs_[0], atol=1e-12)
    assert given._optimizer.learning_rate == theirs._optimizer.learning_rate


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 5.0, 2: 0.5}])
@pytest.mark.parametrize("sample_weight", [None, np.linspace(0.5, 2, len(y))])
def test_class_weight_is_a_sample_weight(class_weight: Any, sample_weight: Any) -> None:
    weights = compute_sample_weight(class_weight, y)
    weights = weights if sample_weight is None else weights * sample_weight
    options = {"max_iter": 5, "random_state": 0}
    ours = MLPClassifier(**options, class_weight=class_weight).fit(X, y, sample_weight)
    theirs = Theirs(**options).fit(X, y, weights)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


def test_class_weight_of_two_string_classes() -> None:
    labels = np.where(y == 0, "a", "b")
    ours = MLPClassifier(max_iter=5, random_state=0, class_weight={"a": 3, "b": 1}).fit(X, labels)
    theirs = Theirs(max_iter=5, random_state=0).fit(X, labels, np.where(y == 0, 3.0, 1.0))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("activation", ["gelu", "silu", "leaky_relu", "selu", nnx.elu(0.5)])
def test_more_activations(activation: Any) -> None:
    model = fitted(activation=activation, max_iter=100, learning_rate_init=0.01)
    assert model.score(X, y) > 0.9
    assert pickle.loads(pickle.dumps(fitted(activation="gelu"))).n_iter_ == 5


def test_an_activation_for_each_layer() -> None:
    model = MLPClassifier((6, 5), activation=["tanh", "logistic"], max_iter=3, random_state=0)
    proba = model.fit(X, y).predict_proba(X)
    A1 = np.tanh(X @ model.coefs_[0] + model.intercepts_[0])
    A2 = 1 / (1 + np.exp(-(A1 @ model.coefs_[1] + model.intercepts_[1])))
    E = np.exp(A2 @ model.coefs_[2] + model.intercepts_[2])
    np.testing.assert_allclose(proba, E / E.sum(axis=1, keepdims=True), atol=1e-12)


def test_dropout_is_drawn_from_random_state() -> None:
    first, second = fitted(dropout=0.4), fitted(dropout=0.4)
    np.testing.assert_array_equal(first.coefs_[0], second.coefs_[0])
    assert not np.allclose(first.coefs_[0], fitted().coefs_[0])
    assert not np.allclose(first.coefs_[0], fitted(dropout=0.4, random_state=1).coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_callbacks_see_each_epoch_and_may_stop(solver: str) -> None:
    seen: list[float] = []

    def watch(net: nnx.Network, history: nnx.History) -> bool:
        assert isinstance(net, nnx.Network)
        seen.append(history["cost"][-1])
        return history.epochs == 3

    model = fitted(callbacks=[watch], solver=solver, max_iter=10)
    assert model.n_iter_ == 3
    assert len(seen) == 3
    assert seen[-1] == pytest.approx(model.loss_)


def test_validation_data_of_the_user() -> None:
    model = fitted(validation=(X[::2], y[::2]))
    assert len(model.validation_scores_) == 5
    assert model.validation_scores_[-1] == model.score(X[::2], y[::2])
    assert model.best_validation_score_ == max(model.validation_scores_)
    np.testing.assert_array_equal(model.coefs_[0], fitted().coefs_[0])
    stopped = fitted(
        validation=(X[::2], y[::2]), early_stopping=True, max_iter=100, n_iter_no_change=2
    )
    assert stopped.n_iter_ < 100
    assert stopped.score(X[::2], y[::2]) == stopped.best_validation_score_
    assert not hasattr(stopped, "_validation")
    weighted = fitted(validation=(X, y, np.where(y == 0, 1.0, 0.0)))
    assert weighted.validation_scores_[-1] == weighted.score(X[y == 0], y[y == 0])


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    fitted(verbose="progress")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "5/5" in captured.err


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"device": "cuda:7"}, DeviceError, "cuda"),
        ({"device": "gpu"}, UnknownNameError, "device"),
        ({"precision": "float16"}, DataError, "precision"),
        ({"dropout": 0.5, "solver": "lbfgs"}, DataError, "dropout"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"validation": (X, y), "solver": "lbfgs"}, DataError, "validation"),
        ({"validation": (X,)}, DataError, "validation"),
        ({"validation": (X[:, :2], y)}, ValueError, "2 features"),
        ({"callbacks": [3]}, DataError, "callable"),
        ({"activation": "softmax"}, ValueError, "activation"),
        ({"activation": ["relu", "tanh"]}, DataError, "2 entries for 1"),
        ({"activation": ["softmax"]}, DataError, "output layer"),
        ({"class_weight": "heavy"}, ValueError, "class_weight"),
        ({"verbose": "loud"}, ValueError, "verbose"),
    ],
)
def test_what_cannot_be_is_an_error(options: dict[str, Any], error: type, match: str) -> None:
    with pytest.raises(error, match=match):
        fitted(**options)


def test_errors_that_need_their_data() -> None:
    X_many, Y = make_multilabel_classification(30, 4, random_state=0)
    with pytest.raises(ValueError, match="one class for each"):
        MLPClassifier(class_weight={0: 1}).fit(X_many, Y)
    with pytest.raises(DataError, match="balanced"):
        MLPClassifier(class_weight="balanced").partial_fit(X, y, classes=[0, 1, 2])
    weights = np.repeat([0.0, 1.0], [50, 100])
    with pytest.raises(ZeroDivisionError, match="zero"):
        MLPClassifier(batch_size=50, shuffle=False).fit(X, y, weights)
    with pytest.raises(TypeError):
        MLPRegressor(class_weight={})  # type: ignore[call-arg]


def test_other_orders_and_kinds_of_rows_predict_alike() -> None:
    model = fitted()
    wanted = model.predict_proba(X)
    for rows in (np.asfortranarray(X), X.tolist(), X.astype("longdouble"), X[::-1][::-1]):
        np.testing.assert_allclose(model.predict_proba(rows), wanted, atol=1e-12)
    assert model.predict_proba(X.astype("float32")).dtype == np.float64
    whole = np.round(X).astype(np.int64)
    np.testing.assert_allclose(
        model.predict_proba(whole), model.predict_proba(whole.astype(float)), atol=1e-12
    )


def test_other_layers_need_a_new_fit() -> None:
    model = fitted(warm_start=True).set_params(hidden_layer_sizes=(1,))
    with pytest.raises(ShapeError, match="fit it anew"):
        model.fit(X, y)


def test_memory_of_a_fit_is_let_go() -> None:
    assert fitted()._stepper is None
    assert fitted(solver="sgd").partial_fit(X, y)._stepper is not None
