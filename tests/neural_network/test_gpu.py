"""The estimators on a GPU: played on the host here, and the first one where there is one."""

from typing import Any

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

from nnx import neural_network as ours
from nnx.backends import Backend, registry
from nnx.errors import DataError
from nnx.step import why_not_compiled

pytestmark = [
    pytest.mark.usefixtures("may_wait"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def device(gpu_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name by which estimators find the backend."""
    monkeypatch.setitem(registry._made, "tested", gpu_backend)
    return "tested"


def data(name: str) -> tuple[Any, Any, Any]:
    load = {"digits": load_digits, "cancer": load_breast_cancer, "diabetes": load_diabetes}[name]
    X, y = load(return_X_y=True)
    X, y = X[:120] / np.abs(X[:120]).max(axis=0).clip(1e-9), y[:120]
    if name == "diabetes":
        return "MLPRegressor", X, np.column_stack([y, y[::-1]]) / 100
    return "MLPClassifier", X, y


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", ["digits", "cancer", "diabetes"])
def test_the_results_are_scikit_learns(device: str, name: str, solver: str) -> None:
    """Through compiled steps: graphs have scikit-learn's losses and its Adam."""
    kind, X, y = data(name)
    options = {"solver": solver, "hidden_layer_sizes": (9, 6), "max_iter": 5, "random_state": 0,
               "batch_size": 50, "alpha": 0.01}  # fmt: skip
    wanted = getattr(theirs, kind)(**options).fit(X, y)
    found = getattr(ours, kind)(**options, device=device).fit(X, y)
    np.testing.assert_allclose(found.loss_, wanted.loss_, rtol=1e-9)
    assert found.n_iter_ == wanted.n_iter_
    for a, b in zip(found.coefs_ + found.intercepts_, wanted.coefs_ + wanted.intercepts_,
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.predict(X), wanted.predict(X), rtol=1e-6)
    assert why_not_compiled(found._binding.net) is None


def test_weights_and_partial_fit(device: str) -> None:
    """Penalties divided by the sum of the weights are no part of a graph."""
    _, X, y = data("digits")
    weights = np.random.default_rng(0).uniform(0.1, 3, len(y))
    options = {"hidden_layer_sizes": (7,), "max_iter": 3, "random_state": 0, "alpha": 0.1}
    pair = [theirs.MLPClassifier(**options), ours.MLPClassifier(**options, device=device)]
    for estimator in pair:
        estimator.fit(X, y, weights)
        estimator.partial_fit(X[:60], y[:60])
        estimator.coefs_[0][:] *= 0.5
        estimator.partial_fit(X, y)
    for a, b in zip(pair[1].coefs_, pair[0].coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pair[1].predict_proba(X), pair[0].predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("precision", ["tf32", "bfloat16", "float16"])
def test_precision_reaches_the_steps(device: str, precision: str) -> None:
    _, X, y = data("digits")
    X = X.astype(np.float32)
    options = {"hidden_layer_sizes": (16,), "max_iter": 20, "random_state": 0}
    model = ours.MLPClassifier(**options, device=device, precision=precision).fit(X, y)
    assert model._binding.net.precision == precision
    plain = ours.MLPClassifier(**options, device=device).fit(X, y)
    assert abs(model.loss_ - plain.loss_) < 0.05 * plain.loss_


def test_precision_of_16_bits_on_the_cpu_is_an_error_that_says_so() -> None:
    _, X, y = data("digits")
    model = ours.MLPClassifier(device="cpu", precision="bfloat16")
    with pytest.raises(DataError, match="bfloat16"):
        model.fit(X.astype(np.float32), y)
    assert not hasattr(model, "loss_")
