"""What a random teacher network says: a function of as many dimensions as inputs are live.

The set-up of Sharma and Kaplan, "A Neural Scaling Law from the Dimension of the Data Manifold"
(arXiv:2004.10802): ReLU layers, W ~ N(0, 1/n[l-1]), b = 0, inputs uniform in [-1/2, 1/2).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from nnx.benchmarks.scale.tasks.task import SQUARED_ERROR, Generated, Part, Rows, Targets
from nnx.errors import DataError
from nnx.inputs import check_number

_HIDDEN = (600, 600)
_SAMPLE = 1 << 14  # inputs from which the mean and the deviation of the outputs are taken


class Teacher(Generated):
    """The values of a random network [n_x, 600, 600, 1], with mean 0 and deviation 1.

    Parameters
    ----------
    live : int
        Inputs that the teacher sees, 1 ... n_x.
    n_x : int
    teacher : int
        Seed of the teacher's weights.
    """

    name = "teacher"
    title = "What a random teacher network says"
    n_y = 1
    metric, chance = SQUARED_ERROR, 1.0

    def __init__(self, live: int = 6, n_x: int = 20, teacher: int = 0) -> None:
        super().__init__()
        for name, number, least in (("live", live, 1), ("n_x", n_x, 1), ("teacher", teacher, 0)):
            check_number(f"teacher: {name}", number, least, whole=True)
        if live > n_x:
            raise DataError(f"teacher: live must be n_x = {n_x} or less, got {live}")
        self.n_x, self._live = n_x, live
        self.options = {"live": live, "n_x": n_x, "teacher": teacher}
        self.note = (
            f"the values of a random ReLU network [{n_x}, {', '.join(map(str, _HIDDEN))}, 1] that "
            f"sees {live} of {n_x} inputs, uniform in [-1/2, 1/2); divided by their deviation, so "
            "that the error is a share of their variance"
        )
        rng = np.random.default_rng([teacher, 1])
        self._Ws = [
            (rng.standard_normal((n, n_prev)) / np.sqrt(n_prev)).astype(np.float32)
            for n_prev, n in pairwise([live, *_HIDDEN, self.n_y])
        ]
        said = self._say(self._inputs(np.random.default_rng([teacher, 2]), _SAMPLE))
        self._mean, self._deviation = said.mean(dtype=np.float64), said.std(dtype=np.float64)

    def fill(self, part: Part, rng: np.random.Generator, X: Rows, Y: Targets) -> None:
        """Draw inputs and ask the teacher."""
        X[:] = self._inputs(rng, len(X))
        Y[:] = (self._say(X) - self._mean) / self._deviation

    def _inputs(self, rng: np.random.Generator, m: int) -> Rows:
        # Uniform in [-1/2, 1/2) has the deviation 1 / sqrt(12); both sides see it so.
        return rng.random((m, self.n_x), dtype=np.float32) - np.float32(0.5)

    def _say(self, X: Rows) -> Rows:
        A = np.ascontiguousarray(X[:, : self._live])
        for W in self._Ws[:-1]:
            A = np.maximum(A @ W.T, 0)
        return np.asarray(A @ self._Ws[-1].T)
