"""The memory of training steps: what `nnx.memory` foresees, and what the process really held.

On the CPU this must run in a process of its own that has done nothing large before: memory that
an earlier network gave back to the process would not be seen to be taken again.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.benchmarks.findings import MemoryUse, Shape
from nnx.benchmarks.settings import N_X, N_Y
from nnx.memory import bytes_of_example, demand, step_kind

_STATUS, _REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_STEPS = 2


def measure_memory(shapes: Sequence[Shape], optimizer: str) -> list[MemoryUse]:
    """Measure each shape; on the CPU one alone in a process."""
    return [_memory(shape, optimizer) for shape in shapes]


def _memory(shape: Shape, optimizer: str) -> MemoryUse:
    """Take steps over m examples on the device, and see how much more memory that needed.

    Counted are the parameters, the gradient, the optimizer's state, X and Y, and what a step
    works in.
    """
    backend = get_backend(shape.device)
    small = replace(shape, m=512, n_h=32)
    _take_steps(_network(small), small, optimizer)  # loads and compiles what all steps need
    gc.collect()
    with _peak_of(backend) as (begin, peak, how):
        net = _network(shape)
        begin()  # what drawing the weights takes for a moment is no part of a step
        held = _take_steps(net, shape, optimizer)
        measured = peak()
    del held
    kind = step_kind(net)
    slots = len(getattr(nnx, optimizer)().rule.slots)
    data = shape.m * bytes_of_example(net, labels=True)
    foreseen = demand(
        net, [shape.m], kind=kind, slots=slots, labels=True, gathered=False, data=data
    )
    # The copy for going back is made by `fit` alone.
    return MemoryUse(shape, foreseen.total - foreseen.undo, max(measured, 1), how)


def _network(shape: Shape) -> nnx.Network:
    sizes = [N_X, *[shape.n_h] * shape.layers, N_Y]
    return nnx.MLP(sizes, device=shape.device, dtype=shape.dtype)


def _take_steps(net: nnx.Network, shape: Shape, optimizer: str) -> Any:
    """Draw data and take steps; return all that they hold."""
    rng = np.random.default_rng(0)
    # Drawn in place and in the network's dtype: no second copy.
    drawn = np.empty((shape.m, N_X), shape.dtype)
    rng.standard_normal(out=drawn, dtype=drawn.dtype.type)
    X, Y = net.backend.asarray(drawn.T), net.backend.asarray(rng.integers(0, N_Y, shape.m))
    step = nnx.TrainingStep(net, shape.m, getattr(nnx, optimizer)(learning_rate=1e-6))
    for _ in range(_STEPS):
        step(X, Y)
    net.backend.synchronize()
    return step, X, Y


@contextmanager
def _peak_of(backend: Backend) -> Iterator[tuple[Callable[[], Any], Callable[[], int], str]]:
    """Give two functions and how they know what they know.

    The first begins to look for the most bytes held; the second tells by how much that is more
    than what was held before the block.
    """
    if backend.device != "cpu":
        # A graph keeps what it works in, so that nothing of it is gone when it has run.
        used = backend.memory().used
        how = "arrays in use on the device after the steps"
        yield lambda: None, lambda: backend.memory().used - used, how
    elif (before := _resident()) is not None:
        how = "resident memory at its highest"
        yield _forget_highest, lambda: (_resident("VmHWM") or before) - before, how
    else:
        tracemalloc.start()
        try:
            how = "NumPy's allocations at their highest"
            yield tracemalloc.reset_peak, lambda: tracemalloc.get_traced_memory()[1], how
        finally:
            tracemalloc.stop()


def _resident(name: str = "VmRSS") -> int | None:
    """Resident bytes now, or ("VmHWM") at their highest; None but on Linux."""
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        return 1024 * int(lines[name].split()[0])
    except (OSError, KeyError):
        return None


def _forget_highest() -> None:
    """Let the highest begin anew: proc(5), clear_refs."""
    with suppress(OSError):  # then it is the highest since the process began, no less
        _REFS.write_text("5")
