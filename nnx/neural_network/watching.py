"""What happens after each epoch of an estimator: printing, scores, the best weights, callbacks."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from nnx.callbacks import Callback
from nnx.history import History
from nnx.neural_network.binding import Binding
from nnx.progress import progress_bar

Array = Any


class Watcher:
    """Watches one run; a context manager around it.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    binding : Binding
    validation : tuple (X, y, sample_weight), optional
        Scored after each epoch.
    early_stopping : bool
        Whether the validation score decides when to stop, and which weights stay.
    epochs : int
    """

    def __init__(
        self,
        estimator: Any,
        binding: Binding,
        validation: tuple[Any, Any, Any] | None,
        *,
        early_stopping: bool,
        epochs: int,
    ) -> None:
        self._est, self._binding, self._validation = estimator, binding, validation
        self._early_stopping, self._epochs = early_stopping, epochs
        self._callbacks = tuple(estimator.callbacks or ())
        self._bar = estimator.verbose == "progress"
        self.prints = bool(estimator.verbose) and not self._bar
        self._history = History()
        self._open = ExitStack()

    def __enter__(self) -> Watcher:
        bar = progress_bar(
            self._epochs, self._history, shown=self._bar, asked_by="verbose='progress'"
        )
        self._advance = self._open.enter_context(bar)
        for callback in self._callbacks:
            if isinstance(callback, Callback):
                callback.start(self._binding.net)
                self._open.callback(callback.end, self._binding.net)
        self._since = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def message(self) -> str:
        """Why the run stops, in scikit-learn's words."""
        what = "Validation score" if self._early_stopping else "Training loss"
        return (
            f"{what} did not improve more than tol={self._est.tol:f} for "
            f"{self._est.n_iter_no_change:d} consecutive epochs."
        )

    def after_epoch(self, rate: float, seconds: float) -> bool:
        """See the epoch that has just ended; return whether a callback wants to stop."""
        est = self._est
        if self.prints:
            print(f"Iteration {est.n_iter_:d}, loss = {est.loss_:.8f}")
        if self._validation is not None:
            self._score()
        if self._early_stopping:
            self._count_by_score()
        else:
            self._count_by_loss()
        if not self._callbacks and not self._bar:
            return False
        values = {"cost": est.loss_, "learning_rate": rate, "seconds": seconds}
        if self._validation is not None:
            values["validation_score"] = est.validation_scores_[-1]
        self._history.record(**values)
        self._advance()
        return self._ask()

    def after_iteration(self, intermediate_result: Any) -> None:
        """See an iteration of L-BFGS; StopIteration ends it where a callback wants to stop."""
        if not self._callbacks and not self._bar:
            return
        now = time.perf_counter()
        self._history.record(
            cost=float(intermediate_result.fun), learning_rate=0.0, seconds=now - self._since
        )
        self._since = now
        self._advance()
        if self._ask():
            raise StopIteration

    def _ask(self) -> bool:
        """Whether any callback wants to stop; each is asked."""
        answers = [callback(self._binding.net, self._history) for callback in self._callbacks]
        return any(answers)

    def _score(self) -> None:
        self._binding.theta.download()
        assert self._validation is not None
        X, y, sample_weight = self._validation
        score = self._est._score(X, y, sample_weight=sample_weight)
        self._est.validation_scores_.append(score)
        if self.prints:
            print(f"Validation score: {score:f}")

    def _count_by_score(self) -> None:
        est, score = self._est, self._est.validation_scores_[-1]
        if score < est.best_validation_score_ + est.tol:
            est._no_improvement_count += 1
        else:
            est._no_improvement_count = 0
        if score > est.best_validation_score_:
            est.best_validation_score_ = score
            est._best_coefs = [c.copy(order="K") for c in est.coefs_]
            est._best_intercepts = [b.copy() for b in est.intercepts_]

    def _count_by_loss(self) -> None:
        est, loss = self._est, self._est.loss_curve_[-1]
        if loss > est.best_loss_ - est.tol:
            est._no_improvement_count += 1
        else:
            est._no_improvement_count = 0
        if loss < est.best_loss_:
            est.best_loss_ = loss
        if self._validation is not None:
            est.best_validation_score_ = max(est.validation_scores_)
