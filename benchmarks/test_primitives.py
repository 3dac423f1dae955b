"""Each primitive of a backend, on a small and on a large layer."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from nnx.backends import Backend
from nnx.backends.reference.activations import get_activation
from nnx.backends.reference.losses import get_loss
from nnx.backends.reference.updates import AdamRule, GradientDescentRule, MomentumRule, UpdateRule


class Size(NamedTuple):
    """Units of the layer and of the one before, examples."""

    n: int
    n_prev: int
    m: int


SIZES = [Size(16, 64, 128), Size(512, 512, 2048)]
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
pytestmark = pytest.mark.benchmark(min_rounds=5, max_time=0.3, min_time=0.002)
Measure = Callable[[Backend, Callable[[], object]], None]


def matrix(backend: Backend, rows: int, columns: int) -> Any:
    """(rows, columns), columns contiguous, as activations are stored."""
    rng = np.random.default_rng(0)
    return backend.asarray(rng.standard_normal((columns, rows), dtype=np.float32).T)


def weights(backend: Backend, size: Size) -> Any:
    """W (n, n_prev), C-ordered."""
    rng = np.random.default_rng(1)
    return backend.asarray(rng.standard_normal((size.n, size.n_prev), dtype=np.float32))


@sizes
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "softmax"])
def test_dense_forward(measure: Measure, backend: Backend, size: Size, activation: str) -> None:
    W, A_prev = weights(backend, size), matrix(backend, size.n_prev, size.m)
    b, A = matrix(backend, size.n, 1), backend.empty((size.n, size.m))
    g = get_activation(activation)
    Z = backend.empty(A.shape) if g.derivative_from == "Z" else None
    measure(backend, lambda: backend.dense_forward(W, b, A_prev, g, A=A, Z=Z))


@sizes
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_dense_backward(measure: Measure, backend: Backend, size: Size, activation: str) -> None:
    W, dZ = weights(backend, size), matrix(backend, size.n, size.m)
    cache = matrix(backend, size.n_prev, size.m)
    out, g = backend.empty(cache.shape), get_activation(activation)
    measure(backend, lambda: backend.dense_backward(W, dZ, g, cache, out=out))


@sizes
def test_weight_gradient(measure: Measure, backend: Backend, size: Size) -> None:
    dZ, A_prev = matrix(backend, size.n, size.m), matrix(backend, size.n_prev, size.m)
    dW, db = weights(backend, size), matrix(backend, size.n, 1)
    measure(backend, lambda: backend.weight_gradient(dZ, A_prev, dW=dW, db=db))


@sizes
@pytest.mark.parametrize(
    ("loss", "activation"),
    [
        ("categorical_cross_entropy", "softmax"),
        ("binary_cross_entropy", "sigmoid"),
        ("mean_squared_error", "identity"),
    ],
)
def test_loss_with_gradient(
    measure: Measure, backend: Backend, size: Size, loss: str, activation: str
) -> None:
    Z, g = matrix(backend, size.n, size.m), get_activation(activation)
    A = backend.asarray(g.forward(backend.xp, Z))
    labels = backend.asarray(np.arange(size.m) % size.n)
    Y = labels if loss == "categorical_cross_entropy" else backend.zeros(A.shape)
    dZ, function = backend.empty(A.shape), get_loss(loss)
    measure(backend, lambda: backend.loss_with_gradient(function, g, Z, A, Y, dZ=dZ))


@sizes
@pytest.mark.parametrize(
    "rule", [GradientDescentRule(), MomentumRule(), AdamRule()], ids=lambda rule: rule.name
)
def test_update(measure: Measure, backend: Backend, size: Size, rule: UpdateRule) -> None:
    count = size.n * (size.n_prev + 1)
    theta, gradient = backend.zeros((count,)), backend.zeros((count,))
    theta += 1
    gradient += 1
    slots = {name: backend.zeros((count,)) for name in rule.slots}
    # A rate of almost nothing: theta stays where it is however often the update runs.
    measure(backend, lambda: backend.update(rule, theta, gradient, slots, 1e-9, 1))


@sizes
def test_gather(measure: Measure, backend: Backend, size: Size) -> None:
    X, k = matrix(backend, size.n, size.m), size.m // 2
    index = backend.asarray(np.random.default_rng(2).permutation(size.m)[:k])
    out = backend.empty((size.n, k))
    measure(backend, lambda: backend.gather(X, index, out=out))


@sizes
def test_dropout(measure: Measure, backend: Backend, size: Size) -> None:
    A, out = matrix(backend, size.n, size.m), backend.empty((size.n, size.m))
    measure(backend, lambda: backend.dropout(A, 12345, 0.8, out=out))


@sizes
@pytest.mark.parametrize("direction", ["to_device", "to_host"])
def test_transfer(measure: Measure, backend: Backend, size: Size, direction: str) -> None:
    X = matrix(backend, size.n, size.m)
    host = np.array(backend.to_numpy(X), order="F")
    calls: dict[str, Callable[[], object]] = {
        "to_device": lambda: backend.asarray(host, copy=True),
        "to_host": lambda: backend.to_numpy(X),
    }
    measure(backend, calls[direction])
