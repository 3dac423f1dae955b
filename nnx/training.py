"""The training loop: epochs, minibatches, learning rate, validation, callbacks."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnx.backends.errors import DataError
from nnx.callbacks import Callback
from nnx.data import Data
from nnx.descent import Steps
from nnx.evaluation import evaluate
from nnx.feed import Feed
from nnx.history import History
from nnx.inputs import check_number
from nnx.lbfgs import minimise
from nnx.model import Model
from nnx.optimizers import LBFGS, Optimizer, get_optimizer
from nnx.progress import progress_bar
from nnx.settling import Settled
from nnx.step import OptimizerState

Array = Any
CallbackLike = Callback | Callable[[Any, History], bool | None]


@dataclass(frozen=True)
class Options:
    """How to train; `Network.fit` documents each."""

    epochs: int
    callbacks: tuple[CallbackLike, ...]
    shuffle: bool
    progress: bool

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, 1, whole=True)
        for callback in self.callbacks:
            if not callable(callback):
                raise DataError(f"a callback must be callable, got {callback!r}")


class Run:
    """A training run that can go on later: the optimizer with its state, and the history."""

    def __init__(self, model: Model, optimizer: str | Optimizer | LBFGS | None) -> None:
        # A copy: a schedule may remember costs, and the caller may train again with the original.
        self.optimizer = copy.deepcopy(get_optimizer(optimizer))
        self.history = History()
        self._model = model
        self._state: OptimizerState | None = None
        self._before: tuple[Array, dict[str, Array], int] | None = None

    @property
    def slots(self) -> int:
        """How many state vectors are still to be made."""
        if self._state is not None or isinstance(self.optimizer, LBFGS):
            return 0
        return len(self.optimizer.rule.slots)

    def train(
        self, data: Data, validation: Data | None, options: Options, settled: Settled
    ) -> None:
        """Train for `options.epochs` more epochs."""
        self.history.chosen = settled.chosen()
        feed = Feed(self._model, data, settled.batching, options.shuffle)
        callbacks = _Callbacks(self._model, options.callbacks, self.history)
        with (
            progress_bar(options.epochs, self.history, shown=options.progress) as advance,
            callbacks,
        ):

            def after_epoch(cost: float, rate: float, seconds: float) -> bool:
                values = {"cost": cost, "learning_rate": rate, "seconds": seconds}
                if validation is not None:
                    found = evaluate(self._model, validation)
                    values["validation_cost"], values["validation_score"] = found
                self.history.record(**values)
                self._before = None
                advance()
                return callbacks.stop() or _diverged(cost, self.history.epochs)

            if isinstance(self.optimizer, LBFGS):
                minimise(self._model, feed, settled, self.optimizer, options.epochs, after_epoch)
            else:
                self._descend(self.optimizer, feed, settled, options.epochs, after_epoch)

    def remember(self) -> None:
        """Keep on the host what the next epoch changes, until it is done: so long `restore` can
        undo it."""
        to_numpy, state = self._model.backend.to_numpy, self._state
        slots = {} if state is None else state.slots
        self._before = (
            np.array(to_numpy(self._model.theta)),
            {name: np.array(to_numpy(slot)) for name, slot in slots.items()},
            0 if state is None else state.t,
        )

    def restore(self) -> bool:
        """Put back what was there before the first epoch of `train`, where it was not completed.

        Return whether it did; what completed epochs have reached stays.
        """
        if self._before is None:
            return False
        asarray, (theta, slots, t) = self._model.backend.asarray, self._before
        self._model.theta[...] = asarray(theta)
        if t == 0:
            self._state = None  # it is as new as the run
        if self._state is not None:
            for name, slot in slots.items():
                self._state.slots[name][...] = asarray(slot)
            self._state.t = t
        self._before = None
        return True

    def _descend(
        self,
        optimizer: Optimizer,
        feed: Feed,
        settled: Settled,
        epochs: int,
        after_epoch: Callable[[float, float, float], bool],
    ) -> None:
        if self._state is None:
            self._state = OptimizerState(self._model, optimizer)
        batching, first = settled.batching, self.history.epochs
        count, schedule = batching.steps, optimizer.schedule
        steps = Steps(self._model, optimizer, self._state, batching, settled.compiled)
        with steps.alone():
            for epoch in range(first, first + epochs):
                start = time.perf_counter()
                rates = np.array([schedule(epoch + i / count) for i in range(count)])
                total = steps.epoch(feed.epoch(epoch), rates)
                cost = float(total) / batching.m  # waits for the device
                stop = after_epoch(cost, float(rates[-1]), time.perf_counter() - start)
                watched = self.history.get("validation_cost", self.history["cost"])
                schedule.observe(watched[-1])
                if stop:
                    break


class _Callbacks:
    """The callbacks of one run: started, asked after each epoch, and ended whatever happens."""

    def __init__(self, model: Model, callbacks: Iterable[CallbackLike], history: History) -> None:
        self._model, self._callbacks, self._history = model, tuple(callbacks), history

    def __enter__(self) -> None:
        for callback in self._callbacks:
            if isinstance(callback, Callback):
                callback.start(self._model)

    def stop(self) -> bool:
        """Whether any of them wants to stop; each is asked."""
        answers = [callback(self._model, self._history) for callback in self._callbacks]
        return any(answers)

    def __exit__(self, *_: object) -> None:
        for callback in self._callbacks:
            if isinstance(callback, Callback):
                callback.end(self._model)


def _diverged(cost: float, epoch: int) -> bool:
    if math.isfinite(cost):
        return False
    warnings.warn(
        f"training stopped: the cost is {cost} in epoch {epoch}; a smaller learning rate, scaled "
        "inputs or clip_norm may help",
        RuntimeWarning,
        stacklevel=2,
    )
    return True
