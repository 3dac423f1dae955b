"""Whole batches with SciPy's L-BFGS-B, its vector packed as scikit-learn packs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from nnx.backends.engine.blas import scipy_in_one_thread
from nnx.neural_network.binding import Binding, HostVector, Packing
from nnx.neural_network.examples import Examples
from nnx.optimizers import GradientDescent
from nnx.step import OptimizerState, TrainingStep, worth_compiling

Array = Any


class WholeBatch:
    """Cost and gradient of all examples as a function of scikit-learn's packed vector."""

    def __init__(self, binding: Binding, examples: Examples, evaluations: int) -> None:
        self._binding, self._examples, self._net = binding, examples, binding.net
        self._optimizer = GradientDescent()
        self._state = OptimizerState(self._net, self._optimizer)
        self._gradient = HostVector(self._net, self._state.gradient)
        self.compiled = worth_compiling(self._net, examples.m, evaluations)
        self._steps: dict[int, TrainingStep] = {}
        self.packing = Packing(self._net.n)

    def __call__(self, packed: Array) -> tuple[float, Array]:
        """Return J and dJ/d(packed), in the dtype of `packed`."""
        binding, state = self._binding, self._state
        binding.theta.load(self.packing.unpack(packed))
        J, total = 0.0, None
        for X, Y, weights in self._examples.whole():
            step, share = self._step(X.shape[1]), X.shape[1] / self._examples.m
            J += share * float(step.gradients(X, Y, weights, penalty_m=self._examples.weight))
            if share < 1:
                part = state.gradient.flat * share
                total = part if total is None else total + part
        if total is not None:
            state.gradient.flat[...] = total
        self._gradient.download()
        return J, self.packing.pack(
            self._gradient.arrays, np.empty(self.packing.size, packed.dtype)
        )

    def _step(self, m: int) -> TrainingStep:
        if m not in self._steps:
            self._steps[m] = TrainingStep(
                self._net, m, self._optimizer, state=self._state, compiled=self.compiled
            )
        return self._steps[m]

    def minimise(
        self, start: Array, options: dict[str, Any], callback: Callable[[Any], None] | None
    ) -> Any:
        """Return SciPy's result; the cores belong to this run until then."""
        steps = [self._step(m) for m in self._examples.whole_sizes]
        with steps[0].alone(), scipy_in_one_thread():
            return minimize(
                self, start, method="L-BFGS-B", jac=True, options=options, callback=callback
            )
