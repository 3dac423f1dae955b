"""Two records of one machine, cell against cell: did a share of the limit fall?

The share (`Cell.share`) is compared and not the speed: the bare products that run beside nnx tell
what the machine gave on that day. A share has fallen when it fell by more than a stated amount
even if `SIGMAS` standard errors of the change are granted to the noise of the samples, and does so
again when the cell is measured once more: what disturbs a machine for a second is in no sample's
spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nnx.benchmarks.cell import Cell, Timing
from nnx.benchmarks.record import Record
from nnx.benchmarks.settings import Point
from nnx.errors import DataError

SIGMAS = 3.0
# For numbers of a normal distribution: its quartiles lie 1.349 standard deviations apart, and the
# median of n of them varies by 1.2533 standard deviations / sqrt(n).
_QUARTILES, _MEDIAN = 1.349, 1.2533

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """One cell in both records.

    Attributes
    ----------
    before, after : Cell
    """

    before: Cell
    after: Cell

    @property
    def fall(self) -> float:
        """By how much of itself the share fell; below 0 where it rose."""
        return 1 - self.after.share / self.before.share

    @property
    def noise(self) -> float:
        """Standard error of ln(share after / share before), from the samples of both records."""
        timings = (self.before.nnx, self.before.limit, self.after.nnx, self.after.limit)
        return math.sqrt(sum(_median_error(timing) ** 2 for timing in timings))

    def fell(self, amount: float) -> bool:
        """Whether the share fell by more than `amount` of itself, beyond the noise."""
        if self.fall <= 0:
            return False
        least = math.log(self.before.share / self.after.share) - SIGMAS * self.noise
        return least > -math.log(1 - amount)


def changes(before: Record, after: Record) -> list[Change]:
    """List the cells that were measured in both records, in the order of the later one."""
    known = {key(cell): cell for cell in before.cells if cell.measured}
    return [
        Change(known[key(cell)], cell)
        for cell in after.cells
        if cell.measured and key(cell) in known
    ]


def confirmed(found: Sequence[Change], again: Iterable[Cell], amount: float) -> list[Change]:
    """Keep the changes whose share fell in a second measurement too."""
    second = {key(cell): cell for cell in again if cell.measured}
    return [
        change
        for change in found
        if key(change.after) in second
        and Change(change.before, second[key(change.after)]).fell(amount)
    ]


def key(cell: Cell | Point) -> Key:
    """What makes two cells the same measurement; a width of the grid is no closer look at it."""
    return cell.part, cell.device, cell.dtype, cell.pass_, cell.layers, cell.n_h, cell.m


def check_amount(amount: float) -> None:
    """Refuse an amount that no share can fall by."""
    if not 0 < amount < 1:
        raise DataError(
            f"the amount that a share may fall by is a part of it between 0 and 1, got {amount:g}"
        )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Tell where two environments are those of different machines; empty for the same one."""
    found = []
    for name, way in (
        ("processor", ("cpu", "model")),
        ("usable cores", ("cpu", "usable_cores")),
        ("BLAS", ("blas", "name")),
        ("kernels of the BLAS", ("blas", "kernels")),
        ("threads of the BLAS", ("blas", "threads")),
    ):
        old, new = (_member(environment, way) for environment in (before, after))
        if old != new:
            found.append(f"{name}: {old} then, {new} now")
    old_devices, new_devices = (one.get("devices", {}) for one in (before, after))
    for device in sorted(set(old_devices) & set(new_devices) - {"cpu"}):
        old, new = (one[device].get("name") for one in (old_devices, new_devices))
        if old != new:
            found.append(f"{device}: {old} then, {new} now")
    return found


def _member(plain: Mapping[str, Any], way: Sequence[str]) -> Any:
    value: Any = plain
    for name in way:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _median_error(timing: Timing) -> float:
    """Standard error of the median, as a part of it."""
    low, middle, high = timing.quartiles
    deviation = (high - low) / _QUARTILES / middle
    return _MEDIAN * deviation / math.sqrt(len(timing.samples))
