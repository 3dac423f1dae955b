"""What a device can do at best, measured: the rate of matrix products and the speed of memory."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nnx.backends.base import Backend
from nnx.backends.cpu import CpuBackend

Array = Any
_SIDE = 2048  # of the square product
_REPEATS = 5
_DRAWN = 1_000_003
SIZES = (1 << 20, 1 << 24, 1 << 27)  # bytes moved: within caches, around them, far beyond them


@dataclass(frozen=True)
class Limits:
    """The best that was seen of a device.

    Attributes
    ----------
    flop_per_second : float
        Of a large square product, two for each multiply-add.
    bytes_per_second : tuple of (int, float)
        Of a copy that moves so many bytes in all (read and written), rising sizes; on the CPU all
        cores copy at once.
    """

    flop_per_second: float
    bytes_per_second: tuple[tuple[int, float], ...]

    def seconds(self, flop: int, moved: int) -> float:
        """The least time of an operation (roofline): its arithmetic or its traffic, the longer."""
        sizes, rates = zip(*self.bytes_per_second, strict=True)
        rate = float(np.exp(np.interp(np.log(max(moved, 1)), np.log(sizes), np.log(rates))))
        return max(flop / self.flop_per_second, moved / rate)


@cache
def measure_limits(backend: Backend, dtype: str) -> Limits:
    """Measure once per process: about half a second on a CPU, a few milliseconds on a GPU."""
    product = min(product_timings(backend, dtype, _SIDE, _REPEATS))
    rates = tuple((size, size / min(copy_timings(backend, size, _REPEATS))) for size in SIZES)
    return Limits(2 * _SIDE**3 / product, rates)


def product_timings(backend: Backend, dtype: str, side: int, repeats: int) -> list[float]:
    """Seconds of a product of two square matrices, 2 side^3 FLOP, so many times."""
    with backend.active():
        A, B, C = (backend.empty((side, side), dtype) for _ in range(3))
        # On a GPU equal numbers draw less power than others, and so run at higher clocks.
        numbers = np.random.default_rng(0).standard_normal(_DRAWN, np.float32)
        for number, X in enumerate((A, B)):
            X[...] = backend.asarray(np.resize(numbers[number:], (side, side)), dtype)
        return _timings(backend, lambda: _multiply(backend, A, B, C), repeats)


def _multiply(backend: Backend, A: Array, B: Array, C: Array) -> None:
    try:
        backend.xp.matmul(B.T, A.T, out=C.T)
    except TypeError:  # the Array API's matmul has no `out`
        backend.xp.matmul(B.T, A.T)


def copy_timings(backend: Backend, size: int, repeats: int) -> list[float]:
    """Seconds of a copy that moves `size` bytes in all, so many times; on the CPU by all cores."""
    workers = 1
    if isinstance(backend, CpuBackend):
        from nnx.backends.engine import count_workers

        workers = count_workers()
    count = size // (2 * workers * 4)  # float32 numbers of each worker, read and written
    copies = max(SIZES[-1] // size, 1)  # so that starting the workers counts for nothing

    def copy(pair: tuple[Array, Array]) -> None:
        for _ in range(copies):
            pair[1][...] = pair[0]

    with backend.active():
        pairs = [(backend.zeros((count,)), backend.zeros((count,))) for _ in range(workers)]
        if workers == 1:
            found = _timings(backend, lambda: copy(pairs[0]), repeats)
        else:
            with ThreadPoolExecutor(workers) as pool:
                found = _timings(backend, lambda: list(pool.map(copy, pairs)), repeats)
    return [seconds / copies for seconds in found]


def _timings(backend: Backend, call: Any, repeats: int) -> list[float]:
    """Several timings of a call in seconds, after one that does not count."""
    call()
    found = []
    for _ in range(repeats):
        backend.synchronize()
        start = time.perf_counter()
        call()
        backend.synchronize()
        found.append(time.perf_counter() - start)
    return found
