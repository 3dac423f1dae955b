"""One cell: a network or a traditional algorithm, m examples, a seed; and its errors.

The key holds everything that determines the result. The test part is looked at once, when the
training is over; trials of learning rates never see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

import nnx
from nnx.backends import get_backend
from nnx.benchmarks.scale.one_thread import computed_by
from nnx.benchmarks.scale.settings import LINEAR, LOGISTIC, Settings
from nnx.benchmarks.scale.tasks import Task, get_task
from nnx.errors import MissingDependencyError
from nnx.step import TrainingStep

Key = Mapping[str, Any]
Array = Any

_SCORED = 4096  # of the training examples, at most, for the training error
# Rough costs, in FLOP of one core, by which the longest cells begin first and time is foreseen.
_STEP_FLOP, _LOOK_FLOP = 2e6, 2e8
_SVM_PER_PAIR, _LINEAR_PER_NUMBER = 1.2e3, 3e3


def trial_key(settings: Settings, task: Task, hidden: tuple[int, ...], rate: float) -> Key:
    """Return the key of a trial of a learning rate."""
    m, seed = settings.tuned_at, settings.seeds[0]
    return {**_training(settings, task, hidden, m, seed, rate), "cell": "trial"}


def network_key(
    settings: Settings, task: Task, hidden: tuple[int, ...], m: int, seed: int, rate: float
) -> Key:
    """Return the key of a network's cell."""
    training = _training(settings, task, hidden, m, seed, rate)
    return {**training, "cell": "network", "m_test": settings.m_test}


def traditional_key(settings: Settings, task: Task, algorithm: str, m: int, seed: int) -> Key:
    """Return the key of a traditional algorithm's cell."""
    return {
        **_examples(settings, task, m, seed),
        "cell": "traditional",
        "algorithm": algorithm,
        "m_test": settings.m_test,
    }


def _training(
    settings: Settings, task: Task, hidden: tuple[int, ...], m: int, seed: int, rate: float
) -> dict[str, Any]:
    return {
        **_examples(settings, task, m, seed),
        "hidden": list(hidden),
        "rate": rate,
        "batch": settings.batch_of(m),
        "steps": settings.steps_of(m),
        "checks": settings.checks,
        "patience": settings.patience,
        "device": settings.device,
        "dtype": settings.dtype,
    }


def _examples(settings: Settings, task: Task, m: int, seed: int) -> dict[str, Any]:
    return {
        "task": task.name,
        "task_options": dict(task.options),
        "m": m,
        "seed": seed,
        "m_validation": settings.m_validation,
        "computed_by": computed_by(),
    }


def parameters_of(task: Task, hidden: tuple[int, ...]) -> int:
    """Return N, the number of weights and biases."""
    n = [task.n_x, *hidden, task.n_y]
    return sum((n_prev + 1) * units for n_prev, units in pairwise(n))


def cost_of(key: Key, task: Task) -> float:
    """Return about how much work a cell is."""
    m = key["m"]
    if key["cell"] == "traditional":
        if key["algorithm"] in (LOGISTIC, LINEAR):
            return float(_LOOK_FLOP + _LINEAR_PER_NUMBER * m * task.n_x * task.n_y)
        return float(_LOOK_FLOP + _SVM_PER_PAIR * m * (m + key["m_test"]))
    flop = 6 * parameters_of(task, tuple(key["hidden"]))
    looks = flop / 3 * key["checks"] * key["m_validation"]
    return float(_LOOK_FLOP + looks + key["steps"] * (_STEP_FLOP + key["batch"] * flop))


def compute_cell(key: Key, path: str | None = None) -> dict[str, Any]:
    """Compute the cell of this key.

    Parameters
    ----------
    key : mapping
    path : str, optional
        The file of one's own data.

    Returns
    -------
    dict
        "status", and what is known of it: see `record.Study`; of a trial no test error.
    """
    task = get_task(key["task"], key["task_options"], path)
    if key["cell"] == "traditional":
        return _traditional(key, task)
    return _network(key, task)


def _network(key: Key, task: Task) -> dict[str, Any]:
    net = nnx.MLP(
        [task.n_x, *key["hidden"], task.n_y],
        output="softmax" if task.classifies else "identity",
        device=key["device"],
        dtype=key["dtype"],
        seed=key["seed"],
    )
    steps, validation_error = _train(net, key, task)
    if validation_error is None:
        reason = f"the training left the finite numbers at the learning rate {key['rate']:g}"
        return {"status": "failed", "reason": reason}
    found = {"status": "done", "validation_error": validation_error, "steps": steps}
    if key["cell"] == "trial":
        return found

    def answers(X: Array) -> Array:
        return net.predict_proba(X.T).T

    test_error, test_loss = _errors(task, answers, *task.examples("test", key["m_test"]))
    return {
        **found,
        "epochs": round(steps * key["batch"] / key["m"], 3),
        "train_error": _train_error(key, task, answers),
        "test_error": test_error,
        "test_loss": test_loss,
    }


def _train(net: nnx.Network, key: Key, task: Task) -> tuple[int, float | None]:
    """Train, keep the parameters of the best look; steps taken and validation error, if finite."""
    m, batch, rate, total = key["m"], key["batch"], key["rate"], key["steps"]
    backend = get_backend(key["device"])
    X, Y = task.examples("train", m, key["seed"])
    x = backend.asarray(X.T, key["dtype"])
    y = backend.asarray(Y if task.classifies else Y.T, "int64" if task.classifies else key["dtype"])
    X_val, Y_val = task.examples("validation", key["m_validation"])
    step = TrainingStep(net, batch, nnx.Adam(rate))
    order = _Order(m, key["seed"])
    best, theta, waited, done = None, None, 0, 0
    with step.alone():
        for look in range(1, key["checks"] + 1):
            count = round(total * look / key["checks"]) - done
            if count == 0:
                continue
            share = (done + np.arange(count)) / total
            rates = rate * (1 + np.cos(np.pi * share)) / 2
            step.run(x, y, None, rates, order=backend.asarray(order.take(count * batch)))
            done += count
            error, _ = _errors(task, lambda X: net.predict_proba(X.T).T, X_val, Y_val)
            if error is None:
                break
            if best is None or error < best:
                best, theta, waited = error, backend.asarray(net.theta, copy=True), 0
                continue
            waited += 1
            if waited >= key["patience"]:
                break
    if theta is not None:
        net.theta[...] = theta
    return done, best


class _Order:
    """The examples in new orders, one after the other: every example comes once in each."""

    def __init__(self, m: int, seed: int) -> None:
        self._m, self._rng = m, np.random.default_rng([seed, 2])
        self._left = np.empty(0, np.int64)

    def take(self, count: int) -> Array:
        parts = [self._left]
        while sum(map(len, parts)) < count:
            parts.append(self._rng.permutation(self._m))
        order = np.concatenate(parts)
        self._left = order[count:]
        return np.ascontiguousarray(order[:count])


def _traditional(key: Key, task: Task) -> dict[str, Any]:
    model = _algorithm(key["algorithm"], task)
    X, Y = task.examples("train", key["m"], key["seed"])
    goal = Y if task.classifies else Y[:, 0]
    if task.classifies and len(np.unique(goal)) < 2:
        return {"status": "failed", "reason": "the training examples are all of one class"}
    model.fit(X, goal)

    def answers(X: Array) -> Array:
        found = model.predict(X)
        if not task.classifies:
            return found[:, None]
        certain = np.zeros((len(X), task.n_y))
        certain[np.arange(len(X)), found] = 1
        return certain

    validation = task.examples("validation", key["m_validation"])
    test_error, test_loss = _errors(task, answers, *task.examples("test", key["m_test"]))
    return {
        "status": "done",
        "validation_error": _errors(task, answers, *validation)[0],
        "train_error": _train_error(key, task, answers),
        "test_error": test_error,
        # Answers without probabilities have no loss beside their error.
        "test_loss": None if task.classifies else test_loss,
    }


def _algorithm(name: str, task: Task) -> Any:
    """scikit-learn's estimator with its defaults, and iterations enough to get there."""
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
        from sklearn.svm import SVC, SVR
    except ImportError:
        raise MissingDependencyError(
            "scikit-learn", "scale", "the traditional algorithms"
        ) from None
    if name == LOGISTIC:
        return LogisticRegression(max_iter=10_000)
    if name == LINEAR:
        return Ridge()
    return SVC() if task.classifies else SVR()


def _train_error(key: Key, task: Task, answers: Any) -> float | None:
    X, Y = task.examples("train", key["m"], key["seed"])
    return _errors(task, answers, X[:_SCORED], Y[:_SCORED])[0]


def _errors(task: Task, answers: Any, X: Array, Y: Array) -> tuple[float | None, float | None]:
    """The task's error, and the loss: cross-entropy or mean squared error; None if not finite."""
    A = np.asarray(answers(X), np.float64)
    if not np.isfinite(A).all():
        return None, None
    if not task.classifies:
        error = float(np.mean((A - Y) ** 2))
        return error, error
    right = A.argmax(axis=1) == Y
    likely = np.maximum(A[np.arange(len(Y)), Y], np.finfo(np.float32).tiny)
    return float(np.mean(~right)), float(-np.mean(np.log(likely)))
