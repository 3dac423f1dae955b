"""The loop over m examples against matrix products (lecture: "Vectorizing across examples").

One forward and backward pass through a network with one hidden layer, three times: the lecture's
``for i = 1 to m``, its vectorized lines, and nnx's building blocks. The numbers are the same; the
loop pays Python's price m times.
"""

from typing import Any

import numpy as np

import nnx
from nnx.backends import get_backend
from nnx.examples import Numbers, picture_of, script


def loop(X: Any, Y: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> list[Any]:
    """Go through the examples one by one and add up dW1, db1, dW2, db2."""
    m = X.shape[1]
    dW1, db1, dW2, db2 = gradients = [np.zeros_like(p) for p in (W1, b1, W2, b2)]
    for i in range(m):
        x, y = X[:, i : i + 1], Y[:, i : i + 1]
        a1 = np.tanh(W1 @ x + b1)
        a2 = 1 / (1 + np.exp(-(W2 @ a1 + b2)))
        dz2 = a2 - y
        dz1 = W2.T @ dz2 * (1 - a1**2)
        dW2 += dz2 @ a1.T
        db2 += dz2
        dW1 += dz1 @ x.T
        db1 += dz1
    return [gradient / m for gradient in gradients]


def vectorized(X: Any, Y: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> list[Any]:
    """Take all examples at once, as the columns of X."""
    m = X.shape[1]
    A1 = np.tanh(W1 @ X + b1)
    A2 = 1 / (1 + np.exp(-(W2 @ A1 + b2)))
    dZ2 = A2 - Y
    dZ1 = W2.T @ dZ2 * (1 - A1**2)
    dW2, db2 = dZ2 @ A1.T / m, np.sum(dZ2, axis=1, keepdims=True) / m
    dW1, db1 = dZ1 @ X.T / m, np.sum(dZ1, axis=1, keepdims=True) / m
    return [dW1, db1, dW2, db2]


def blocks(X: Any, Y: Any, W1: Any, b1: Any, W2: Any, b2: Any) -> list[Any]:
    """Use nnx's functions for one layer; the arrays may be on a GPU."""
    A1, cache1 = nnx.dense_forward(W1, b1, X, "tanh")
    A2, cache2 = nnx.dense_forward(W2, b2, A1, "sigmoid")
    dA1, dW2, db2 = nnx.dense_backward((1 - Y) / (1 - A2) - Y / A2, cache2)
    _, dW1, db1 = nnx.dense_backward(dA1, cache1)
    return [dW1, db1, dW2, db2]


def main(device: str = "auto", seed: int = 0, m: int = 20_000, n_h: int = 5) -> Numbers:
    """Compare the results and the seconds of the three versions on random numbers."""
    rng = np.random.default_rng(seed)
    X, *parameters = map(rng.standard_normal, [(10, m), (n_h, 10), (n_h, 1), (1, n_h), (1, 1)])
    Y = rng.integers(2, size=(1, m)).astype(np.float64)
    print(f"Gradients of a network with n_x = 10, n[1] = {n_h}, n_y = 1 over m = {m} examples")
    wanted: list[Any] = []
    numbers: dict[str, float] = {}
    seconds: dict[str, dict[int, float]] = {}
    for version, where in ((loop, "cpu"), (vectorized, "cpu"), (blocks, device)):
        name, backend = version.__name__, get_backend(where)
        of_m = seconds[f"{name} on {backend.device}"] = {}
        for count in sorted({max(m // 10**power, 1) for power in range(4)}):
            arrays = [backend.asarray(a) for a in (X[:, :count], Y[:, :count], *parameters)]
            version(*arrays)  # warm up
            with backend.timer() as timer:
                gradients = version(*arrays)
            of_m[count] = timer.seconds
        found = [backend.to_numpy(gradient) for gradient in gradients]
        wanted = wanted or found
        difference = max(np.abs(a - b).max() for a, b in zip(found, wanted, strict=True))
        numbers |= {f"{name}_seconds": timer.seconds, f"{name}_difference": float(difference)}
        print(
            f"  {name:10} on {backend.device:6} {timer.seconds * 1e3:9.2f} ms, speed-up "
            f"{numbers['loop_seconds'] / timer.seconds:4.0f}, differs by {difference:.0e}"
        )
    return Numbers(numbers, "loop", seconds)


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a matplotlib Figure: the time of each version."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
