"""A fully connected layer: the three matrix products of the lecture, each with its tail."""

from __future__ import annotations

from typing import Any

from nnx.backends.reference.activations import Activation

Array = Any
Namespace = Any


def dense_forward(
    xp: Namespace, W: Array, b: Array, A_prev: Array, activation: Activation
) -> tuple[Array, Array]:
    """Z[l] = W[l] A[l-1] + b[l],  A[l] = g[l](Z[l]).

    W (n, n_prev), b (n, 1), A_prev (n_prev, m) -> A (n, m), Z (n, m).
    """
    Z = W @ A_prev + b
    return activation.forward(xp, Z), Z


def dense_backward(
    xp: Namespace, W: Array, dZ: Array, activation_prev: Activation, cache_prev: Array
) -> Array:
    """dZ[l-1] = W[l]^T dZ[l] * g[l-1]'(Z[l-1]).

    W (n, n_prev), dZ (n, m), cache_prev (n_prev, m): A[l-1] or Z[l-1], whichever the derivative
    of g[l-1] reads -> dZ_prev (n_prev, m).
    """
    return activation_prev.backward(xp, W.T @ dZ, cache_prev)


def weight_gradient(xp: Namespace, dZ: Array, A_prev: Array) -> tuple[Array, Array]:
    """dW[l] = 1/m dZ[l] A[l-1]^T,  db[l] = 1/m sum over the examples of dZ[l].

    dZ (n, m), A_prev (n_prev, m) -> dW (n, n_prev), db (n, 1). The 1/m stands here alone.
    """
    m = dZ.shape[1]
    return (dZ @ A_prev.T) / m, xp.sum(dZ, axis=1, keepdims=True) / m


def gather(xp: Namespace, X: Array, index: Array) -> Array:
    """X[:, index]: the examples of a minibatch. X (n, m) or (m,), index (k,) -> (n, k) or (k,)."""
    return xp.take(X, index, axis=X.ndim - 1)
