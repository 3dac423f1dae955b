"""Cells and records as a sweep would make them, without the minutes."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from nnx.benchmarks import Cell, Record, Settings, Timing
from nnx.benchmarks.cell import LIMITS, NETWORK
from nnx.benchmarks.findings import (
    Energy,
    Findings,
    LoopTime,
    MemoryUse,
    Operations,
    OperationTime,
    Peak,
    Shape,
)

CellMaker = Callable[..., Cell]


@pytest.fixture
def make_cell() -> CellMaker:
    """Make a measured cell from the seconds of nnx and of the two orders of the limit."""

    def make(seconds: tuple[float, float, float] = (2.0, 1.0, 1.5), **changes: Any) -> Cell:
        names = (NETWORK, *LIMITS.values())
        fields: dict[str, Any] = {
            "device": "cpu",
            "dtype": "float32",
            "pass_": "forward",
            "m": 100,
            "n_h": 16,
            "layers": 1,
            "flop": 4_000_000_000,
            "bytes_needed": 1,
            "timings": {
                name: Timing(1, (0.9 * s, s, s, s, 1.1 * s))
                for name, s in zip(names, seconds, strict=True)
            },
        }
        return Cell(**{**fields, **changes})

    return make


@pytest.fixture
def make_record(make_cell: CellMaker) -> Callable[..., Record]:
    """Make the record of a grid of m x n_h x pass, each cell measured."""

    def make(**changes: Any) -> Record:
        settings = Settings(
            **{"devices": ("cpu",), "m": (16, 256), "hidden": (8, 32), **changes}  # type: ignore[arg-type]
        )
        cells = [
            make_cell(
                device=point.device,
                dtype=point.dtype,
                pass_=point.pass_,
                m=point.m,
                n_h=point.n_h,
                layers=point.layers,
            )
            for point in settings.points()
        ]
        where = {"cpu": {"model": "a processor", "usable_cores": 2}, "devices": {"cpu": {}}}
        return Record.of(settings, where, cells)

    return make


@pytest.fixture
def findings() -> Findings:
    """One finding of each kind, with what may be absent once there and once not."""
    shape = Shape("cpu", "float32", 64, 16, 2)
    sheet = {"matmul_gflop_per_second": 900.0, "source": "data sheet"}
    return Findings(
        peaks=(
            Peak("cpu", "float32", (90.0, 100.0, 95.0), (9.0, 10.0), ((1 << 20, 50.0),), sheet),
            Peak("cpu", "float64", (50.0,), (10.0,), ((1 << 20, 50.0), (1 << 27, 10.0))),
        ),
        operations=(
            Operations(
                shape,
                "GradientDescent",
                0.003,
                (
                    OperationTime("Z[1] = W[1] A[0]", 2000, 100, 0.002),
                    OperationTime("A[1] = relu(Z[1] + b[1])", 0, 100, math.nan),
                ),
            ),
        ),
        memory=(MemoryUse(shape, 1000, 1100, "by a ruler"),),
        vectorized=(LoopTime("cpu", "dot product", 1000, (3.0, 1.0, 2.0), (0.1,)),),
        energy=(Energy(shape, 0.001, 5.0, "a counter"),),
        reasons={"memory": "no time was left"},
    )
