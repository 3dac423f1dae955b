"""Measured points of learning curves: checked before any work is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nnx.backends.errors import DataError, ShapeError

Array = Any


@dataclass(frozen=True)
class FitOptions:
    """How a law is fitted; `fit_power_law` says what each of them means."""

    hold_out: int
    bootstrap: int
    confidence: float
    seed: int
    delta: float | None

    def __post_init__(self) -> None:
        """Check every value."""
        for name, least in (("hold_out", 0), ("bootstrap", 0), ("seed", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise DataError(f"{name}: wanted a whole number from {least} on, got {value!r}")
        if 0 < self.bootstrap < 20:
            raise DataError(f"bootstrap: wanted 0 or at least 20 draws, got {self.bootstrap}")
        if not _between(self.confidence, 0, 1):
            raise DataError(
                f"confidence: wanted a number between 0 and 1, such as 0.95; "
                f"got {self.confidence!r}"
            )
        if self.delta is not None and not _between(self.delta, 0, np.inf):
            raise DataError(f"delta: wanted a number above 0, or None; got {self.delta!r}")


def _between(value: object, low: float, high: float) -> bool:
    return isinstance(value, int | float | np.number) and low < float(value) < high


def positive(name: str, values: object, like: tuple[str, int] | None = None) -> Array:
    """Return `values` as a float64 vector of finite numbers above 0.

    like : name and length of the vector that it must be as long as
    """
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{name}: wanted numbers, got {values!r:.60}") from None
    if found.ndim != 1:
        raise ShapeError(f"{name}: wanted one list of numbers (k,), got shape {found.shape}")
    if like is not None and len(found) != like[1]:
        raise ShapeError(
            f"{name}: wanted as many numbers as {like[0]} has, {like[1]}; got {len(found)}"
        )
    bad = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if len(bad):
        at = int(bad[0])
        raise DataError(
            f"{name}: wanted finite numbers above 0; number {at} is {found[at]:g}"
            + (f" (and {len(bad) - 1} more are not)" if len(bad) > 1 else "")
        )
    return found


def hold_out_mask(m: Array, hold_out: int) -> Array:
    """Return which points are at the `hold_out` largest different m.

    Raises
    ------
    DataError
        Where fewer than two different m are left.
    """
    values = np.unique(m)
    if len(values) - hold_out < 2:
        raise DataError(
            f"m: wanted at least {2 + hold_out} different numbers of examples, "
            f"{hold_out} of them held out; got {len(values)}"
        )
    mask: Array = m > values[len(values) - hold_out - 1]
    return mask
