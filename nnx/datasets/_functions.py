"""Functions to be learnt: the parity of bits, and what a random teacher network computes."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nnx.datasets._dataset import Dataset
from nnx.errors import DataError
from nnx.inputs import check_number

# All 2^20 vectors of 20 bits are 80 MB.
_MOST_BITS = 20
# Bounds the teacher's activations in memory: 600 units of these are 75 MB.
_EXAMPLES_AT_ONCE = 32_768


def parity(n_bits: int = 8, m: int | None = None, *, seed: int = 0) -> Dataset:
    """List bit vectors and their parity, x_1 XOR x_2 XOR … XOR x_n.

    Parameters
    ----------
    n_bits : int
        Length of the vectors, 1 … 20.
    m : int, optional
        Draw so many vectors at random (one may come twice); without it, each of the 2^n_bits
        vectors comes once, in counting order.
    seed : int
        Only the random draw depends on it.

    Returns
    -------
    Dataset
        X (n_bits, m) of zeros and ones, Y (m,): 1 where the number of ones is odd.

    Examples
    --------
    >>> data = parity(2)
    >>> data.X
    array([[0., 0., 1., 1.],
           [0., 1., 0., 1.]], dtype=float32)
    >>> data.Y
    array([0, 1, 1, 0])
    """
    check_number("parity: n_bits", n_bits, 1, whole=True)
    if n_bits > _MOST_BITS:
        raise DataError(f"parity: n_bits must be {_MOST_BITS} or less, got {n_bits!r}")
    check_number("parity: seed", seed, 0, whole=True)
    if m is None:
        numbers = np.arange(2 ** int(n_bits))
    else:
        check_number("parity: m", m, 1, whole=True)
        numbers = np.random.default_rng(seed).integers(2 ** int(n_bits), size=m)
    bits = numbers[:, None] >> np.arange(n_bits - 1, -1, -1) & 1
    names = tuple(f"bit_{i}" for i in range(1, n_bits + 1))
    Y = bits.sum(axis=1) % 2
    return Dataset(bits.astype(np.float32).T, Y.astype(np.int64), "parity", names, ("even", "odd"))


def teacher(
    m: int = 10_000,
    n_x: int = 20,
    hidden: Sequence[int] = (600, 600),
    n_y: int = 1,
    *,
    live: int | None = None,
    classes: bool = False,
    seed: int = 0,
) -> Dataset:
    """Draw a random network, the teacher, and what it says about random inputs.

    The set-up of Sharma and Kaplan, "A Neural Scaling Law from the Dimension of the Data Manifold"
    (arXiv:2004.10802): ReLU layers, W ~ N(0, 1/n[l-1]), b = 0, inputs uniform in [-1/2, 1/2). The
    teacher sees the first ``live`` inputs only, its student all n_x of them, so the function to be
    learnt has ``live`` dimensions.

    Parameters
    ----------
    m : int
        Number of examples. With the same other arguments, a larger m begins with the examples of
        a smaller one (Y up to rounding).
    n_x : int
        Number of inputs.
    hidden : sequence of int
        Units of the teacher's hidden layers.
    n_y : int
        Number of values, or of classes.
    live : int, optional
        Number of inputs that matter, 1 … n_x; all of them without it.
    classes : bool
        Y is the index of the teacher's largest output (n_y >= 2), not the outputs. Nothing makes
        the classes equally frequent: for some seeds one of them is rare.
    seed : int

    Returns
    -------
    Dataset
        X (n_x, m); Y (n_y, m) values, or (m,) labels.
    """
    live = n_x if live is None else live
    if not isinstance(hidden, Sequence) or isinstance(hidden, str):
        raise DataError(f"teacher: hidden must be a list or tuple of whole numbers, got {hidden!r}")
    counts = {"m": m, "n_x": n_x, "live": live, **{f"hidden[{i}]": n for i, n in enumerate(hidden)}}
    for name, count in counts.items():
        check_number(f"teacher: {name}", count, 1, whole=True)
    of_classes = " with classes=True" if classes else ""
    check_number(f"teacher: n_y{of_classes}", n_y, 2 if classes else 1, whole=True)
    check_number("teacher: seed", seed, 0, whole=True)
    if live > n_x:
        raise DataError(f"teacher: live must be n_x = {n_x} or less, got {live!r}")

    rng = np.random.default_rng(seed)
    Ws = [_normal_weights(rng, n, n_prev) for n_prev, n in pairwise([n_x, *hidden, n_y])]
    Ws[0] = Ws[0][:, :live]  # the weights of inputs the teacher does not see
    X = (rng.random((m, n_x), dtype=np.float32) - np.float32(0.5)).T
    Y = np.empty((n_y, m), np.float32, order="F")
    for start in range(0, m, _EXAMPLES_AT_ONCE):
        A = X[:live, start : start + _EXAMPLES_AT_ONCE]
        for W in Ws[:-1]:
            A = np.maximum(W @ A, 0)
        Y[:, start : start + _EXAMPLES_AT_ONCE] = Ws[-1] @ A
    inputs = tuple(f"x_{i}" for i in range(1, n_x + 1))
    if classes:
        names = tuple(f"class_{i}" for i in range(n_y))
        return Dataset(X, Y.argmax(axis=0).astype(np.int64), "teacher", inputs, names)
    return Dataset(X, Y, "teacher", inputs, tuple(f"y_{i}" for i in range(1, n_y + 1)))


def _normal_weights(rng: np.random.Generator, n: int, n_prev: int) -> NDArray[np.float32]:
    """Draw W (n, n_prev) from N(0, 1 / n_prev)."""
    return rng.standard_normal((n, n_prev), dtype=np.float32) / np.float32(np.sqrt(n_prev))
