"""scikit-learn's checks of estimators, with no expected failures."""

from typing import Any

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import estimator_checks_generator

from nnx.neural_network import MLPClassifier, MLPRegressor

# The parameters of scikit-learn's own run; the sample weight check needs its own.
WEIGHTS = "check_sample_weight_equivalence_on_dense_data"
SETTINGS = [
    (MLPClassifier(max_iter=100), None),
    (MLPRegressor(max_iter=100), None),
    (MLPClassifier(max_iter=100, solver="lbfgs"), WEIGHTS),
    (MLPRegressor(max_iter=100, solver="sgd", tol=1e-2, random_state=42), WEIGHTS),
]
CHECKS = [
    pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
    for prototype, only in SETTINGS
    for estimator, check in estimator_checks_generator(prototype)
    if only is None or check.func.__name__ == only
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_check(estimator: Any, check: Any) -> None:
    check(estimator)
