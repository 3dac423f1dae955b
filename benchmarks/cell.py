"""One cell of a throughput sweep: what was run, every sample, and the numbers that follow.

Only what was asked and what was timed is kept; medians and shares are computed from that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Pass = Literal["forward", "backward", "step"]
Order = Literal["network", "other"]
Part = Literal["grid", "widths", "depth", "dtype"]

NETWORK = "nnx"
LIMITS: Mapping[Order, str] = {"network": "matmul_network_order", "other": "matmul_other_order"}


@dataclass(frozen=True)
class Timing:
    """Samples of one contender.

    Attributes
    ----------
    repeats : int
        Calls in each sample.
    samples : tuple of float
        Seconds for one call (sample time / repeats), in the order measured.
    """

    repeats: int
    samples: tuple[float, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile, in seconds for one call."""
        low, middle, high = np.percentile(self.samples, (25, 50, 75))
        return float(low), float(middle), float(high)

    @property
    def median(self) -> float:
        """Median, in seconds for one call."""
        return self.quartiles[1]


@dataclass(frozen=True)
class Cell:
    """One combination of the grid: measured, or skipped for a reason.

    Attributes
    ----------
    device, dtype, pass_ : str
        Where, in what numbers, and which pass ("forward", "backward" = forward + backward,
        "step" = a whole training step).
    m, n_h, layers : int
        Examples, units of each hidden layer, number of hidden layers.
    flop : int
        Floating-point operations of the matrix products in one call.
    bytes_needed : int
        Estimated memory of the cell.
    timings : Mapping[str, Timing]
        "nnx", "matmul_network_order", "matmul_other_order" (the latter not where a device has
        one memory order); empty for a skipped cell.
    reason : str
        Why the cell was skipped; "" for a measured one.
    part : str
        Which part of a record it belongs to: the grid, or one of the closer looks at the width,
        the depth and the dtype.
    """

    device: str
    dtype: str
    pass_: Pass
    m: int
    n_h: int
    layers: int
    flop: int
    bytes_needed: int
    timings: Mapping[str, Timing] = field(default_factory=dict)
    reason: str = ""
    part: Part = "grid"

    @property
    def measured(self) -> bool:
        """Whether the cell has samples."""
        return not self.reason

    @property
    def nnx(self) -> Timing:
        """Timing of the nnx pass."""
        return self.timings[NETWORK]

    @property
    def limit_order(self) -> Order:
        """Memory order in which the bare matrix products were faster."""
        known = {
            order: self.timings[name] for order, name in LIMITS.items() if name in self.timings
        }
        return min(known, key=lambda order: known[order].median)

    @property
    def limit(self) -> Timing:
        """Timing of the bare matrix products in their faster memory order."""
        return self.timings[LIMITS[self.limit_order]]

    @property
    def examples_per_second(self) -> float:
        """Examples that the nnx pass handles in a second."""
        return self.m / self.nnx.median

    @property
    def limit_examples_per_second(self) -> float:
        """Examples a second, were the matrix products the only work."""
        return self.m / self.limit.median

    @property
    def gflop_per_second(self) -> float:
        """GFLOP/s of the nnx pass, counting its matrix products alone."""
        return self.flop / self.nnx.median / 1e9

    @property
    def share(self) -> float:
        """Matmul-only time / nnx time: 1 when nothing is lost beside the products."""
        return self.limit.median / self.nnx.median

    def to_json(self) -> dict[str, Any]:
        """The cell as JSON, with the derived numbers for those who read the file."""
        plain: dict[str, Any] = {
            "part": self.part,
            "device": self.device,
            "dtype": self.dtype,
            "pass": self.pass_,
            "m": self.m,
            "n_h": self.n_h,
            "layers": self.layers,
            "flop": self.flop,
            "bytes_needed": self.bytes_needed,
            "status": "measured" if self.measured else "skipped",
        }
        if not self.measured:
            return {**plain, "reason": self.reason}
        return {
            **plain,
            "timings": {name: _timing_json(timing) for name, timing in self.timings.items()},
            "examples_per_second": self.examples_per_second,
            "gflop_per_second": self.gflop_per_second,
            "limit_order": self.limit_order,
            "limit_examples_per_second": self.limit_examples_per_second,
            "share_of_limit": self.share,
        }


def _timing_json(timing: Timing) -> dict[str, Any]:
    low, middle, high = timing.quartiles
    return {
        "repeats": timing.repeats,
        "seconds_per_call": list(timing.samples),
        "median": middle,
        "quartiles": [low, high],
    }
