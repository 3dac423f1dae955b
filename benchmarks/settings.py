"""The settings of a throughput sweep: the grid, its checks, and the default grids."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar, cast, get_args

from nnx.backends import available_devices, get_backend
from nnx.benchmarks.cell import Part, Pass
from nnx.errors import DataError, unknown_name

N_X = 784
N_Y = 10
PASSES: tuple[Pass, ...] = get_args(Pass)
DTYPES = ("float32", "float64")
# The grid, closer looks at one axis each, and what `nnx.benchmarks.findings` holds.
PARTS = (
    "grid", "widths", "depth", "dtype", "peaks", "operations", "memory", "vectorized", "energy",
)  # fmt: skip
OPTIMIZERS = ("GradientDescent", "Momentum", "Nesterov", "RMSprop", "Adam", "AdamW")
CLOSER_SHARE = 0.5  # what the closer looks may have of the time for all parts but the grid

_T = TypeVar("_T")


@dataclass(frozen=True)
class Point:
    """One combination of the grid, not yet measured."""

    device: str
    dtype: str
    pass_: Pass
    m: int
    n_h: int
    layers: int
    part: Part = "grid"

    @property
    def sizes(self) -> list[int]:
        """Layer sizes [n_x, n[1], ..., n_y] of the network."""
        return [N_X, *[self.n_h] * self.layers, N_Y]


@dataclass(frozen=True)
class Settings:
    """What a sweep measures; the grid is the product of the first six.

    Attributes
    ----------
    devices : sequence of str
        Device names; empty means every device that is there.
    m : sequence of int
        Numbers of examples.
    hidden : sequence of int
        Numbers of units n_h of each hidden layer.
    layers : sequence of int
        Numbers of hidden layers.
    dtypes : sequence of str
        "float32", "float64".
    passes : sequence of str
        "forward", "backward" (forward + backward), "step" (a whole training step).
    optimizer : str
        Name of the optimizer of the training step.
    samples : int
        Samples wanted of each cell; at least three are taken, even in a slow one.
    sample_seconds : float
        Least length of a sample: faster passes are repeated within it.
    budget_seconds : float
        Time for the whole sweep; cells that it does not reach are recorded as skipped.
    seed : int
        Seed of the synthetic data and of the initial weights.
    warm_seconds : float
        Most time for the untimed calls at the head of a sample, which end once a call takes as
        long as it will go on to take.
    parts : sequence of str
        What is measured, of `PARTS`.
    parts_seconds : float
        Time for all parts but the grid, on each device.
    thorough : bool
        Whether these parts are measured at all their points, or at a few of them.
    """

    devices: Sequence[str] = ()
    m: Sequence[int] = (16, 64, 256, 1024, 4096, 16384)
    hidden: Sequence[int] = (16, 64, 256, 1024)
    layers: Sequence[int] = (1,)
    dtypes: Sequence[str] = ("float32",)
    passes: Sequence[str] = PASSES
    optimizer: str = "GradientDescent"
    samples: int = 8
    sample_seconds: float = 0.006
    budget_seconds: float = 80.0
    seed: int = 0
    warm_seconds: float = 0.02
    parts: Sequence[str] = PARTS
    parts_seconds: float = 40.0
    thorough: bool = True

    @classmethod
    def quick(cls, **changes: Any) -> "Settings":
        """Return a small grid that ends within about ten seconds on two cores."""
        small: dict[str, Any] = {"m": (16, 256), "hidden": (16, 128), "samples": 7}
        short: dict[str, Any] = {"budget_seconds": 20.0, "parts_seconds": 14.0, "thorough": False}
        return cls(**{**small, **short, **changes})

    def __post_init__(self) -> None:
        """Check every value before any work is done, and drop repeated ones."""
        devices = self.devices or available_devices()
        # get_backend refuses an unknown or absent device, and names "cuda" in full.
        self._set("devices", _once(get_backend(device).device for device in devices))
        for name in ("m", "hidden", "layers"):
            self._set(name, _once(_count(name, value) for value in getattr(self, name)))
        names = (("dtypes", "dtype", DTYPES), ("passes", "pass", PASSES), ("parts", "part", PARTS))
        for name, kind, known in names:
            self._set(name, _once(_known(kind, value, known) for value in getattr(self, name)))
        _known("optimizer", self.optimizer, OPTIMIZERS)
        _count("samples", self.samples)
        for name in ("sample_seconds", "budget_seconds", "warm_seconds", "parts_seconds"):
            if not getattr(self, name) > 0:
                raise DataError(f"{name}: wanted a number above 0, got {getattr(self, name)!r}")
        for name in ("m", "hidden", "layers", "dtypes", "passes", "parts"):
            if not getattr(self, name):
                raise DataError(f"{name}: wanted at least one value, got none")

    def points(self) -> list[Point]:
        """List every combination of the grid, by device, dtype, pass, layers, n_h and m."""
        grid = product(self.devices, self.dtypes, self.passes, self.layers, self.hidden, self.m)
        return [
            Point(device, dtype, cast(Pass, name), m, n_h, layers)
            for device, dtype, name, layers, n_h, m in grid
        ]

    def _set(self, name: str, value: tuple[Any, ...]) -> None:
        object.__setattr__(self, name, value)


def _once(values: Iterable[_T]) -> tuple[_T, ...]:
    """Keep the first of equal values, in the order given."""
    return tuple(dict.fromkeys(values))


def _count(name: str, value: object) -> int:
    """Return `value` if it is a whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise DataError(f"{name}: wanted whole numbers from 1 on, got {value!r}")
    return value


def _known(kind: str, value: str, known: Sequence[str]) -> str:
    """Return `value` if it is one of the `known` names."""
    if value not in known:
        raise unknown_name(kind, value, known)
    return value
