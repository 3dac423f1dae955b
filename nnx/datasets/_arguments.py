"""Checks of the arguments that the data sets share; each error names argument, found and wanted."""

import math
import operator

import numpy as np

from nnx.errors import DataError


def whole(where: str, name: str, value: object, least: int, most: int | None = None) -> int:
    """Return ``value`` as an int in ``least`` … ``most``, or raise `DataError`."""
    wanted = f"{name} >= {least}" if most is None else f"{name} in {least}..{most}"
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"{where}: wanted a whole number {wanted}; got {value!r}") from None
    if number < least or (most is not None and number > most):
        raise DataError(f"{where}: wanted {wanted}; got {name} = {number}")
    return number


def not_negative(where: str, name: str, value: object) -> float:
    """Return ``value`` as a finite float >= 0, or raise `DataError`."""
    number = _real(value)
    if not (math.isfinite(number) and number >= 0):
        raise DataError(f"{where}: wanted a finite {name} >= 0; got {name} = {value!r}")
    return number


def fraction(where: str, name: str, value: object) -> float:
    """Return ``value`` as a float strictly between 0 and 1, or raise `DataError`."""
    number = _real(value)
    if not 0 < number < 1:
        raise DataError(f"{where}: wanted 0 < {name} < 1; got {name} = {value!r}")
    return number


def generator(where: str, seed: object) -> np.random.Generator:
    """Return a generator whose stream depends on ``seed`` only, or raise `DataError`."""
    return np.random.default_rng(whole(where, "seed", seed, 0))


def _real(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
