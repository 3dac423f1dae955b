"""The planar flower of the lecture course, as many points of it as are asked for."""

from __future__ import annotations

import numpy as np

from nnx.benchmarks.scale.tasks.task import ERROR_RATE, Generated, Part, Rows, Targets
from nnx.inputs import check_number

_RADIUS = 4.0  # of the petals; points are divided by half of it


class Flower(Generated):
    """Two classes of points in the plane, petals of each: `nnx.datasets.flower` without end.

    Parameters
    ----------
    noise : float
        Standard deviation of the noise on the angle (in radians) and on the radius (up to 4).
    """

    name = "flower"
    title = "The planar flower"
    n_x, n_y = 2, 2
    metric, chance = ERROR_RATE, 0.5

    def __init__(self, noise: float = 0.2) -> None:
        super().__init__()
        check_number("flower: noise", noise, 0)
        self.options = {"noise": noise}
        self.note = (
            f"points of the lecture's flower, two classes, noise {noise:g} on angle and radius: "
            "the petals overlap, so that no answer is free of errors"
        )

    def fill(self, part: Part, rng: np.random.Generator, X: Rows, Y: Targets) -> None:
        """Draw points along the petals."""
        noise = self.options["noise"]
        m = len(Y)
        Y[:] = rng.integers(2, size=m)
        t = (Y + rng.random(m)) * 3.12 + rng.standard_normal(m) * noise
        r = _RADIUS * np.sin(4 * t) + rng.standard_normal(m) * noise
        X[:, 0], X[:, 1] = r * np.sin(t), r * np.cos(t)
        X /= _RADIUS / 2
