"""Where the time of a training step goes: `nnx.explain_step` at a few shapes."""

from __future__ import annotations

from collections.abc import Sequence

import nnx
from nnx.benchmarks.findings import Operations, OperationTime, Shape
from nnx.benchmarks.settings import N_X, N_Y


def measure_operations(shapes: Sequence[Shape], optimizer: str) -> list[Operations]:
    """Time the operations of a step at each shape, and whole steps from outside."""
    return [_operations(shape, optimizer) for shape in shapes]


def _operations(shape: Shape, optimizer: str) -> Operations:
    sizes = [N_X, *[shape.n_h] * shape.layers, N_Y]
    net = nnx.MLP(sizes, device=shape.device, dtype=shape.dtype)
    report = nnx.explain_step(net, shape.m, getattr(nnx, optimizer)())
    return Operations(
        shape,
        optimizer,
        report.step_seconds,
        tuple(
            OperationTime(one.name, one.flop, one.bytes, seconds)
            for one, seconds in zip(report.operations, report.seconds, strict=True)
        ),
    )
