"""Predictions follow the estimator's parameters, whatever is kept between calls."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.neural_network import MLPClassifier as Own

from nnx.neural_network import MLPClassifier
from nnx.neural_network.outputs import outputs_of

RNG = np.random.default_rng(0)
X, y = RNG.standard_normal((90, 5)), RNG.integers(0, 3, 90)


def fitted(**given: Any) -> Any:
    model = MLPClassifier((8,), max_iter=3, tol=0, random_state=0, **given)
    with pytest.warns(Warning, match="converge"):
        return model.fit(X, y)


def wanted(model: Any, X: Any = X) -> Any:
    """What scikit-learn's own class makes of the same parameters."""
    return Own._forward_pass_fast(model, X)


def test_twice_the_same_bits() -> None:
    model = fitted()
    first = model.predict_proba(X)
    np.testing.assert_array_equal(model.predict_proba(X), first)
    kept = outputs_of(model, X.dtype)
    model.predict(X[:50])
    assert outputs_of(model, X.dtype) is kept
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_parameters_changed_in_place_or_exchanged() -> None:
    model = fitted()
    before = model.predict_proba(X)
    model.coefs_[0] *= 3
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-12)
    assert not np.allclose(model.predict_proba(X), before)
    model.coefs_[1] = RNG.standard_normal((8, 3))
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-12)
    model.intercepts_[1] = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-12)
    model.activation = "tanh"
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-12)


def test_another_dtype_sees_changes_in_place_too() -> None:
    model = fitted()
    single = X.astype("float32")
    with pytest.warns(Warning, match="converge"):
        model.fit(single, y)
    model.predict_proba(X)  # float64 examples, float32 parameters: these are copied
    model.coefs_[0] *= 3
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-6)
    np.testing.assert_allclose(model.predict_proba(single), wanted(model, single), rtol=1e-5)


def test_fitted_again_and_pickled() -> None:
    model = fitted()
    model.predict_proba(X)
    with pytest.warns(Warning, match="converge"):
        model.fit(X, (y + 1) % 3)
    np.testing.assert_allclose(model.predict_proba(X), wanted(model), rtol=1e-12)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_sparse_rows_between_others() -> None:
    model = fitted()
    dense = model.predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(csr_matrix(X)), dense, rtol=1e-12)
    np.testing.assert_array_equal(model.predict_proba(X), dense)
