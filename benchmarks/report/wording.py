"""Numbers and lists as words, for axes, captions, tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_RATES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def figures(value: float, digits: int = 3) -> str:
    """A number to so many significant figures, without an exponent where it reads well."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞" if value > 0 else "−∞" if value < 0 else "–"
    if 1e-4 <= abs(value) < 1e7:
        decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
        text = f"{value:,.{decimals}f}"
        # Rounding may have brought one figure more: 9.996 becomes 10.00.
        if sum(map(str.isdigit, text.lstrip("-0.,"))) > digits and decimals:
            text = f"{value:,.{decimals - 1}f}"
        return text.replace("-", "−")
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}".replace("-", "−", 1)


def trimmed(value: float) -> str:
    """A round number, such as one that stands on an axis, without zeros behind it: 0.05, 2,000."""
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, _, exponent = f"{value:.3e}".partition("e")
        digits = mantissa.rstrip("0").rstrip(".")
        power = f"10{str(int(exponent)).translate(_SUPERSCRIPTS)}"
        return (power if digits == "1" else f"{digits}·{power}").replace("-", "−")
    return f"{value:,.7f}".rstrip("0").rstrip(".").replace("-", "−")


def rate(value: float) -> str:
    """Three figures with k, M, G or T: 4.16M."""
    for size, unit in _RATES:
        # From 999.5 on three figures round up to the next unit.
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """A time with its unit: 1.5 ms."""
    if value >= 60:
        minutes, left = divmod(round(value), 60)
        return f"{minutes} min {left} s"
    for size, unit in _TIMES:
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e9:.3g} ns"


def size(count: float) -> str:
    """A number of bytes with its unit: 1.5 MiB."""
    for unit_size, unit in _SIZES:
        if count >= unit_size:
            return f"{count / unit_size:.3g} {unit}"
    return f"{count:.0f} B"


def percent(share: float) -> str:
    """A share as a percentage; near 100 % and near 0 with the decimals that tell them apart."""
    edge = min(abs(share), abs(1 - share))
    decimals = 2 if edge < 0.001 else 1 if edge < 0.1 else 0
    return f"{100 * share:.{decimals}f} %"


def count(value: float) -> str:
    """A whole number with its thousands apart: 131,072."""
    return f"{value:,.0f}"


def short(m: float) -> str:
    """A number of examples or units for an axis: 16, 1k, 128k, 1M (powers of two), 500."""
    for unit_size, unit in ((2**20, "M"), (2**10, "k")):
        if m >= unit_size and m % unit_size == 0:
            return f"{m // unit_size:.0f}{unit}"
    return f"{m:,.0f}" if m < 10_000 else rate(m)


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words in a row: a, b and c."""
    found: Sequence[str] = list(words)
    return f" {last} ".join(filter(None, (", ".join(found[:-1]), *found[-1:])))
