"""Threads: predictions and scores of one object at once, fits of different ones, without a lock.

`NNX_THREADS_SECONDS=60` runs the stress test as long; in the gate it takes a few seconds.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnx

pytest.importorskip("sklearn", reason="scikit-learn brings the estimators")
from nnx.neural_network import MLPClassifier, MLPRegressor

SECONDS = float(os.environ.get("NNX_THREADS_SECONDS", "4"))
THREADS = 8
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4000, 20))
Y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


@pytest.fixture(scope="module")
def model() -> Any:
    """Long enough a fit that its steps are compiled, and so its predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NNX_COMPILE", "1")
        return MLPClassifier((64, 64), max_iter=3, random_state=0).fit(X, Y)


def at_once(works: list[Callable[[], None]]) -> None:
    """Run each in a thread of its own; raise what any of them raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(works))

    def run(work: Callable[[], None]) -> None:
        try:
            start.wait()
            work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("rows", [100, 1000])
def test_threads_that_predict_with_one_estimator(model: Any, rows: int) -> None:
    parts = [X[k * rows : (k + 1) * rows] for k in range(2)]
    wanted = [model.predict_proba(part) for part in parts]

    def predict(part: Any, answer: Any) -> Callable[[], None]:
        def work() -> None:
            for _ in range(400):
                np.testing.assert_array_equal(model.predict_proba(part), answer)

        return work

    at_once([predict(part, answer) for part, answer in zip(parts, wanted, strict=True)])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_eight_threads_of_all_kinds(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions, scores and fits, of shared and of own objects: the serial answers."""
    monkeypatch.setenv("NNX_COMPILE", "1")
    net = nnx.MLP([20, 32, 2], device="cpu", seed=1)
    net.fit(X[:500].T, Y[:500], epochs=2)
    small = X[:200].astype(np.float32)

    def fit() -> Any:
        own = MLPClassifier((48,), max_iter=2, random_state=3).fit(X[:1000], Y[:1000])
        return own.coefs_[0], own.predict_proba(X[:300])

    def regress() -> Any:
        own = MLPRegressor(hidden_layer_sizes=(30,), solver="lbfgs", max_iter=5, random_state=3)
        return (own.fit(X[:800], X[:800, 3]).predict(X[:300]),)

    def train() -> Any:
        own = nnx.MLP([20, 200, 3], device="cpu", seed=2)
        history = own.fit(X[:1500].T, Y[:1500], epochs=2, batch_size=300)
        return history["cost"], own.predict_proba(X[:50].T)

    def step() -> Any:
        own = nnx.MLP([20, 300, 2], device="cpu", seed=5)
        taken = nnx.TrainingStep(own, 400, nnx.Adam(0.01), compiled=True)
        x, y = np.asfortranarray(X[:400].T, np.float32), Y[:400]
        return [float(taken(x, y)) for _ in range(20)], np.array(own.theta)

    works: list[Callable[[], Any]] = [
        fit,
        regress,
        train,
        step,
        lambda: (model.predict_proba(X[:700]), model.predict(small)),
        lambda: (model.predict_proba(X[100:800]), [model.score(X, Y)]),
        lambda: (net.predict_proba(X[:900].T), [net.score(X.T, Y)]),
        lambda: (net.predict(X.T), model.predict_log_proba(X[:64])),
    ]
    assert len(works) == THREADS
    wanted = [work() for work in works]
    end = time.monotonic() + SECONDS

    def check(work: Callable[[], Any], answers: Any, rtol: float) -> Callable[[], None]:
        def repeat() -> None:
            while True:
                for found, answer in zip(work(), answers, strict=True):
                    np.testing.assert_allclose(found, answer, rtol=rtol, atol=rtol)
                if time.monotonic() > end:
                    return

        return repeat

    # What is compiled, to the bit. A network predicts through NumPy's products, whose threads are
    # taken away while another thread trains: then sums are rounded otherwise.
    rtol = [0.0, 0.0, 1e-5, 0.0, 0.0, 0.0, 1e-5, 1e-5]
    at_once([check(*each) for each in zip(works, wanted, rtol, strict=True)])
