"""What a scaling study measures, and every rule in numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from nnx.backends import get_backend
from nnx.benchmarks.scale.tasks import ERROR_RATE, NAMES, Task, get_task
from nnx.errors import DataError, unknown_name
from nnx.inputs import check_number

SIZES: Mapping[str, tuple[int, ...]] = {"small": (16,), "medium": (64,), "large": (256, 256)}
LOGISTIC, LINEAR, SVM = "logistic regression", "linear regression", "support vector machine"
DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Settings:
    """The grid and the rules.

    Attributes
    ----------
    task, task_options : str, mapping
        See `get_task`.
    m : tuple of int
        Numbers of training examples; a larger m begins with the examples of a smaller one.
    sizes : mapping of str to tuple of int
        The networks: a name, and the units of the hidden ReLU layers.
    seeds : tuple of int
        Each has its own training examples, initial weights and order of the examples. Validation
        and test part are the same for all.
    device, dtype : str
    m_validation, m_test : int
    batch : int
        Examples in a batch; half of m where that is fewer.
    passes, least_steps, most_steps : int
        A network takes so many steps as `passes` over its examples have, within these limits;
        Adam's learning rate falls to 0 over them along half a cosine.
    checks, patience : int
        The validation error is looked at so often in these steps, evenly. After `patience` looks
        without a better one the training stops; the parameters of the best look are kept.
    rates : tuple of float
        For each size the learning rate with the lowest validation error, with the first seed.
    m_tuning : int
        At the largest m of the grid up to this (or at the smallest).
    most_svm : int
        The support vector machine's time grows with m^2: it gets no more examples than this.
    """

    task: str = "digits"
    task_options: Mapping[str, Any] = field(default_factory=dict)
    m: tuple[int, ...] = tuple(2**k for k in range(4, 18))
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: dict(SIZES))
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    device: str = "cpu"
    dtype: str = "float32"
    m_validation: int = 4096
    m_test: int = 8192
    batch: int = 128
    passes: int = 60
    least_steps: int = 500
    most_steps: int = 20_000
    checks: int = 25
    patience: int = 8
    rates: tuple[float, ...] = (0.001, 0.002, 0.005, 0.01, 0.02)
    m_tuning: int = 2**13
    most_svm: int = 2**14

    @classmethod
    def quick(cls, **changes: Any) -> Self:
        """About a minute on two cores."""
        return cls(**{**_QUICK, **changes})

    @classmethod
    def full(cls, **changes: Any) -> Self:
        """To 2^20 examples: minutes on a GPU, hours on a CPU."""
        return cls(**{**_FULL, **changes})

    def __post_init__(self) -> None:
        if self.task not in NAMES:
            raise unknown_name("task", self.task, NAMES)
        if self.dtype not in DTYPES:
            raise unknown_name("dtype", self.dtype, DTYPES)
        _increasing("m", self.m, 2)
        _increasing("seeds", self.seeds, 0)
        for name in ("m_validation", "m_test", "batch", "passes", "least_steps", "most_steps"):
            check_number(name, getattr(self, name), 1, whole=True)
        for name in ("checks", "patience", "m_tuning", "most_svm"):
            check_number(name, getattr(self, name), 1, whole=True)
        if not self.rates:
            raise DataError("rates: wanted at least one learning rate")
        for rate in self.rates:
            check_number("rates", rate, 0, strict=True)
        if not self.sizes:
            raise DataError("sizes: wanted at least one network")
        for name, hidden in self.sizes.items():
            if name in (LOGISTIC, LINEAR, SVM) or not name.strip():
                raise DataError(f"sizes: {name!r} cannot be the name of a network")
            for units in hidden:
                check_number(f"sizes: {name}", units, 1, whole=True)
        get_backend(self.device)  # an error that says what is missing

    def on(self, task: Task) -> Settings:
        """These settings with the m that the task has examples for.

        Raises
        ------
        DataError
            Where it has fewer than the smallest m.
        """
        if task.most is None or max(self.m) <= task.most:
            return self
        fitting = tuple(m for m in self.m if m <= task.most)
        if not fitting:
            raise DataError(
                f"m: the task has {task.most:,} training examples, fewer than the smallest m = "
                f"{min(self.m):,}"
            )
        return Settings(**{**self.__dict__, "m": fitting})

    def get_task(self, path: str | None = None) -> Task:
        """Return the task that these settings name."""
        return get_task(self.task, self.task_options, path)

    def traditional(self, task: Task) -> tuple[str, ...]:
        """Names of the traditional algorithms that fit the task."""
        return (LOGISTIC if task.metric == ERROR_RATE else LINEAR, SVM)

    def batch_of(self, m: int) -> int:
        """Examples in a batch."""
        return max(1, min(self.batch, m // 2))

    def steps_of(self, m: int) -> int:
        """Steps over which the learning rate falls."""
        steps = math.ceil(self.passes * m / self.batch_of(m))
        return max(self.least_steps, min(self.most_steps, steps))

    @property
    def tuned_at(self) -> int:
        """The m at which learning rates are compared."""
        return max((m for m in self.m if m <= self.m_tuning), default=min(self.m))

    def to_json(self, task: Task) -> dict[str, Any]:
        """Return the settings as plain JSON values."""
        plain = {**self.__dict__, "task_options": dict(task.options)}
        plain["sizes"] = [{"name": n, "hidden": list(h)} for n, h in self.sizes.items()]
        plain["traditional"] = list(self.traditional(task))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in plain.items()
        }


_QUICK: Mapping[str, Any] = {
    "seeds": (0, 1),
    "most_steps": 8_000,
    "rates": (0.002, 0.005, 0.01),
    "m_tuning": 2**12,
    "most_svm": 2**13,
}
_FULL: Mapping[str, Any] = {
    "m": tuple(2**k for k in range(4, 21)),
    "most_steps": 100_000,
    "m_test": 2**15,
    "most_svm": 2**15,
}


def _increasing(name: str, numbers: tuple[int, ...], least: int) -> None:
    if not numbers:
        raise DataError(f"{name}: wanted at least one number")
    for number in numbers:
        check_number(name, number, least, whole=True)
    if list(numbers) != sorted(set(numbers)):
        raise DataError(f"{name}: wanted different numbers in increasing order, got {numbers}")
