"""The training loop: epochs, minibatches, learning rate, validation, callbacks."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nnx.backends.errors import DataError
from nnx.callbacks import Callback
from nnx.evaluation import evaluate
from nnx.history import History
from nnx.inputs import check_number, check_weights, check_X
from nnx.lbfgs import minimise
from nnx.model import Model
from nnx.optimizers import LBFGS, Optimizer, get_optimizer
from nnx.progress import progress_bar
from nnx.step import OptimizerState, TrainingStep, worth_compiling

Array = Any
CallbackLike = Callback | Callable[[Any, History], bool | None]

_SPLIT = 1  # the stream of random numbers that chooses the validation examples
_SHUFFLE = 2  # those that shuffle


@dataclass(frozen=True)
class Batch:
    """Checked examples on the device: X (n_x, m), Y (m,) or (n_y, m), weights (m,) or None."""

    X: Array
    Y: Array
    weights: Array | None = None

    @property
    def m(self) -> int:
        """Number of examples."""
        return int(self.X.shape[1])


@dataclass(frozen=True)
class Options:
    """How to train; `Network.fit` documents each."""

    epochs: int
    batch_size: int | Literal["all"] | None
    callbacks: tuple[CallbackLike, ...]
    shuffle: bool
    progress: bool

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, 1, whole=True)
        if self.batch_size not in (None, "all"):
            check_number("batch_size (a number, or 'all')", self.batch_size, 1, whole=True)
        for callback in self.callbacks:
            if not callable(callback):
                raise DataError(f"a callback must be callable, got {callback!r}")

    def batch(self, m: int) -> int:
        """Examples in a batch."""
        if self.batch_size == "all":
            return m
        return min(self.batch_size or 200, m)


class Run:
    """A training run that can go on later: the optimizer with its state, and the history."""

    def __init__(self, model: Model, optimizer: str | Optimizer | LBFGS | None) -> None:
        # A copy: a schedule may remember costs, and the caller may train again with the original.
        self.optimizer = copy.deepcopy(get_optimizer(optimizer))
        self.history = History()
        self._model = model
        self._state: OptimizerState | None = None

    def train(self, data: Batch, validation: Batch | None, options: Options) -> None:
        """Train for `options.epochs` more epochs."""
        callbacks = _Callbacks(self._model, options.callbacks, self.history)
        with (
            progress_bar(options.epochs, self.history, shown=options.progress) as advance,
            callbacks,
        ):

            def after_epoch(cost: float, rate: float, seconds: float) -> bool:
                values = {"cost": cost, "learning_rate": rate, "seconds": seconds}
                if validation is not None:
                    found = evaluate(self._model, validation.X, validation.Y)
                    values["validation_cost"], values["validation_score"] = found
                self.history.record(**values)
                advance()
                return callbacks.stop() or _diverged(cost, self.history.epochs)

            if isinstance(self.optimizer, LBFGS):
                minimise(
                    self._model,
                    data.X,
                    data.Y,
                    data.weights,
                    self.optimizer,
                    options.epochs,
                    after_epoch,
                )
            else:
                self._descend(self.optimizer, data, options, after_epoch)

    def _descend(
        self,
        optimizer: Optimizer,
        data: Batch,
        options: Options,
        after_epoch: Callable[[float, float, float], bool],
    ) -> None:
        if self._state is None:
            self._state = OptimizerState(self._model, optimizer)
        size, first = options.batch(data.m), self.history.epochs
        count = math.ceil(data.m / size)
        schedule = optimizer.schedule
        compiled = worth_compiling(self._model, size, count * options.epochs)
        steps = [
            TrainingStep(self._model, m, optimizer, state=self._state, compiled=compiled)
            for m in (size, data.m % size)
            if m
        ]
        with steps[0].alone():
            for epoch in range(first, first + options.epochs):
                start = time.perf_counter()
                rates = np.array([schedule(epoch + i / count) for i in range(count)])
                total = self._epoch(data, steps, epoch, rates, options.shuffle)
                cost = float(total) / data.m  # waits for the device
                stop = after_epoch(cost, float(rates[-1]), time.perf_counter() - start)
                watched = self.history.get("validation_cost", self.history["cost"])
                schedule.observe(watched[-1])
                if stop:
                    break

    def _epoch(
        self, data: Batch, steps: list[TrainingStep], epoch: int, rates: Array, shuffle: bool
    ) -> Array:
        """Take the steps of one epoch; return the sum over its batches of m J.

        The last batch is smaller where m is no multiple of the batch size.
        """
        backend, size = self._model.backend, steps[0].m
        order, weights = None, data.weights
        if shuffle and size < data.m:
            rng = np.random.default_rng([self._model.seed, _SHUFFLE, epoch])
            order = backend.asarray(rng.permutation(data.m))
            weights = None if weights is None else backend.gather(weights, order)
        if weights is not None:
            weights = self._mean_one(weights, size)
        return take_epoch(steps, data.X, data.Y, weights, rates, order)

    def _mean_one(self, weights: Array, size: int) -> Array:
        """Scale the weights so that their mean is one in each batch; zeros stay zeros."""
        xp, parts = self._model.backend.xp, []
        for start in range(0, weights.shape[0], size):
            part = weights[start : min(start + size, weights.shape[0])]
            mean = xp.mean(part)
            parts.append(part / xp.where(mean > 0, mean, xp.ones_like(mean)))
        return xp.concat(parts)


def take_epoch(
    steps: Sequence[TrainingStep],
    X: Array,
    Y: Array,
    weights: Array | None,
    rates: Array,
    order: Array | None = None,
    penalty_m: Array | None = None,
) -> Array:
    """Take a step for each rate: all but the last of steps[0].m examples, the rest of steps[-1].m.

    The other arguments are those of `TrainingStep.run`; returns the sum over the batches of m J.
    """
    size, total, first = steps[0].m, 0.0, 0
    for step in steps:
        number = len(rates) - (len(steps) - 1 if step is not steps[-1] else first)
        part = slice(first * size, first * size + number * step.m)
        x, y = (X, Y) if order is not None else (X[:, part], Y[..., part])
        taken = slice(first, first + number)
        total = total + step.m * step.run(
            x,
            y,
            None if weights is None else weights[part],
            rates[taken],
            order=None if order is None else order[part],
            penalty_m=None if penalty_m is None else penalty_m[taken],
        )
        first += number
    return total


def prepare(
    model: Model,
    X: Any,
    Y: Any,
    validation: tuple[Any, Any] | float | None,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
) -> tuple[Batch, Batch | None]:
    """Check the data, bring it to the device, and split off or check the validation data."""
    X = check_X(X, model.n_x, model.backend, model.dtype)
    Y = model.check_Y(Y, X.shape[1])
    weights = check_weights(
        sample_weight, class_weight, Y, model.loss, X.shape[1], model.backend, model.dtype
    )
    data = Batch(X, Y, weights)
    if validation is None:
        return data, None
    if isinstance(validation, tuple | list) and len(validation) == 2:
        X_val = check_X(validation[0], model.n_x, model.backend, model.dtype)
        return data, Batch(X_val, model.check_Y(validation[1], X_val.shape[1]))
    if isinstance(validation, float) and 0 < validation < 1:
        return _split(model, data, validation)
    raise DataError(
        f"validation must be (X_val, Y_val) or a fraction between 0 and 1, got {validation!r}"
    )


def _split(model: Model, data: Batch, fraction: float) -> tuple[Batch, Batch]:
    held = round(fraction * data.m)
    if not 0 < held < data.m:
        raise DataError(f"validation={fraction} of m = {data.m} examples leaves an empty part")
    backend = model.backend
    order = backend.asarray(np.random.default_rng([model.seed, _SPLIT]).permutation(data.m))

    def part(index: Array) -> Batch:
        weights = None if data.weights is None else backend.gather(data.weights, index)
        return Batch(backend.gather(data.X, index), backend.gather(data.Y, index), weights)

    return part(order[held:]), part(order[:held])


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
