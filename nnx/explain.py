"""Where a training step's time goes: each operation, the least it can take, and what it took."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnx.backends.errors import DataError
from nnx.backends.limits import Limits, measure_limits
from nnx.inputs import check_number
from nnx.layers import Dense
from nnx.model import Model
from nnx.optimizers import Optimizer
from nnx.plan import Operation, Plan
from nnx.step import TrainingStep, why_not_compiled
from nnx.summary import one_line

Array = Any
_RUN_SECONDS = 0.3  # spent on timing
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


@dataclass(frozen=True)
class StepReport:
    """What `explain_step` found; `print` it.

    Attributes
    ----------
    title : str
    operations : tuple of Operation
        In the lecture's notation, with FLOPs of the products and bytes moved.
    floors : tuple of float
        Seconds that each operation takes at least on this device: its FLOPs at the rate of a large
        square product, or its bytes at the speed of a copy of that size, whichever is longer.
    seconds : tuple of float
        Seconds that each operation took; NaN where it was not run, or counts with the one above.
    step_seconds : float
        A whole step, timed from outside; NaN where it was not run.
    limits : Limits
    """

    title: str
    operations: tuple[Operation, ...]
    floors: tuple[float, ...]
    seconds: tuple[float, ...]
    step_seconds: float
    limits: Limits

    def __str__(self) -> str:
        rows = [("operation", "FLOP", "bytes", "floor", "time", "share")]
        total = float(np.nansum(self.seconds))
        for operation, floor, seconds in zip(
            self.operations, self.floors, self.seconds, strict=True
        ):
            if operation.flop or operation.bytes or seconds > 0:
                share = "" if math.isnan(seconds) or not total else f"{seconds / total:.0%}"
                rows.append(
                    (operation.name, _count(operation.flop), _count(operation.bytes), _time(floor),
                     _time(seconds), share)
                )  # fmt: skip
        flop = sum(operation.flop for operation in self.operations)
        moved = sum(operation.bytes for operation in self.operations)
        rows.append(
            ("the whole step", _count(flop), _count(moved), _time(sum(self.floors)),
             _time(self.step_seconds), "")
        )  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        speed = ", ".join(
            f"{_count(rate)}B/s for {_count(size)}B" for size, rate in self.limits.bytes_per_second
        )
        floors = f"floors from {_count(self.limits.flop_per_second)}FLOP/s and copies of {speed}"
        return "\n".join([self.title, "", *lines, "", floors])


def explain_step(
    model: Model,
    m: int,
    optimizer: str | Optimizer | None = None,
    *,
    run: bool = True,
) -> StepReport:
    """Tell where the time of a training step over m examples goes.

    The steps are those of a copy of the network, on random data: `model` stays as it is.

    Parameters
    ----------
    model : Network
        Of dense layers.
    m : int
        Examples in a batch.
    optimizer : str or Optimizer, optional
        By default Adam, as in `Network.fit`.
    run : bool
        False only plans: no step is taken, and there are no times.

    Returns
    -------
    StepReport
        Its str is a table.

    Raises
    ------
    DataError
        Where a layer is not dense, or the optimizer has no single steps.

    Examples
    --------
    >>> import nnx
    >>> report = nnx.explain_step(nnx.MLP([784, 64, 10], device="cpu"), 256, run=False)
    >>> report.operations[1]
    Operation(name='Z[1] = W[1] A[0]', flop=25690112, bytes=1069056)
    """
    check_number("m", m, 1, whole=True)
    for number, layer in enumerate(model.layers, 1):
        if not isinstance(layer, Dense):
            raise DataError(
                f"layer {number} is a {type(layer).__name__}; only dense layers have a plan"
            )
    model = model.copy()
    step = TrainingStep(model, m, optimizer)
    with model.backend.active():
        limits = measure_limits(model.backend, model.dtype)
        if run:
            plan, seconds, whole = _run(step)
        else:
            plan = Plan(model, m, gathered=False, update=True, slots=len(step.state.slots))
            seconds, whole = np.full(len(plan.operations), math.nan), math.nan
    how = "compiled" if step.compiled else f"by primitives ({why_not_compiled(model)})"
    return StepReport(
        f"{one_line(model)}, m = {m}, {step.optimizer.rule.name}: {how}",
        tuple(plan.operations),
        tuple(limits.seconds(operation.flop, operation.bytes) for operation in plan.operations),
        tuple(float(value) for value in seconds),
        whole,
        limits,
    )


def _run(step: TrainingStep) -> tuple[Plan, Array, float]:
    """Time the step's parts, and whole steps from outside."""
    model, backend = step.model, step.backend
    rng = np.random.default_rng(0)
    X = backend.asarray(np.asfortranarray(rng.standard_normal((model.n_x, step.m)), model.dtype))
    Y = model.check_Y(_targets(model, step.m, rng), step.m)

    def whole(count: int) -> float:
        backend.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step(X, Y)
        backend.synchronize()
        return (time.perf_counter() - start) / count

    with step.alone():
        whole(1)  # compiles, plans, warms up
        count = max(3, min(10_000, round(_RUN_SECONDS / 2 / whole(2))))
        seconds = whole(count)
        plan, parts = step.profile(X, Y, count)
    return plan, parts, seconds


def _targets(model: Model, m: int, rng: np.random.Generator) -> Array:
    if model.loss.target == "classes":
        return rng.integers(0, model.n_y, m)
    return rng.integers(0, 2, (model.n_y, m)).astype(model.dtype)


def _count(value: float) -> str:
    """Three figures with a prefix."""
    for size, prefix in _UNITS:
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return ""


def _time(seconds: float) -> str:
    if math.isnan(seconds):
        return ""
    size, unit = next(
        ((s, u) for s, u in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")) if seconds >= s), (1e-9, "ns")
    )
    return f"{seconds / size:.3g} {unit}"
