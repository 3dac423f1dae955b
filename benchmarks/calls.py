"""What is timed: one pass of nnx, or the bare matrix products of the same shapes."""

from collections.abc import Callable
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.benchmarks.cell import LIMITS, NETWORK
from nnx.benchmarks.products import bare_products, graph_products
from nnx.benchmarks.settings import DTYPES, N_X, N_Y, Point

# A step must leave the weights about where they began: values that vanish become
# subnormal numbers, which are slow to multiply.
_LEARNING_RATE = 1e-6


def make_call(name: str, point: Point, optimizer: str, seed: int) -> Callable[[], object]:
    """Return a function that does the work of one contender for `point` once.

    Parameters
    ----------
    name : str
        NETWORK for nnx, or one of LIMITS.
    """
    if name == NETWORK:
        return network_call(point, optimizer=optimizer, seed=seed)
    backend = get_backend(point.device)
    if point.dtype not in DTYPES:
        return graph_products(backend, point.sizes, point.m, point.dtype)
    (order,) = (order for order, limit in LIMITS.items() if limit == name)
    return bare_products(backend, point.sizes, point.m, point.dtype, point.pass_, order)


def names_for(point: Point) -> tuple[str, ...]:
    """Names of those that are timed for `point`: a GPU's own precisions have one memory order."""
    return (NETWORK, *list(LIMITS.values())[: 2 if point.dtype in DTYPES else 1])


def network_call(
    point: Point, *, optimizer: str = "GradientDescent", seed: int = 0
) -> Callable[[], object]:
    """Return a function that runs the pass of `point` once, with network and data ready."""
    precision = None if point.dtype in DTYPES else point.dtype
    dtype = point.dtype if precision is None else "float32"
    net = nnx.MLP(point.sizes, device=point.device, dtype=dtype, precision=precision, seed=seed)
    X, Y = synthetic_data(net.backend, point.m, dtype, seed)
    if point.pass_ == "forward":
        return lambda: net.forward(X, check=False)
    if point.pass_ == "backward":
        return lambda: net.backward(Y, net.forward(X, train=True, check=False)[1])
    step = nnx.TrainingStep(net, point.m, getattr(nnx, optimizer)(learning_rate=_LEARNING_RATE))
    return lambda: step(X, Y)


def synthetic_data(backend: Backend, m: int, dtype: str, seed: int) -> tuple[Any, Any]:
    """Draw X (n_x, m), each example contiguous, and labels Y (m,), on the device."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((m, N_X), dtype=np.dtype(dtype).type).T
    return backend.asarray(X), backend.asarray(rng.integers(0, N_Y, m))
