"""Optimizers: an update rule over the flat vector theta, and a learning rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from nnx.backends.errors import DataError, DTypeError, unknown_name
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)
from nnx.inputs import check_number
from nnx.schedules import Constant, Schedule


@dataclass(frozen=True)
class Optimizer:
    """A rule with its learning rate; one's own rule is a subclass of `UpdateRule`.

    Parameters
    ----------
    rule : UpdateRule
    learning_rate : float or Schedule
    clip_norm : float, optional
        Scale the gradient down to this Euclidean norm where it is larger.
    """

    rule: UpdateRule
    learning_rate: float | Schedule
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        self.schedule  # noqa: B018 (a rate that is none is an error now, not in training)
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise DataError(f"clip_norm must be positive, got {self.clip_norm!r}")

    @property
    def schedule(self) -> Schedule:
        """The learning rate over time."""
        rate = self.learning_rate
        return rate if isinstance(rate, Schedule) else Constant(rate)


@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS on whole batches, through SciPy's L-BFGS-B (extra `lbfgs`).

    An epoch is one iteration; there is no learning rate, since each has its own line search.
    Liu & Nocedal (1989), "On the limited memory BFGS method for large scale optimization".

    Parameters
    ----------
    memory : int
        How many past steps make up the curvature.
    tolerance : float
        Stop where no element of the gradient is larger.
    max_evaluations : int
        Evaluations of the cost, line searches included.
    """

    memory: int = 10
    tolerance: float = 1e-5
    max_evaluations: int = 15_000

    def __post_init__(self) -> None:
        check_number("LBFGS: memory", self.memory, 1, whole=True)
        check_number("LBFGS: tolerance", self.tolerance, 0)
        check_number("LBFGS: max_evaluations", self.max_evaluations, 1, whole=True)


def GradientDescent(
    learning_rate: float | Schedule = 0.01, *, clip_norm: float | None = None
) -> Optimizer:
    """theta := theta - alpha dJ/dtheta."""
    return Optimizer(GradientDescentRule(), learning_rate, clip_norm)


def Momentum(
    learning_rate: float | Schedule = 0.01, *, beta: float = 0.9, clip_norm: float | None = None
) -> Optimizer:
    """v := beta v - alpha g; theta := theta + v."""
    return Optimizer(MomentumRule(beta), learning_rate, clip_norm)


def Nesterov(
    learning_rate: float | Schedule = 0.01, *, beta: float = 0.9, clip_norm: float | None = None
) -> Optimizer:
    """v := beta v - alpha g; theta := theta + beta v - alpha g."""
    return Optimizer(MomentumRule(beta, nesterov=True), learning_rate, clip_norm)


def RMSprop(
    learning_rate: float | Schedule = 0.001,
    *,
    beta: float = 0.9,
    epsilon: float = 1e-8,
    clip_norm: float | None = None,
) -> Optimizer:
    """Tieleman & Hinton (2012); see `RMSpropRule`."""
    return Optimizer(RMSpropRule(beta, epsilon), learning_rate, clip_norm)


def Adam(
    learning_rate: float | Schedule = 0.001,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_norm: float | None = None,
) -> Optimizer:
    """Kingma & Ba (2015), algorithm 1."""
    return Optimizer(AdamRule(beta1, beta2, epsilon), learning_rate, clip_norm)


def AdamW(
    learning_rate: float | Schedule = 0.001,
    *,
    weight_decay: float = 0.01,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_norm: float | None = None,
) -> Optimizer:
    """Loshchilov & Hutter (2019), algorithm 2."""
    return Optimizer(AdamRule(beta1, beta2, epsilon, weight_decay), learning_rate, clip_norm)


_BY_NAME: dict[str, Callable[[], Optimizer | LBFGS]] = {
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "lbfgs": LBFGS,
}


def get_optimizer(optimizer: str | Optimizer | LBFGS | None) -> Optimizer | LBFGS:
    """Return the optimizer of that name with its defaults; None gives Adam."""
    if optimizer is None:
        return Adam()
    if isinstance(optimizer, Optimizer | LBFGS):
        return optimizer
    if not isinstance(optimizer, str):
        raise DTypeError(f"optimizer must be a name or an nnx.Optimizer, got {optimizer!r}")
    if optimizer not in _BY_NAME:
        raise unknown_name("optimizer", optimizer, _BY_NAME)
    return _BY_NAME[optimizer]()
