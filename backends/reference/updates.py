"""Optimizer updates over the flat parameter vector, written in place.

Each rule is one frozen dataclass: its constants, the names of its state vectors ("slots", each of
the shape of theta and zero at the start) and `apply`. t counts the updates from 1.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from nnx.backends.errors import DataError

Array = Any
Namespace = Any


class UpdateRule(ABC):
    """How theta moves, given the gradient g of the cost J."""

    name: ClassVar[str]
    slots: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def apply(
        self,
        xp: Namespace,
        theta: Array,
        g: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Update theta and the slots in place; g is left as it is."""


def _check_fraction(rule: str, **values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < 1:
            raise DataError(f"{rule}: {name} must be in [0, 1), got {value}")


def _check_positive(rule: str, **values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise DataError(f"{rule}: {name} must be positive, got {value}")


@dataclass(frozen=True)
class GradientDescentRule(UpdateRule):
    """Theta := theta - alpha g, the lecture's update."""

    name = "gradient_descent"

    def apply(
        self,
        xp: Namespace,
        theta: Array,
        g: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Update theta in place."""
        theta -= learning_rate * g


@dataclass(frozen=True)
class MomentumRule(UpdateRule):
    """v := beta v - alpha g; theta := theta + v, or theta + beta v - alpha g (Nesterov's form).

    Sutskever et al. (2013), "On the importance of initialization and momentum", eq. 1-4.
    """

    beta: float = 0.9
    nesterov: bool = False
    name = "momentum"
    slots = ("v",)

    def __post_init__(self) -> None:
        # A beta of 1 forgets nothing; scikit-learn allows it.
        if not 0 <= self.beta <= 1:
            raise DataError(f"Momentum: beta must be in [0, 1], got {self.beta}")

    def apply(
        self,
        xp: Namespace,
        theta: Array,
        g: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Update theta and v in place."""
        v = slots["v"]
        v *= self.beta
        v -= learning_rate * g
        if self.nesterov:
            theta += self.beta * v - learning_rate * g
        else:
            theta += v


@dataclass(frozen=True)
class RMSpropRule(UpdateRule):
    """s := beta s + (1 - beta) g^2; theta := theta - alpha g / (sqrt(s) + epsilon).

    Tieleman & Hinton (2012), Coursera lecture 6.5.
    """

    beta: float = 0.9
    epsilon: float = 1e-8
    name = "rmsprop"
    slots = ("s",)

    def __post_init__(self) -> None:
        _check_fraction("RMSprop", beta=self.beta)
        _check_positive("RMSprop", epsilon=self.epsilon)

    def apply(
        self,
        xp: Namespace,
        theta: Array,
        g: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Update theta and s in place."""
        s = slots["s"]
        s *= self.beta
        s += (1 - self.beta) * g * g
        theta -= learning_rate * g / (xp.sqrt(s) + self.epsilon)


@dataclass(frozen=True)
class AdamRule(UpdateRule):
    """Kingma & Ba (2015), "Adam", algorithm 1; with `weight_decay` AdamW.

    m := beta1 m + (1 - beta1) g; v := beta2 v + (1 - beta2) g^2; with the bias corrections
    m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t):
    theta := theta - alpha m^ / (sqrt(v^) + epsilon).
    AdamW (Loshchilov & Hutter, 2019, algorithm 2) first shrinks theta by alpha * weight_decay.
    With `epsilon_hat` epsilon stands beside sqrt(v) itself, without the bias correction: the form
    at the end of Kingma & Ba's section 2, and scikit-learn's.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    epsilon_hat: bool = False
    name = "adam"
    slots = ("m", "v")

    def __post_init__(self) -> None:
        _check_fraction("Adam", beta1=self.beta1, beta2=self.beta2)
        _check_positive("Adam", epsilon=self.epsilon)
        if not self.weight_decay >= 0:
            raise DataError(f"Adam: weight_decay must not be negative, got {self.weight_decay}")

    def scalars(self, learning_rate: float, t: int) -> tuple[float, float]:
        """The step size and the epsilon with both bias corrections folded in.

        alpha m^ / (sqrt(v^) + epsilon) = step m / (sqrt(v) + eps) with
        step = alpha sqrt(1 - beta2^t) / (1 - beta1^t) and eps = epsilon sqrt(1 - beta2^t), or
        epsilon itself where it is epsilon hat.
        """
        root = math.sqrt(1 - self.beta2**t)
        eps = self.epsilon if self.epsilon_hat else self.epsilon * root
        return learning_rate * root / (1 - self.beta1**t), eps

    def apply(
        self,
        xp: Namespace,
        theta: Array,
        g: Array,
        slots: Mapping[str, Array],
        learning_rate: float,
        t: int,
    ) -> None:
        """Update theta, m and v in place."""
        m, v = slots["m"], slots["v"]
        step, eps = self.scalars(learning_rate, t)
        m *= self.beta1
        m += (1 - self.beta1) * g
        v *= self.beta2
        v += (1 - self.beta2) * g * g
        if self.weight_decay:
            theta *= 1 - learning_rate * self.weight_decay
        theta -= step * m / (xp.sqrt(v) + eps)


def clip_norm(xp: Namespace, g: Array, max_norm: float) -> None:
    """g := g min(1, max_norm / ||g||_2), in place and without waiting for the device.

    Pascanu et al. (2013), "On the difficulty of training recurrent neural networks", algorithm 1.
    """
    norm = xp.sqrt(xp.sum(g * g))
    limit = xp.full_like(norm, max_norm)
    g *= limit / xp.maximum(norm, limit)
