"""Any library's arrays go into the estimators, and the kind that went in comes out."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import array_api_strict
import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.datasets import load_diabetes, load_iris

from nnx import accel
from nnx.neural_network import MLPClassifier, MLPRegressor
from nnx.neural_network.border import give_back, take_in

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NAMES = ["setosa", "versicolor", "virginica"]
DIABETES, VALUES = load_diabetes(return_X_y=True)


def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is in the extra peers, which CI lacks")


def cupy() -> Any:
    return pytest.importorskip("cupy", reason="CuPy needs an NVIDIA GPU")


# Of each kind: how to make one, and its type and device.
MAKERS: dict[str, Callable[[Any], Any]] = {
    "strict": array_api_strict.asarray,
    "torch": lambda x: torch().asarray(x),
    "torch with gradient": lambda x: torch().asarray(x * 1.0).requires_grad_(),
    "torch cuda": lambda x: torch().asarray(x, device="cuda"),
    "cupy": lambda x: cupy().asarray(x),
}
KINDS = [
    pytest.param(kind, marks=pytest.mark.gpu if kind in ("torch cuda", "cupy") else ())
    for kind in MAKERS
]


def as_numpy(x: Any) -> Any:
    if hasattr(x, "detach"):
        return x.detach().cpu().numpy()
    return x.get() if hasattr(x, "get") else np.asarray(x)


def same_kind(found: Any, given: Any) -> None:
    assert type(found) is type(given)
    assert getattr(found, "device", None) == getattr(given, "device", None)


@pytest.fixture
def classifier() -> MLPClassifier:
    return MLPClassifier((5,), max_iter=5, random_state=0, device="cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_gives_the_kind_it_took(kind: str, classifier: MLPClassifier) -> None:
    make = MAKERS[kind]
    expected = MLPClassifier(**classifier.get_params()).fit(X, Y)
    X_kind, y = make(X), make(Y)
    classifier.fit(X_kind, y)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        found, wanted = getattr(classifier, method)(X_kind), getattr(expected, method)(X)
        same_kind(found, X_kind)
        np.testing.assert_array_equal(as_numpy(found), wanted)
    assert classifier.score(X_kind, y) == expected.score(X, Y)
    assert isinstance(classifier.coefs_[0], np.ndarray)  # as pickles and scikit-learn need them
    assert isinstance(classifier.predict(X), np.ndarray)


@pytest.mark.parametrize("kind", KINDS)
def test_a_regressor_gives_the_kind_it_took(kind: str) -> None:
    make = MAKERS[kind]
    settings = {"hidden_layer_sizes": (5,), "max_iter": 5, "random_state": 0, "device": "cpu"}
    models = [MLPRegressor(**settings) for _ in range(2)]
    X_kind = make(DIABETES)
    models[0].fit(X_kind, make(VALUES)).partial_fit(X_kind, make(VALUES))
    models[1].fit(DIABETES, VALUES).partial_fit(DIABETES, VALUES)
    same_kind(models[0].predict(X_kind), X_kind)
    np.testing.assert_array_equal(as_numpy(models[0].predict(X_kind)), models[1].predict(DIABETES))
    weights = make(np.arange(1.0, len(VALUES) + 1))
    assert models[0].score(X_kind, make(VALUES), weights) == models[1].score(
        DIABETES, VALUES, np.arange(1.0, len(VALUES) + 1)
    )


def test_partial_fit_takes_its_classes_from_any_library(classifier: MLPClassifier) -> None:
    make = array_api_strict.asarray
    weights = make(np.ones(len(X)))
    classifier.partial_fit(make(X), make(Y), weights, classes=make(np.arange(3)))
    np.testing.assert_array_equal(classifier.classes_, [0, 1, 2])
    assert isinstance(classifier.classes_, np.ndarray)
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


def test_labels_that_are_text_stay_numpy_s(classifier: MLPClassifier) -> None:
    X_strict = array_api_strict.asarray(X)
    classifier.fit(X_strict, np.array(NAMES)[Y])
    assert isinstance(classifier.predict(X_strict), np.ndarray)
    assert not isinstance(classifier.predict_proba(X_strict), np.ndarray)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_dtype_stays(dtype: str, classifier: MLPClassifier) -> None:
    X_strict = array_api_strict.asarray(X.astype(dtype))
    found = classifier.fit(X_strict, Y).predict_proba(X_strict)
    assert found.dtype == getattr(array_api_strict, dtype)


@pytest.mark.parametrize("make", [scipy.sparse.csr_matrix, scipy.sparse.csc_array, list])
def test_what_is_no_array_gives_numpy(make: Any, classifier: MLPClassifier) -> None:
    classifier.fit(make(X), Y)
    for method in ("predict", "predict_proba"):
        assert isinstance(getattr(classifier, method)(make(X)), np.ndarray)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_frame_s_columns_have_names(library: str, classifier: MLPClassifier) -> None:
    frames = pytest.importorskip(library, reason="a GPU machine without a network may lack it")
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    frame = frames.DataFrame(dict(zip(names, X.T, strict=True)))
    series = frames.Series(np.array(NAMES)[Y])
    classifier.fit(frame, series)
    assert classifier.feature_names_in_.tolist() == names
    expected = MLPClassifier(**classifier.get_params()).fit(X, np.array(NAMES)[Y])
    for method in ("predict", "predict_proba"):
        found = getattr(classifier, method)(frame)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, getattr(expected, method)(X))
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        classifier.predict(frame[names[::-1]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        classifier.predict(X)


DISPATCHED = """
import array_api_strict as xp, numpy as np, sklearn
from sklearn.datasets import load_iris
from sklearn.model_selection import cross_val_score
from sklearn.neural_network import MLPClassifier
X, y = load_iris(return_X_y=True)
X_xp, y_xp = xp.asarray(X), xp.asarray(y)
model = MLPClassifier((5,), solver="lbfgs", alpha=1, max_iter=500, random_state=0).fit(X, y)
print(type(model.predict_proba(X_xp)).__module__.partition(".")[0])
with sklearn.config_context(array_api_dispatch=True):
    print(type(model.predict_proba(X_xp)).__module__.partition(".")[0])
    print(type(model.fit(X_xp, y_xp).predict(X_xp)).__module__.partition(".")[0])
    print(cross_val_score(model, X_xp, y_xp, cv=2, error_score="raise"))
print(cross_val_score(model, X, y, cv=2, error_score="raise"))
"""


@pytest.mark.parametrize("accelerated", [True, False])
def test_with_scikit_learn_s_dispatch_the_kind_stays(accelerated: bool, tmp_path: Any) -> None:
    """Without it scikit-learn gives NumPy, and so do the classes that stand in its place."""
    source = DISPATCHED
    if not accelerated:
        source = source.replace("from sklearn.neural_network", "from nnx.neural_network")
    result = subprocess.run(
        [sys.executable, *(("-m", "nnx.accel") if accelerated else ()), "-c", source],
        env={**os.environ, "SCIPY_ARRAY_API": "1", "NNX_DEVICE": "cpu"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    without = "numpy" if accelerated else "array_api_strict"
    assert lines[:3] == [without, "array_api_strict", "array_api_strict"]
    assert lines[3] == lines[4]


def test_the_two_functions_leave_alone_what_is_numpy_s() -> None:
    frame = scipy.sparse.csr_matrix(X)
    for x in (X, None, [[1.0]], frame, "text"):
        assert take_in(x) is x
        assert give_back(Y, x) is Y
    strict = array_api_strict.asarray(X)
    assert isinstance(take_in(strict), np.ndarray)
    assert np.shares_memory(take_in(strict), strict._array)  # nothing was copied
    assert give_back(Y, strict, as_scikit_learn=True) is Y
    assert not sklearn.get_config()["array_api_dispatch"]


def test_an_accelerated_class_follows_scikit_learn(classifier: MLPClassifier) -> None:
    accel.install()
    try:
        from sklearn.neural_network import MLPClassifier as StandIn

        model = StandIn((5,), max_iter=3, random_state=0).fit(array_api_strict.asarray(X), Y)
        assert isinstance(model.predict(array_api_strict.asarray(X)), np.ndarray)
    finally:
        accel.uninstall()
