"""What a power law and a joint law have in common: the held-out point, refusals, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from nnx.backends.errors import DataError

Array = Any
Law = TypeVar("Law")

_KEPT_DRAWS = 200


@dataclass(frozen=True)
class HeldOut:
    """The extrapolation to the largest m, which a fit has not seen.

    Attributes
    ----------
    m : float
    measured, predicted : float
        Geometric means over the measurements at m.
    relative_error : float
        predicted / measured - 1.
    """

    m: float
    measured: float
    predicted: float
    relative_error: float


def held_out_of(m: float, error: Array, predicted: Array) -> HeldOut:
    """Compare the measurements at the largest m with a law's predictions there."""
    measured, foreseen = (float(np.exp(np.log(values).mean())) for values in (error, predicted))
    return HeldOut(m, measured, foreseen, foreseen / measured - 1)


def check_predictable(law: Any) -> None:
    """Refuse to predict from a law that is none."""
    if not law.is_power_law:
        raise DataError(f"there is no power law to predict from: {law.reason}")


def kept(draws: Array) -> Array:
    """Return every so many of the draws, at most 200, in six digits."""
    chosen = draws[:: max(1, -(-len(draws) // _KEPT_DRAWS))]
    if not len(chosen):
        return chosen
    digits = 10.0 ** (5 - np.floor(np.log10(np.maximum(np.abs(chosen), 1e-300))))
    return np.where(chosen == 0, 0.0, np.round(chosen * digits) / digits)


def interval_of(values: Array, confidence: float) -> tuple[Any, Any]:
    """Return the interval between the outer quantiles of the draws (the first axis)."""
    if not len(values):
        nothing = np.full(values.shape[1:], np.nan)
        return (nothing, nothing) if nothing.ndim else (float("nan"), float("nan"))
    # Quantiles between two draws at infinity are infinity, not NaN: take a draw itself.
    outside = (1 - confidence) / 2
    low, high = np.quantile(values, [outside, 1 - outside], axis=0, method="nearest")
    return (low, high) if np.ndim(low) else (float(low), float(high))


def to_plain(law: Any) -> dict[str, Any]:
    """Return a law as plain JSON values; what is not a finite number is None."""
    plain = asdict(law)
    plain["draws"] = law.draws.tolist()
    found: dict[str, Any] = _plain(plain)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def from_plain(cls: type[Law], plain: Mapping[str, Any], names: Sequence[str]) -> Law:
    """Return the law of class `cls` with parameters `names` that `to_plain` wrote."""
    kind = cls.__name__
    if not isinstance(plain, Mapping):
        raise DataError(f"{kind}: wanted an object, got {plain!r:.60}")
    for entry in fields(cls):  # type: ignore[arg-type]
        if entry.name not in plain:
            raise DataError(f"{kind}: {entry.name} is missing")
    values = dict(plain)
    found = {entry.name: values[entry.name] for entry in fields(cls)}  # type: ignore[arg-type]
    for name in (*names, "confidence", "noise"):
        found[name] = _number(f"{kind}: {name}", found[name])
    for name, wanted in (("is_power_law", bool), ("reason", str), ("intervals", Mapping)):
        if not isinstance(found[name], wanted):
            raise DataError(f"{kind}: {name}: wanted {wanted.__name__}, got {found[name]!r:.60}")
    found["intervals"] = {
        name: _pair(f"{kind}: intervals.{name}", found["intervals"].get(name)) for name in names
    }
    if found["region"] is not None:
        found["region"] = _pair(f"{kind}: region", found["region"])
    if found["held_out"] is not None:
        found["held_out"] = _held_out(f"{kind}: held_out", found["held_out"])
    try:
        draws = np.asarray(found["draws"], np.float64).reshape(-1, len(names))
    except (TypeError, ValueError):
        raise DataError(f"{kind}: draws: wanted lists of {len(names)} numbers") from None
    found["draws"] = draws
    return cls(**found)


def _number(name: str, value: object) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{name}: wanted a number or null, got {value!r:.60}")
    return float(value)


def _pair(name: str, value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise DataError(f"{name}: wanted two numbers, got {value!r:.60}")
    return _number(name, value[0]), _number(name, value[1])


def _held_out(name: str, value: object) -> HeldOut:
    if not isinstance(value, Mapping):
        raise DataError(f"{name}: wanted an object or null, got {value!r:.60}")
    keys = [entry.name for entry in fields(HeldOut)]
    missing = [key for key in keys if key not in value]
    if missing:
        raise DataError(f"{name}.{missing[0]} is missing")
    return HeldOut(**{key: _number(f"{name}.{key}", value[key]) for key in keys})
