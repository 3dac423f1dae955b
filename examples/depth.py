"""Parity of n bits, deep against shallow (lecture: "Why deep representations?", circuit theory).

First, weights written down by hand. A tree of XORs needs 2 (n - 1) units in log2(n) hidden layers;
one hidden layer that works as ANDs, a unit for each odd bit pattern, needs 2^(n-1). But one hidden
layer of n ReLU units can count the ones, so for ReLU parity does not separate deep from shallow
(other functions do: Telgarsky 2016, arXiv:1602.04485).

Then, what training finds from random weights, deep and shallow with as many parameters.
"""

from itertools import pairwise
from typing import Any

import numpy as np

import nnx
from nnx import datasets
from nnx.examples import Numbers, picture_of, script


def written(sizes: list[int], Ws: list[np.ndarray], b1: np.ndarray | int = 0) -> nnx.Network:
    """Put these weights into a ReLU network whose last unit says 1 above 1/2."""
    net = nnx.MLP(sizes, "relu", "sigmoid", device="cpu")
    for layer, W in enumerate(Ws, start=1):
        net.parameters[f"W{layer}"][...] = W if layer < net.L else 20 * W
        net.parameters[f"b{layer}"][...] = b1 if layer == 1 else -10 if layer == net.L else 0
    return net


def xor_tree(n: int) -> nnx.Network:
    """Join pairs: XOR(a, b) = |a - b| = relu(a - b) + relu(b - a); n is a power of two."""
    pair = np.array([[1, -1], [-1, 1]])
    widths = [n >> i for i in range(n.bit_length() - 1)]  # n, n/2, ..., 2
    joins = [pair if width == n else np.kron(pair, [1, 1]) for width in widths]
    Ws = [np.kron(np.eye(width // 2), join) for width, join in zip(widths, joins, strict=True)]
    return written([n, *widths, 1], [*Ws, np.ones((1, 2))])


def one_unit_per_pattern(n: int) -> nnx.Network:
    """Give every odd bit pattern a unit that is 1 on it and 0 on all others."""
    data = datasets.parity(n)
    X = data.X[:, data.Y == 1]
    return written([n, X.shape[1], 1], [2 * X.T - 1, np.ones_like(X[:1])], 1 - X.sum(0)[:, None])


def counting(n: int) -> nnx.Network:
    """Go up and down with the number of ones s: relu(s) - 2 relu(s - 1) + 2 relu(s - 2) - …"""
    signs = np.array([[1, *(2 * (-1) ** k for k in range(1, n))]])
    return written([n, n, 1], [np.ones((n, n)), signs], -np.arange(n)[:, None])


def same_size(n: int, hidden: int, most: int) -> list[int]:
    """Return the widest hidden layers, all of one width, with at most so many parameters."""
    shapes = ([n, *[width] * hidden, 1] for width in range(1, most))
    return [n for n in shapes if sum((a + 1) * b for a, b in pairwise(n)) <= most][-1]


def main(
    device: str = "auto", seed: int = 0, n_bits: int = 8, runs: int = 3, epochs: int = 600
) -> Numbers:
    """Test the written networks on all 2^n vectors, then train ``runs`` of each depth on them."""
    data = datasets.parity(n_bits)
    if n_bits < 2 or n_bits & (n_bits - 1):
        raise nnx.errors.DataError(f"depth: n_bits must be a power of two above 1, got {n_bits!r}")
    numbers: dict[str, float] = {}
    print(f"Parity of {n_bits} bits. Written by hand:")
    for write in (xor_tree, one_unit_per_pattern, counting):
        name, net = write.__name__, write(n_bits).to(device)
        units, right = sum(net.n[1:-1]), net.score(data.X, data.Y)
        numbers |= {f"{name} units": units, f"{name} accuracy": right}
        print(f"  {name:20} L = {net.L}, {units:4} hidden units, {right:.0%} right")

    (scaled,) = datasets.standardize(data)
    most = 10 * (n_bits + 1) + 231  # of three hidden layers of 10 units
    costs: dict[int, list[list[float]]] = {}
    print(f"Trained on all {data.m} vectors, accuracy on them over {runs} runs:")
    for hidden in range(4):
        sizes, scores = same_size(n_bits, hidden, most), []
        for run in range(seed, seed + runs):
            net = nnx.MLP(sizes, "relu", "sigmoid", device=device, seed=run)
            adam = nnx.Adam(0.005)
            history = net.fit(scaled.X, scaled.Y, epochs=epochs, batch_size=64, optimizer=adam)
            costs.setdefault(hidden, []).append(history["cost"])
            scores.append(net.score(scaled.X, scaled.Y))
        name = f"{hidden} hidden"
        numbers |= {f"{name} parameters": net.n_parameters, f"{name} accuracy": min(scores)}
        print(f"  {sizes!s:20} {net.n_parameters} parameters: {min(scores):.2%} or more")
    return Numbers(numbers, "depth", n_bits, numbers, costs)


def plot(**options: Any) -> Any:
    """Return the picture of ``main(**options)``, a matplotlib Figure: units needed, and costs."""
    return picture_of(main, options)


if __name__ == "__main__":
    script(main, __doc__)
