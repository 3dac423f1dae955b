"""Optimizers: an update rule over the flat vector theta, and a learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from nnx.backends.errors import DataError, DTypeError, unknown_name
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)
from nnx.schedules import Constant, Schedule


@dataclass(frozen=True)
class Optimizer:
    """A rule with its learning rate; one's own rule is a subclass of `UpdateRule`.

    Parameters
    ----------
    rule : UpdateRule
    schedule : Schedule
    clip_norm : float, optional
        Scale the gradient down to this Euclidean norm where it is larger.
    """

    rule: UpdateRule
    schedule: Schedule
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise DataError(f"clip_norm must be positive, got {self.clip_norm!r}")


def _make(rule: UpdateRule, rate: float | Schedule, clip_norm: float | None) -> Optimizer:
    return Optimizer(rule, rate if isinstance(rate, Schedule) else Constant(rate), clip_norm)


def GradientDescent(
    learning_rate: float | Schedule = 0.01, *, clip_norm: float | None = None
) -> Optimizer:
    """theta := theta - alpha dJ/dtheta."""
    return _make(GradientDescentRule(), learning_rate, clip_norm)


def Momentum(
    learning_rate: float | Schedule = 0.01, *, beta: float = 0.9, clip_norm: float | None = None
) -> Optimizer:
    """v := beta v - alpha g; theta := theta + v."""
    return _make(MomentumRule(beta), learning_rate, clip_norm)


def Nesterov(
    learning_rate: float | Schedule = 0.01, *, beta: float = 0.9, clip_norm: float | None = None
) -> Optimizer:
    """v := beta v - alpha g; theta := theta + beta v - alpha g."""
    return _make(MomentumRule(beta, nesterov=True), learning_rate, clip_norm)


def RMSprop(
    learning_rate: float | Schedule = 0.001,
    *,
    beta: float = 0.9,
    epsilon: float = 1e-8,
    clip_norm: float | None = None,
) -> Optimizer:
    """Tieleman & Hinton (2012); see `RMSpropRule`."""
    return _make(RMSpropRule(beta, epsilon), learning_rate, clip_norm)


def Adam(
    learning_rate: float | Schedule = 0.001,
    *,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    clip_norm: float | None = None,
) -> Optimizer:
    """Kingma & Ba (2015), algorithm 1."""
    return _make(AdamRule(beta1, beta2, epsilon), learning_rate, clip_norm)


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
    return _make(AdamRule(beta1, beta2, epsilon, weight_decay), learning_rate, clip_norm)


_BY_NAME = {
    "gradient_descent": GradientDescent,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
}


def get_optimizer(optimizer: str | Optimizer | None) -> Optimizer:
    """Return the optimizer of that name with its defaults; None gives Adam."""
    if optimizer is None:
        return Adam()
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise DTypeError(f"optimizer must be a name or an nnx.Optimizer, got {optimizer!r}")
    if optimizer not in _BY_NAME:
        raise unknown_name("optimizer", optimizer, _BY_NAME)
    return _BY_NAME[optimizer]()
