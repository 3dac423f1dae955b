"""Minibatch training as scikit-learn does it: its order of batches, its rules for stopping.

Each line that decides something is that of `BaseMultilayerPerceptron._fit_stochastic`; the steps
themselves are nnx's.
"""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from nnx.backends.reference.updates import AdamRule, MomentumRule, UpdateRule
from nnx.neural_network import outputs
from nnx.neural_network.binding import Binding, HostVector
from nnx.neural_network.examples import Examples
from nnx.neural_network.watching import Watcher
from nnx.optimizers import Optimizer
from nnx.step import OptimizerState, TrainingStep, worth_compiling

Array = Any
_STEPS_KEPT = 4  # programs for so many sizes of batches are kept between calls of partial_fit


def new_optimizer(estimator: Any) -> AdamOptimizer | SGDOptimizer:
    """scikit-learn's own optimizer: its learning rate over time, and the state it is pickled with.

    Its vectors are those of nnx's step, see `Stepper`; its updates are not used.
    """
    if estimator.solver == "adam":
        return AdamOptimizer(
            [],
            estimator.learning_rate_init,
            estimator.beta_1,
            estimator.beta_2,
            estimator.epsilon,
        )
    return SGDOptimizer(
        [],
        estimator.learning_rate_init,
        estimator.learning_rate,
        estimator.momentum,
        estimator.nesterovs_momentum,
        estimator.power_t,
    )


def _rule(optimizer: AdamOptimizer | SGDOptimizer) -> tuple[UpdateRule, dict[str, str]]:
    """nnx's form of the update, and for each of its slots the attribute of the optimizer."""
    if isinstance(optimizer, AdamOptimizer):
        rule = AdamRule(optimizer.beta_1, optimizer.beta_2, optimizer.epsilon, epsilon_hat=True)
        return rule, {"m": "ms", "v": "vs"}
    return MomentumRule(optimizer.momentum, optimizer.nesterov), {"v": "velocities"}


class Stepper:
    """The steps of a bound network, whose state is that of a scikit-learn optimizer.

    Parameters
    ----------
    binding : Binding
    optimizer : AdamOptimizer or SGDOptimizer
        Its lists of arrays become views of the state, as `coefs_` are of theta.
    """

    def __init__(self, binding: Binding, optimizer: AdamOptimizer | SGDOptimizer) -> None:
        self._binding, self.optimizer = binding, optimizer
        rule, self._attributes = _rule(optimizer)
        self._nnx = Optimizer(rule, optimizer.learning_rate_init)
        self._state = OptimizerState(binding.net, self._nnx)
        self._vectors = {
            slot: HostVector(binding.net, vector) for slot, vector in self._state.vectors.items()
        }
        self._steps: dict[int, TrainingStep] = {}
        self._asked = 0

    def load(self) -> None:
        """Take the optimizer's state in; lists that are empty stand for zeros."""
        for slot, attribute in self._attributes.items():
            given, vector = getattr(self.optimizer, attribute), self._vectors[slot]
            if given:
                vector.load(given)
            setattr(self.optimizer, attribute, list(vector.arrays))
        self._state.t = getattr(self.optimizer, "t", self._state.t)

    def store(self) -> None:
        """Give the state back to the optimizer."""
        for vector in self._vectors.values():
            vector.download()
        if isinstance(self.optimizer, AdamOptimizer):
            self.optimizer.t = self._state.t
            if self._state.t:
                rule = self._nnx.rule
                assert isinstance(rule, AdamRule)
                self.optimizer.learning_rate = rule.scalars(
                    self.optimizer.learning_rate_init, self._state.t
                )[0]

    @property
    def rate(self) -> float:
        """The learning rate of the next epoch; Adam's own correction comes with the rule."""
        if isinstance(self.optimizer, AdamOptimizer):
            return float(self.optimizer.learning_rate_init)
        return float(self.optimizer.learning_rate)

    def steps(self, m: int, size: int, epochs: int) -> tuple[list[TrainingStep], int]:
        """The steps for batches of `size` of m examples, and the number of batches."""
        count = math.ceil(m / size)
        self._asked += count * epochs  # many calls of partial_fit are worth as much as one of fit
        compiled = worth_compiling(self._binding.net, size, self._asked)
        return [self._step(n, compiled) for n in (size, m % size) if n], count

    def _step(self, m: int, compiled: bool | None) -> TrainingStep:
        step = self._steps.pop(m, None)
        if step is None or (compiled is None and not step.compiled):
            step = TrainingStep(
                self._binding.net, m, self._nnx, state=self._state, compiled=compiled
            )
        self._steps[m] = step
        if len(self._steps) > _STEPS_KEPT:
            del self._steps[next(iter(self._steps))]
        return step


def train(
    estimator: Any,
    stepper: Stepper,
    examples: Examples,
    watcher: Watcher,
    batch_size: int,
    *,
    incremental: bool,
) -> None:
    """Train for up to `max_iter` epochs, or for one where `incremental`."""
    est, optimizer, m = estimator, stepper.optimizer, examples.m
    epochs = 1 if incremental else est.max_iter
    steps, count = stepper.steps(m, batch_size, epochs)
    outputs.fitted(est, compiled=steps[0].compiled)
    order = np.arange(m)
    try:
        est.n_iter_ = 0
        with steps[0].alone(), watcher:
            for _ in range(epochs):
                start = time.perf_counter()
                if est.shuffle:
                    # sklearn.utils.shuffle without its checks: the same draws, the same order.
                    drawn = np.arange(m)
                    est._random_state.shuffle(drawn)
                    order = order[drawn]
                rate = stepper.rate
                est.loss_ = examples.epoch(steps, count, rate, order if est.shuffle else None)
                est.n_iter_ += 1
                est.t_ += m
                est.loss_curve_.append(est.loss_)
                stop = watcher.after_epoch(rate, time.perf_counter() - start)
                optimizer.iteration_ends(est.t_)
                if est._no_improvement_count > est.n_iter_no_change:
                    if optimizer.trigger_stopping(watcher.message(), watcher.prints):
                        break
                    est._no_improvement_count = 0
                if stop or incremental:
                    break
                if est.n_iter_ == est.max_iter:
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({est.max_iter}) reached and "
                        "the optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=2,
                    )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
