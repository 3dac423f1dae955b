"""The settings of the teacher law: the authors' widths and masks, and how long to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from nnx.backends import get_backend
from nnx.errors import DataError, unknown_name
from nnx.inputs import check_number

N_X = 20
COUNTED = "all weights and biases of [20, n, n, 1]: N = n^2 + 23 n + 1"
_DTYPES = ("float32", "float64")


class Stage(NamedTuple):
    """Steps of Adam at one batch size and learning rate."""

    steps: int
    batch: int
    rate: float


def _schedule(share: float) -> tuple[Stage, ...]:
    """A share of the authors' steps: 200 000, 20 000 and 20 000."""
    steps = (round(200_000 * share), round(20_000 * share), round(20_000 * share))
    return tuple(map(Stage, steps, (200, 1000, 4000), (0.01, 0.01, 0.001)))


@dataclass(frozen=True)
class Settings:
    """What is measured: the product of d, teachers, widths and students.

    Attributes
    ----------
    d : sequence of int
        Live inputs, of 20.
    widths : sequence of int
        Which of the authors' seven widths int(n0 1.3^i), i = 0 ... 6; n0 is 8 for d < 7, 15 up to
        d = 10, and 22 beyond.
    teachers, students : int
        Random teachers for each d, random students for each width.
    stages : sequence of Stage
        By default a seventh of the authors' schedule (30 000 + 3 000 + 3 000 steps, 21 million
        examples).
    pool : int
        Different examples; training goes over them in a new order again and again. The authors'
        students see each example once.
    m_test : int
        Fresh examples of which the loss is reported.
    device, dtype : str
        The authors compute in float64.
    """

    d: Sequence[int] = (3, 4, 6, 8)
    widths: Sequence[int] = tuple(range(7))
    teachers: int = 2
    students: int = 3
    stages: Sequence[Stage] = (
        Stage(30_000, 200, 0.01),
        Stage(3_000, 1000, 0.01),
        Stage(3_000, 4000, 0.001),
    )
    pool: int = 1 << 19
    m_test: int = 1 << 15
    device: str = "cpu"
    dtype: str = "float32"

    @classmethod
    def quick(cls, **changes: Any) -> Settings:
        """Return one of about a minute on two cores: two d, four widths, a 20th of the steps."""
        small: dict[str, Any] = {"d": (3, 8), "widths": (0, 2, 4, 6), "teachers": 1, "students": 2}
        small |= {"stages": _schedule(1 / 20), "pool": 1 << 17, "m_test": 1 << 13}
        return cls(**{**small, **changes})

    @classmethod
    def full(cls, **changes: Any) -> Settings:
        """Return the authors' schedule, students and dtype: hours on a GPU, days on a CPU."""
        large = {"students": 10, "stages": _schedule(1), "pool": 1 << 23, "dtype": "float64"}
        return cls(**{**large, **changes})

    def __post_init__(self) -> None:
        """Check every value before any work is done."""
        for name in ("teachers", "students", "pool", "m_test"):
            check_number(name, getattr(self, name), 1, whole=True)
        for name, least, most in (("d", 1, N_X), ("widths", 0, 6)):
            values = tuple(dict.fromkeys(getattr(self, name)))
            for value in values:
                check_number(name, value, least, whole=True)
                if value > most:
                    raise DataError(f"{name}: wanted whole numbers up to {most}, got {value}")
            object.__setattr__(self, name, values)
        if not self.d:
            raise DataError("d: wanted at least one number of live inputs, got none")
        if len(self.widths) < 3:
            raise DataError(f"widths: wanted at least 3 for a slope, got {len(self.widths)}")
        stages = tuple(Stage(*stage) for stage in self.stages)
        for stage in stages:
            check_number("stages: steps", stage.steps, 1, whole=True)
            check_number("stages: batch", stage.batch, 1, whole=True)
            check_number("stages: rate", stage.rate, 0, strict=True)
            if stage.batch > self.pool:
                raise DataError(f"stages: a batch of {stage.batch} is more than pool = {self.pool}")
        if not stages:
            raise DataError("stages: wanted at least one, got none")
        object.__setattr__(self, "stages", stages)
        if self.dtype not in _DTYPES:
            raise unknown_name("dtype", self.dtype, _DTYPES)
        object.__setattr__(self, "device", get_backend(self.device).device)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, with what the law's numbers rest on."""
        return {
            **asdict(self),
            "d": list(self.d),
            "widths": list(self.widths),
            "stages": [list(stage) for stage in self.stages],
            "units": {str(d): [units(d, i) for i in self.widths] for d in self.d},
            "examples": sum(stage.steps * stage.batch for stage in self.stages),
            "counted": COUNTED,
            "note": (
                "mean squared error of ReLU students [20, n, n, 1] of a ReLU teacher "
                "[20, 600, 600, 1] that sees d inputs; the authors train on 140 million "
                "examples, each seen once, in float64"
            ),
        }


def units(d: int, i: int) -> int:
    """Return the i-th width for d live inputs."""
    return int((8 if d < 7 else 15 if d <= 10 else 22) * 1.3**i)


def parameters_of(n: int) -> int:
    """Return N of a student [20, n, n, 1]."""
    return n * n + (N_X + 3) * n + 1
