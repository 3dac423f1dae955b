"""The outputs of a network for many examples, in blocks that bound the memory; cost and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from nnx.backends import Backend
from nnx.backends.reference.activations import Activation
from nnx.inference import compiled_outputs
from nnx.inputs import labels_of
from nnx.model import Model

Array = Any
_CACHED, _LEAST = 1 << 18, 256  # numbers of a hidden layer in a block, and its fewest examples
_BLOCK = 1 << 22  # elements of the widest layer's activations in one block


def blocks(model: Model, m: int) -> Iterator[slice]:
    """Split m examples so that the widest activations of a block stay within a few MiB."""
    width = max(1, _BLOCK // max(model.n))
    for start in range(0, m, width):
        yield slice(start, min(start + width, m))


def outputs(model: Model, X: Array) -> Array:
    """A[L] (n_y, m) for X (n_x, m) of the model's device and dtype."""
    A_L = model.backend.empty((model.n_y, X.shape[1]), model.dtype)
    for block in blocks(model, X.shape[1]):
        A_L[:, block] = model.forward(X[:, block], check=False)[0]
    return A_L


def dense_outputs(
    backend: Backend, layers: Sequence[tuple[Array, Array, Activation]], X: Any, dtype: str
) -> Array:
    """A[L] (n_y, m) of dense layers (W[l], b[l], g[l]) for rows X (m, n_x) on the host.

    Blocks of examples go to the device one by one. The same buffers serve all of them, so that
    hidden activations stay in a cache and no memory grows with m.
    """
    m, n_y = X.shape[0], layers[-1][0].shape[0]
    A_L = backend.empty((n_y, m), dtype)
    program = compiled_outputs(backend, layers, X.T, A_L)
    if program is not None:
        program(X.T, A_L)
        return A_L
    hidden = [W.shape[0] for W, _, _ in layers[:-1]]
    width = min(m, max(_LEAST, _CACHED // max([*hidden, n_y])))
    buffers = [backend.empty((n, width), dtype) for n in hidden]
    for start in range(0, m, width):
        rows = slice(start, min(start + width, m))
        A = backend.asarray(X[rows], dtype).T
        for (W, b, g), buffer in zip(layers, [*buffers, None], strict=True):
            target = A_L[:, rows] if buffer is None else buffer[:, : rows.stop - rows.start]
            A, _ = backend.dense_forward(W, b, A, g, A=target)
    return A_L


def evaluate(model: Model, X: Array, Y: Array) -> tuple[float, float]:
    """The cost without penalties, and the score, for X and Y that were checked."""
    xp, m = model.backend.xp, X.shape[1]
    A_L, total = model.backend.empty((model.n_y, m), model.dtype), 0.0
    for block in blocks(model, m):
        A, caches = model.forward(X[:, block], check=False)
        total = total + xp.sum(model.losses(A, Y[..., block], caches))
        A_L[:, block] = A
    return float(total) / m, score(model, A_L, Y)


def score(model: Model, A_L: Array, Y: Array) -> float:
    """Accuracy; for values R^2 = 1 - sum (y - a)^2 / sum (y - mean y)^2, averaged over outputs.

    A constant output that is met exactly counts 1, one that is not 0, as in scikit-learn.
    """
    xp, loss, backend = model.backend.xp, model.loss, model.backend
    labels = labels_of(Y, loss, backend)
    if labels is not None:
        hits = xp.astype(labels_of(A_L, loss, backend) == labels, xp.float64)
        return float(xp.mean(hits))
    Y, A_L = backend.asarray(Y, "float64"), backend.asarray(A_L, "float64")
    residual = xp.sum((Y - A_L) ** 2, axis=1)
    spread = xp.sum((Y - xp.mean(Y, axis=1, keepdims=True)) ** 2, axis=1)
    one = xp.ones_like(spread)
    r2 = 1 - residual / xp.where(spread > 0, spread, one)
    constant = xp.where(residual > 0, xp.zeros_like(one), one)
    return float(xp.mean(xp.where(spread > 0, r2, constant)))
