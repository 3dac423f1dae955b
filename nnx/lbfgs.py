"""Whole-batch training with SciPy's L-BFGS-B, whose vector is theta itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from nnx.backends.engine.blas import scipy_in_one_thread
from nnx.backends.errors import MissingDependencyError
from nnx.model import Model
from nnx.optimizers import LBFGS, GradientDescent
from nnx.step import TrainingStep, worth_compiling

Array = Any


def minimise(
    model: Model,
    X: Array,
    Y: Array,
    weights: Array | None,
    optimizer: LBFGS,
    iterations: int,
    after_iteration: Callable[[float, float, float], bool],
) -> None:
    """Minimise the cost over theta, in place.

    `after_iteration(cost, 0.0, seconds)` is called after each iteration; True stops.
    """
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise MissingDependencyError("SciPy", "lbfgs", "the L-BFGS optimizer") from None
    backend = model.backend
    if weights is not None:
        weights = weights / backend.xp.mean(weights)
    m = int(X.shape[1])
    compiled = worth_compiling(model, m, iterations)
    step = TrainingStep(model, m, GradientDescent(), compiled=compiled)

    def cost_and_gradient(theta: Any) -> tuple[float, Any]:
        model.theta[...] = backend.asarray(theta, model.dtype)
        J = step.gradients(X, Y, weights)
        # SciPy works in float64 whatever the network's dtype.
        return float(J), backend.to_numpy(step.state.gradient.flat).astype("float64")

    start = time.perf_counter()

    def callback(intermediate_result: Any) -> None:
        nonlocal start
        model.theta[...] = backend.asarray(intermediate_result.x, model.dtype)
        now = time.perf_counter()
        if after_iteration(float(intermediate_result.fun), 0.0, now - start):
            raise StopIteration
        start = now

    with scipy_in_one_thread():
        result = minimize(
            cost_and_gradient,
            backend.to_numpy(model.theta).astype("float64"),
            method="L-BFGS-B",
            jac=True,
            callback=callback,
            options={
                "maxiter": iterations,
                "maxfun": optimizer.max_evaluations,
                "maxcor": optimizer.memory,
                "gtol": optimizer.tolerance,
                "ftol": 64 * 2.220446049250313e-16,
            },
        )
    model.theta[...] = backend.asarray(result.x, model.dtype)
