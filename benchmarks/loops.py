"""The lecture's first lesson in speed: the same result by a loop and by one vectorized call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend, get_backend
from nnx.benchmarks.calls import synthetic_data
from nnx.benchmarks.findings import LoopTime
from nnx.benchmarks.settings import N_X, N_Y

# The lecture's own number; elsewhere each pass of the loop is a call to the device.
_LECTURE, _FEW = 1_000_000, 10_000
_M, _N_H = 256, 64
_LOOPS, _CALLS = 3, 10


def measure_loops(device: str, thorough: bool = True) -> list[LoopTime]:
    """Time a dot product and a forward pass over examples, each in both forms."""
    backend = get_backend(device)
    found = []
    with backend.active():
        for what, n, loop, vectorized in _pairs(backend, thorough):
            vectorized()  # loads what it needs
            found.append(
                LoopTime(
                    backend.device,
                    what,
                    n,
                    _samples(backend, loop, _LOOPS if thorough else 1),
                    _samples(backend, vectorized, _CALLS),
                )
            )
    return found


def _pairs(
    backend: Backend, thorough: bool
) -> Iterator[tuple[str, int, Callable[[], Any], Callable[[], Any]]]:
    n = _LECTURE if backend.device == "cpu" and thorough else _FEW
    a, b = (np.random.default_rng(seed).random(n) for seed in (0, 1))
    a, b = (backend.asarray(v, "float32") for v in (a, b))

    def dot() -> Any:
        total = 0.0
        for i in range(n):
            total += a[i] * b[i]
        return total

    yield "dot product", n, dot, lambda: backend.xp.vecdot(a, b)

    net = nnx.MLP([N_X, _N_H, N_Y], device=backend)
    X, _ = synthetic_data(backend, _M, "float32", 0)
    columns = [X[:, i : i + 1] for i in range(_M)]

    def forward() -> None:
        for x in columns:
            net.forward(x, check=False)

    yield "forward pass over examples", _M, forward, lambda: net.forward(X, check=False)


def _samples(backend: Backend, call: Callable[[], Any], count: int) -> tuple[float, ...]:
    """Seconds of a call, so many times."""
    found = []
    for _ in range(count):
        backend.synchronize()
        start = time.perf_counter()
        call()
        backend.synchronize()
        found.append(time.perf_counter() - start)
    return tuple(found)
