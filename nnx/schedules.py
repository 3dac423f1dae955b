"""Learning rates over time. Time is counted in epochs; fractions are allowed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from nnx.inputs import check_number


class Schedule(ABC):
    """A learning rate alpha(e) at the time e, in epochs since the start."""

    @abstractmethod
    def __call__(self, e: float) -> float:
        """Return alpha(e)."""

    def observe(self, cost: float) -> None:  # noqa: B027 (most schedules do not look at the cost)
        """See the (validation) cost at the end of an epoch."""


@dataclass
class Constant(Schedule):
    """The same learning rate throughout."""

    learning_rate: float

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, strict=True)

    def __call__(self, e: float) -> float:
        """Return alpha."""
        return self.learning_rate


@dataclass
class StepDecay(Schedule):
    """alpha * factor^floor(e / every)."""

    learning_rate: float
    factor: float = 0.5
    every: float = 10.0

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, strict=True)
        check_number("factor", self.factor, 0, strict=True)
        check_number("every", self.every, 0, strict=True)

    def __call__(self, e: float) -> float:
        """Return alpha(e)."""
        return float(self.learning_rate * self.factor ** (e // self.every))


@dataclass
class Cosine(Schedule):
    """From alpha down to `final` along half a cosine; Loshchilov & Hutter (2017), eq. 5."""

    learning_rate: float
    epochs: float
    final: float = 0.0

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, strict=True)
        check_number("epochs", self.epochs, 0, strict=True)
        check_number("final", self.final, 0)

    def __call__(self, e: float) -> float:
        """Return alpha(e)."""
        x = min(e / self.epochs, 1.0)
        return self.final + 0.5 * (self.learning_rate - self.final) * (1 + math.cos(math.pi * x))


@dataclass
class Warmup(Schedule):
    """Grow linearly to the schedule's own rate over the first `epochs`, then follow it."""

    schedule: Schedule
    epochs: float

    def __post_init__(self) -> None:
        check_number("epochs", self.epochs, 0, strict=True)

    def __call__(self, e: float) -> float:
        """Return alpha(e)."""
        return self.schedule(e) * min((e + 1e-3) / self.epochs, 1.0)

    def observe(self, cost: float) -> None:
        """Pass the cost on."""
        self.schedule.observe(cost)


@dataclass
class InverseScaling(Schedule):
    """alpha / (1 + e)^power."""

    learning_rate: float
    power: float = 0.5

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, strict=True)

    def __call__(self, e: float) -> float:
        """Return alpha(e)."""
        return float(self.learning_rate / (1 + e) ** self.power)


@dataclass
class OnPlateau(Schedule):
    """Multiply alpha by `factor` when the cost has not fallen for `patience` epochs."""

    learning_rate: float
    factor: float = 0.2
    patience: int = 2
    min_delta: float = 1e-4
    _best: float = field(default=math.inf, init=False)
    _waited: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_number("learning_rate", self.learning_rate, 0, strict=True)
        check_number("factor", self.factor, 0, strict=True)
        check_number("patience", self.patience, 1, whole=True)
        check_number("min_delta", self.min_delta, 0)

    def __call__(self, e: float) -> float:
        """Return the present alpha."""
        return self.learning_rate

    def observe(self, cost: float) -> None:
        """Count the epochs without progress."""
        if cost < self._best - self.min_delta:
            self._best, self._waited = cost, 0
            return
        self._waited += 1
        if self._waited >= self.patience:
            self.learning_rate *= self.factor
            self._waited = 0
