"""What a record holds beside the cells: peaks, operations, memory, loops, energy.

Each kind is one small class that turns into JSON and is checked when it is read back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnx.benchmarks.fields import Field


@dataclass(frozen=True)
class Shape:
    """Where a finding was made: a network [784, n_h, ..., 10] over m examples on a device."""

    device: str
    dtype: str
    m: int
    n_h: int
    layers: int

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON."""
        return {
            "device": self.device,
            "dtype": self.dtype,
            "m": self.m,
            "n_h": self.n_h,
            "layers": self.layers,
        }

    @classmethod
    def read(cls, found: Field) -> "Shape":
        """Read the fields out of an object that holds more."""
        return cls(
            found.text("device"),
            found.text("dtype"),
            found.count("m"),
            found.count("n_h"),
            found.count("layers"),
        )


@dataclass(frozen=True)
class Peak:
    """The best that a device showed in one dtype.

    Attributes
    ----------
    device, dtype : str
    gflop_samples : tuple of float
        GFLOP/s of a large square product, in the order measured.
    bandwidth_samples : tuple of float
        GB/s (read + written) of a copy far larger than the caches, likewise.
    bandwidths : tuple of (int, float)
        Bytes that a copy moved in all, and its best GB/s; rising sizes, the last far beyond caches.
    data_sheet : Mapping[str, Any] or None
        "matmul_gflop_per_second", "bandwidth_gb_per_second", "source"; None where not known.
    """

    device: str
    dtype: str
    gflop_samples: tuple[float, ...]
    bandwidth_samples: tuple[float, ...]
    bandwidths: tuple[tuple[int, float], ...]
    data_sheet: Mapping[str, Any] | None = None

    @property
    def gflop_per_second(self) -> float:
        """The fastest product: a ceiling, so the best sample and not the middle one."""
        return max(self.gflop_samples)

    @property
    def bandwidth_gb_per_second(self) -> float:
        """The fastest copy of the largest size."""
        return max(self.bandwidth_samples)

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "device": self.device,
            "dtype": self.dtype,
            "matmul_gflop_per_second": self.gflop_per_second,
            "bandwidth_gb_per_second": self.bandwidth_gb_per_second,
            "samples": {
                "matmul_gflop_per_second": list(self.gflop_samples),
                "bandwidth_gb_per_second": list(self.bandwidth_samples),
            },
            "bandwidths": [
                {"bytes": size, "gb_per_second": rate} for size, rate in self.bandwidths
            ],
            "data_sheet": None if self.data_sheet is None else dict(self.data_sheet),
        }

    @classmethod
    def read(cls, found: Field) -> "Peak":
        """Read the finding."""
        samples = found.get("samples", dict)
        sheet = found.maybe("data_sheet", dict)
        return cls(
            found.text("device"),
            found.text("dtype"),
            samples.samples("matmul_gflop_per_second"),
            samples.samples("bandwidth_gb_per_second"),
            tuple(
                (item.count("bytes"), item.positive("gb_per_second"))
                for item in found.get("bandwidths", list).items()
            ),
            None if sheet is None else sheet.value,
        )


@dataclass(frozen=True)
class OperationTime:
    """One operation of a step: its name in the lecture's notation, its work and its time.

    `seconds` is NaN (null in JSON) where its time counts with the operation above.
    """

    name: str
    flop: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class Operations:
    """Where the time of a training step goes.

    Attributes
    ----------
    shape : Shape
    optimizer : str
    step_seconds : float
        A whole step, timed from outside.
    operations : tuple of OperationTime
    """

    shape: Shape
    optimizer: str
    step_seconds: float
    operations: tuple[OperationTime, ...]

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            **self.shape.to_json(),
            "optimizer": self.optimizer,
            "step_seconds": self.step_seconds,
            "operations": [
                {
                    "name": one.name,
                    "flop": one.flop,
                    "bytes": one.bytes,
                    "seconds": None if math.isnan(one.seconds) else one.seconds,
                }
                for one in self.operations
            ],
        }

    @classmethod
    def read(cls, found: Field) -> "Operations":
        """Read the finding."""
        return cls(
            Shape.read(found),
            found.text("optimizer"),
            found.positive("step_seconds"),
            tuple(
                OperationTime(
                    item.text("name"),
                    item.count("flop", 0),
                    item.count("bytes", 0),
                    _seconds_or_nan(item),
                )
                for item in found.get("operations", list).items()
            ),
        )


def _seconds_or_nan(operation: Field) -> float:
    found = operation.maybe("seconds", float)
    if found is None:
        return math.nan
    if not (math.isfinite(found.value) and found.value >= 0):
        raise found.error(f"wanted seconds from 0 on, got {found.value!r}")
    return float(found.value)


@dataclass(frozen=True)
class MemoryUse:
    """What a training run held at its peak, by the formula of `nnx.memory` and measured.

    Attributes
    ----------
    shape : Shape
    formula_bytes : int
    measured_bytes : int
    how : str
        How it was measured.
    """

    shape: Shape
    formula_bytes: int
    measured_bytes: int
    how: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            **self.shape.to_json(),
            "formula_bytes": self.formula_bytes,
            "measured_bytes": self.measured_bytes,
            "how": self.how,
        }

    @classmethod
    def read(cls, found: Field) -> "MemoryUse":
        """Read the finding."""
        return cls(
            Shape.read(found),
            found.count("formula_bytes"),
            found.count("measured_bytes"),
            found.text("how"),
        )


@dataclass(frozen=True)
class LoopTime:
    """The same result by a loop and by one vectorized call.

    Attributes
    ----------
    device, what : str
    n : int
        Passes of the loop.
    loop_samples, vectorized_samples : tuple of float
        Seconds.
    """

    device: str
    what: str
    n: int
    loop_samples: tuple[float, ...]
    vectorized_samples: tuple[float, ...]

    @property
    def loop_seconds(self) -> float:
        """Median of the loop."""
        return float(np.median(self.loop_samples))

    @property
    def vectorized_seconds(self) -> float:
        """Median of the vectorized call."""
        return float(np.median(self.vectorized_samples))

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "device": self.device,
            "what": self.what,
            "n": self.n,
            "loop_seconds": self.loop_seconds,
            "vectorized_seconds": self.vectorized_seconds,
            "samples": {
                "loop_seconds": list(self.loop_samples),
                "vectorized_seconds": list(self.vectorized_samples),
            },
        }

    @classmethod
    def read(cls, found: Field) -> "LoopTime":
        """Read the finding."""
        samples = found.get("samples", dict)
        return cls(
            found.text("device"),
            found.text("what"),
            found.count("n"),
            samples.samples("loop_seconds"),
            samples.samples("vectorized_seconds"),
        )


@dataclass(frozen=True)
class Energy:
    """Energy of training steps.

    Attributes
    ----------
    shape : Shape
    joules_per_example : float
    seconds : float
        How long the steps ran under the counter.
    source : str
        Which counter, and what it covers.
    """

    shape: Shape
    joules_per_example: float
    seconds: float
    source: str

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            **self.shape.to_json(),
            "joules_per_example": self.joules_per_example,
            "seconds": self.seconds,
            "source": self.source,
        }

    @classmethod
    def read(cls, found: Field) -> "Energy":
        """Read the finding."""
        return cls(
            Shape.read(found),
            found.positive("joules_per_example"),
            found.positive("seconds"),
            found.text("source"),
        )


@dataclass(frozen=True)
class Findings:
    """All that a record holds beside its cells.

    Attributes
    ----------
    peaks, operations, memory, vectorized, energy : sequences
    reasons : Mapping[str, str]
        For each part that was left out, why: "energy" -> "no counter can be read", ...
    """

    peaks: Sequence[Peak] = ()
    operations: Sequence[Operations] = ()
    memory: Sequence[MemoryUse] = ()
    vectorized: Sequence[LoopTime] = ()
    energy: Sequence[Energy] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The members of the record, by name."""
        reasons = dict(self.reasons)
        return {
            "peaks": [one.to_json() for one in self.peaks],
            "operations": [one.to_json() for one in self.operations],
            "memory": [one.to_json() for one in self.memory],
            "vectorized": [one.to_json() for one in self.vectorized],
            "energy": [one.to_json() for one in self.energy],
            "energy_reason": reasons.pop("energy", ""),
            "left_out": reasons,
        }

    @classmethod
    def read(cls, top: Field) -> "Findings":
        """Read the members out of a whole record."""
        left_out = top.get("left_out", dict)
        reasons = {name: left_out.text(name) for name in left_out.value}
        if energy := top.text("energy_reason"):
            reasons["energy"] = energy

        def each(name: str, read: Any) -> tuple[Any, ...]:
            return tuple(read(item) for item in top.get(name, list).items())

        return cls(
            peaks=each("peaks", Peak.read),
            operations=each("operations", Operations.read),
            memory=each("memory", MemoryUse.read),
            vectorized=each("vectorized", LoopTime.read),
            energy=each("energy", Energy.read),
            reasons=reasons,
        )
