"""How W[l] starts. Weights are drawn by NumPy in float64, so that every device starts alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from nnx.backends.errors import unknown_name
from nnx.backends.reference.activations import Activation

Initialiser = Callable[[tuple[int, ...], np.random.Generator], Any]


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """All zero: every unit of a hidden layer then stays equal to the others."""
    return np.zeros(shape)


def normal(scale: float = 0.01) -> Initialiser:
    """W = scale * N(0, 1), the lecture's `randn * 0.01`."""
    return lambda shape, rng: scale * rng.standard_normal(shape)


def glorot(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Uniform on +-sqrt(6 / (n + n_prev)); Glorot & Bengio (2010), eq. 16."""
    limit = math.sqrt(6 / (shape[0] + shape[1]))
    return rng.uniform(-limit, limit, shape)


def he(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """N(0, 2 / n_prev); He et al. (2015), eq. 10."""
    return math.sqrt(2 / shape[1]) * rng.standard_normal(shape)


def lecun(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """N(0, 1 / n_prev); LeCun et al. (1998), "Efficient BackProp", eq. 16."""
    return math.sqrt(1 / shape[1]) * rng.standard_normal(shape)


def orthogonal(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Rows, or columns, of length one at right angles; Saxe et al. (2014)."""
    n, k = max(shape), min(shape)
    Q, R = np.linalg.qr(rng.standard_normal((n, k)))
    Q = Q * np.sign(np.diag(R))
    return Q if shape[0] >= shape[1] else Q.T


INITIALISERS: dict[str, Initialiser] = {
    "zeros": zeros,
    "normal": normal(),
    "glorot": glorot,
    "he": he,
    "lecun": lecun,
    "orthogonal": orthogonal,
}


def get_initialiser(initialiser: str | Initialiser | None, activation: Activation) -> Initialiser:
    """Return the initialiser; None gives He for ReLU and its kin, LeCun for SELU, else Glorot."""
    if initialiser is None:
        kin = {"relu", "leaky_relu", "elu", "gelu", "silu", "softplus"}
        name = activation.builtin
        return he if name in kin else lecun if name == "selu" else glorot
    if callable(initialiser):
        return initialiser
    if initialiser not in INITIALISERS:
        raise unknown_name("initialiser", initialiser, INITIALISERS)
    return INITIALISERS[initialiser]
