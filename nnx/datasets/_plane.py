"""Two classes of points in the plane that no straight line separates: the flower and the moons."""

import numpy as np

from nnx.datasets._dataset import Dataset
from nnx.inputs import check_number


def flower(m: int = 400, *, noise: float = 0.2, seed: int = 0) -> Dataset:
    """Draw the planar flower of the lecture course: petals of two classes, half of each.

    Logistic regression gets about half of the labels right, a network with one hidden layer of
    four tanh units about nine in ten.

    Parameters
    ----------
    m : int
        Number of points.
    noise : float
        Standard deviation of the noise on the angle (in radians) and on the radius (up to 4).
    seed : int

    Returns
    -------
    Dataset
        X (2, m), Y (m,) in {0, 1}.
    """
    rng = _generator("flower", m, noise, seed)
    rows, labels = [], []
    for j, N in enumerate((m - m // 2, m // 2)):
        t = np.linspace(j * 3.12, (j + 1) * 3.12, N) + rng.standard_normal(N) * noise
        r = 4 * np.sin(4 * t) + rng.standard_normal(N) * noise
        rows.append(np.column_stack([r * np.sin(t), r * np.cos(t)]))
        labels.append(np.full(N, j))
    return _shuffled("flower", rows, labels, ("red", "blue"), rng)


def moons(m: int = 400, *, noise: float = 0.1, seed: int = 0) -> Dataset:
    """Draw two interleaved half circles of radius 1, one for each class.

    Parameters
    ----------
    m : int
        Number of points, half of each class.
    noise : float
        Standard deviation of the noise on both coordinates.
    seed : int

    Returns
    -------
    Dataset
        X (2, m), Y (m,) in {0, 1}.
    """
    rng = _generator("moons", m, noise, seed)
    rows, labels = [], []
    for j, N in enumerate((m - m // 2, m // 2)):
        t = np.linspace(0, np.pi, N)
        x_1 = np.cos(t) if j == 0 else 1 - np.cos(t)
        x_2 = np.sin(t) if j == 0 else 0.5 - np.sin(t)
        rows.append(np.column_stack([x_1, x_2]) + rng.standard_normal((N, 2)) * noise)
        labels.append(np.full(N, j))
    return _shuffled("moons", rows, labels, ("upper", "lower"), rng)


def _generator(name: str, m: int, noise: float, seed: int) -> np.random.Generator:
    """Check the arguments and return the source of all that is random."""
    check_number(f"{name}: m", m, 1, whole=True)
    check_number(f"{name}: noise", noise, 0)
    check_number(f"{name}: seed", seed, 0, whole=True)
    return np.random.default_rng(seed)


def _shuffled(
    name: str,
    rows: list[np.ndarray],
    labels: list[np.ndarray],
    target_names: tuple[str, ...],
    rng: np.random.Generator,
) -> Dataset:
    """Join the classes in random order, so that any run of examples holds both."""
    order = rng.permutation(sum(map(len, labels)))
    X = np.concatenate(rows)[order].astype(np.float32).T
    Y = np.concatenate(labels)[order].astype(np.int64)
    return Dataset(X, Y, name, ("x_1", "x_2"), target_names)
