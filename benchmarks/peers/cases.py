"""What the peers are compared on: training steps over a grid of shapes, and whole fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

Array = Any
N_X, N_Y = 784, 10
STEP_M = (1, 64, 200, 1024, 8192)
STEP_HIDDEN = (4, 64, 100, 512, 2048)
GPU_STEP_M = (64, 256, 4096, 65536)
GPU_STEP_HIDDEN = (64, 512, 2048, 8192)
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Case:
    """One task, the same for every contender.

    Attributes
    ----------
    kind : {"step", "fit"}
        One step of gradient descent on a batch that stays, or `epochs` epochs of Adam over
        shuffled minibatches.
    n : tuple of int
        (n_x, n[1], ..., n_y); ReLU, softmax, cross-entropy.
    m : int
        Examples in a batch.
    rows : int
        Examples of the data; m for a step.
    epochs : int
    learning_rate : float
    device : str
        "cpu" or "cuda"; data and parameters lie there from the beginning.
    precision : str
        Of the matrix products; parameters and their updates are float32.
    """

    kind: Literal["step", "fit"]
    n: tuple[int, ...]
    m: int
    rows: int
    epochs: int = 1
    learning_rate: float = 1e-3
    device: str = "cpu"
    precision: str = "float32"

    @property
    def name(self) -> str:
        """A short name for tables."""
        shape = "-".join(map(str, self.n))
        where = "" if self.device == "cpu" else f", {self.precision} on {self.device}"
        if self.kind == "step":
            return f"step {shape}, m = {self.m}{where}"
        return f"fit {shape}, {self.rows} examples, {self.epochs} epochs, m = {self.m}{where}"

    @property
    def flop(self) -> int:
        """Floating-point operations of the matrix products in one step."""
        products = [2 * n * n_prev * self.m for n_prev, n in pairwise(self.n)]
        return 3 * sum(products) - products[0]

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Case:
        """The case with these fields."""
        return cls(**{**fields, "n": tuple(fields["n"])})

    def data(self) -> tuple[Array, Array]:
        """X (rows, n_x) float32 and labels (rows,) int64, one example in a row."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.rows, self.n[0]), dtype=np.float32)
        # Labels that a network can learn, so that a whole fit has something to do.
        teacher = rng.standard_normal((self.n[0], self.n[-1]), dtype=np.float32)
        return X, np.argmax(X @ teacher, axis=1)

    def weights(self) -> list[tuple[Array, Array]]:
        """The weights W[l] (n[l], n[l-1]) and biases b[l] (n[l],) that everyone starts from."""
        rng = np.random.default_rng(1)
        return [
            (
                rng.standard_normal((n, n_prev), dtype=np.float32) * np.float32(n_prev**-0.5),
                rng.standard_normal(n, dtype=np.float32) * np.float32(0.01),
            )
            for n_prev, n in pairwise(self.n)
        ]


def steps(
    m: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
    layers: int = 1,
    device: str = "cpu",
    precision: str = "float32",
) -> list[Case]:
    """The grid of steps; by default that of the device."""
    on_gpu = device != "cpu"
    m = m or (GPU_STEP_M if on_gpu else STEP_M)
    hidden = hidden or (GPU_STEP_HIDDEN if on_gpu else STEP_HIDDEN)
    return [
        Case("step", (N_X, *[n_h] * layers, N_Y), batch, batch, device=device, precision=precision)
        for n_h in hidden
        for batch in m
    ]


def fits(device: str = "cpu", precision: str = "float32") -> list[Case]:
    """Three whole fits: small, wide data, a wide network."""
    shapes = (
        ((64, 100, 10), 1347, 50),
        ((100, 100, 10), 100_000, 3),
        ((100, 512, 512, 10), 100_000, 2),
    )
    return [
        Case("fit", n, 200, rows, epochs, device=device, precision=precision)
        for n, rows, epochs in shapes
    ]
