"""The L2 and L1 penalties on the weights: lambda/(2m) sum of w^2 and lambda/m sum of |w|."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnx.inputs import check_number

Array = Any
Namespace = Any


@dataclass(frozen=True)
class Penalty:
    """What the cost has beside the losses; m is the number of examples in the batch.

    Attributes
    ----------
    l2, l1 : float
        The lambdas.
    """

    l2: float = 0.0
    l1: float = 0.0

    def __post_init__(self) -> None:
        check_number("l2", self.l2, 0)
        check_number("l1", self.l1, 0)

    def __bool__(self) -> bool:
        return self.l2 > 0 or self.l1 > 0

    def cost(self, xp: Namespace, w: Array, m: float) -> Array:
        """Return l2/(2m) sum of w^2 + l1/m sum of |w|, a 0-d array; w (n,) are all weights."""
        return xp.sum(w * w) * (self.l2 / (2 * m)) + xp.sum(xp.abs(w)) * (self.l1 / m)

    def add_gradient(self, xp: Namespace, w: Array, g: Array, m: float) -> None:
        """G += l2/m w + l1/m sign(w), in place; the derivative of |w| at zero is taken as zero."""
        if self.l2:
            g += w * (self.l2 / m)
        if self.l1:
            g += xp.sign(w) * (self.l1 / m)
