"""scikit-learn's 1,797 handwritten digits, made endless by small distortions.

In the manner of infinite MNIST (Loosli, Canu and Bottou 2007) and of Simard, Steinkraus and Platt
(2003): each example is one of the images, shifted, rotated, scaled and elastically distorted at
random. The images are divided into a training, a validation and a test part before anything is
distorted, so no form of an image is ever in two parts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnx import datasets
from nnx.benchmarks.scale.tasks.task import ERROR_RATE, PARTS, Generated, Part, Rows, Targets

SIDE = 8  # pixels
_SHARES = (0.6, 0.2, 0.2)  # of the images, for training, validation and test
_PAD = 2  # white pixels around an image: what is moved in from outside
# Pixels from 0 to 1 have about this mean and deviation; what goes in has about 0 and 1.
_MEAN, _DEVIATION = 0.3, 0.35


class Digits(Generated):
    """Distorted digits of 8 x 8 pixels.

    Parameters
    ----------
    shift : float
        At most so many pixels in each direction.
    rotation : float
        At most so many degrees.
    scale : float
        Larger or smaller by at most this share.
    elastic : float
        Standard deviation in pixels of each point of a 4 x 4 grid of displacements, between which
        they are interpolated smoothly.
    """

    name = "digits"
    title = "Handwritten digits, distorted at random"
    n_x, n_y = SIDE * SIDE, 10
    metric = ERROR_RATE

    def __init__(
        self,
        shift: float = 1.0,
        rotation: float = 15.0,
        scale: float = 0.1,
        elastic: float = 0.3,
    ) -> None:
        super().__init__()
        self.options = {
            "shift": shift,
            "rotation": rotation,
            "scale": scale,
            "elastic": elastic,
        }
        self._images = _divided()
        counts = [len(labels) for _, labels in self._images.values()]
        self.note = (
            f"scikit-learn's 1,797 digits of 8 x 8 pixels, divided into {counts[0]:,} for "
            f"training, {counts[1]} for validation and {counts[2]} for the test; each example is "
            f"one of its part's, shifted by up to {shift:g} pixels, rotated by up to "
            f"{rotation:g} degrees, scaled by up to {scale:.0%} and distorted elastically by "
            f"{elastic:g} pixels (standard deviation)"
        )
        shares = np.bincount(self._images["train"][1], minlength=10) / counts[0]
        self.chance = round(1 - float(shares.max()), 4)
        self._smooth = _smooth_basis()

    def fill(self, part: Part, rng: np.random.Generator, X: Rows, Y: Targets) -> None:
        """Distort one of the part's images for each example."""
        images, labels = self._images[part]
        m, option = len(Y), self.options
        base = rng.integers(len(labels), size=m)
        angle = np.radians(option["rotation"]) * rng.uniform(-1, 1, m)
        size = 1 + option["scale"] * rng.uniform(-1, 1, (2, m))
        shift = option["shift"] * rng.uniform(-1, 1, (2, m))
        field = option["elastic"] * rng.standard_normal((2 * m, self._smooth.shape[0]))
        elastic = (field @ self._smooth).reshape(2, m, SIDE * SIDE)
        # Where each pixel's grey comes from, counted from the centre of the image.
        row, column = (np.indices((SIDE, SIDE)).reshape(2, 1, -1) - (SIDE - 1) / 2)[:, 0]
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        y = (cos * row - sin * column) / size[0][:, None] + shift[0][:, None] + elastic[0]
        x = (sin * row + cos * column) / size[1][:, None] + shift[1][:, None] + elastic[1]
        X[:] = (_sample(images, base, y, x) - _MEAN) / _DEVIATION
        Y[:] = labels[base]


def _divided() -> dict[Part, tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """The images of each part, with white around them, and their labels."""
    data = datasets.digits()
    order = np.random.default_rng(0).permutation(data.m)
    edges = np.cumsum(np.round(np.array(_SHARES) * data.m)).astype(int)[:-1]
    side = SIDE + 2 * _PAD
    divided: dict[Part, Any] = {}
    for part, chosen in zip(PARTS, np.split(order, edges), strict=True):
        images = np.zeros((len(chosen), side, side), np.float32)
        inner = slice(_PAD, _PAD + SIDE)
        images[:, inner, inner] = data.X.T[chosen].reshape(-1, SIDE, SIDE)
        divided[part] = images, data.Y[chosen]
    return divided


def _smooth_basis(points: int = 4) -> NDArray[np.float64]:
    """(points^2, SIDE^2): smooth bumps over a coarse grid, each of height 1 where it stands."""
    grid, pixels = np.linspace(0, SIDE - 1, points), np.arange(SIDE)
    width = (SIDE - 1) / (points - 1)
    line = np.exp(-0.5 * ((grid[:, None] - pixels) / (0.6 * width)) ** 2)
    basis = np.einsum("ac,bd->abcd", line, line).reshape(points**2, SIDE**2)
    # A displacement of deviation 1 at each pixel.
    return np.asarray(basis / np.sqrt((basis**2).sum(axis=0)))


def _sample(
    images: NDArray[np.float32],
    base: NDArray[np.int64],
    y: NDArray[np.float64],
    x: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The greys at (y, x), counted from the centres, between four pixels each (bilinear)."""
    side = images.shape[1]
    middle, last = (side - 1) / 2, side - 1.001
    y, x = np.clip(y + middle, 0, last), np.clip(x + middle, 0, last)
    row, column = y.astype(np.int64), x.astype(np.int64)
    down, right = y - row, x - column
    flat, at = images.reshape(-1), (base[:, None] * side + row) * side + column
    upper = flat[at] * (1 - right) + flat[at + 1] * right
    lower = flat[at + side] * (1 - right) + flat[at + side + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)
