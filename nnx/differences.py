"""Backpropagation against central differences, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx.backends.floating import as_by_default
from nnx.inputs import check_X
from nnx.model import Model


@as_by_default
def gradient_check(net: Model, X: Any, Y: Any, *, epsilon: float = 1e-5) -> float:
    """Return the relative error between `backward` and central differences of the cost.

    ||g - h|| / (||g|| + ||h||) with h_k = (J(theta_k + epsilon) - J(theta_k - epsilon)) / (2
    epsilon), over all parameters, as in the lecture course. Dropout and penalties take part.
    Below 1e-7 the gradient is right; above 1e-5 look for a mistake. It costs two forward
    passes per parameter, so use a small network and few examples. `net` itself is left as it is.

    Parameters
    ----------
    net : Network
    X : array_like (n_x, m)
    Y : array_like
        As for `Network.fit`.
    epsilon : float

    Examples
    --------
    >>> import numpy as np, nnx
    >>> net = nnx.MLP([3, 4, 2], hidden="tanh", device="cpu")
    >>> gradient_check(net, np.eye(3), [0, 1, 1]) < 1e-7
    True
    """
    net = net.copy(dtype="float64")
    X = check_X(X, net.n_x, net.backend, "float64")
    Y = net.check_Y(Y, X.shape[1])

    def cost() -> float:
        A_L, caches = net.forward(X, train=True, check=False)
        return net.cost(A_L, Y, caches=caches)

    _, caches = net.forward(X, train=True, check=False)
    gradients = net.backward(Y, caches)
    g, h = [], []
    for name, view in net.parameters.items():
        theta = np.array(net.backend.to_numpy(view))
        g.append(np.ravel(net.backend.to_numpy(gradients[f"d{name}"])))
        for k in np.ndindex(*theta.shape):
            start = theta[k]
            pair = []
            for value in (start + epsilon, start - epsilon):
                theta[k] = value
                view[...] = net.backend.asarray(theta)
                pair.append(cost())
            theta[k] = start
            view[...] = net.backend.asarray(theta)
            h.append(np.array([(pair[0] - pair[1]) / (2 * epsilon)]))
    G, H = np.concatenate(g), np.concatenate(h)
    scale = float(np.linalg.norm(G) + np.linalg.norm(H))
    return float(np.linalg.norm(G - H)) / scale if scale else 0.0
