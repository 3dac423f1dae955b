"""Timing of several functions in turn, sample by sample, with the backend's own timer."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nnx.backends import Backend
from nnx.benchmarks.cell import Timing

Call = Callable[[], object]

MINIMUM_SAMPLES = 5
_MOST_REPEATS = 100_000


@dataclass(frozen=True)
class Sampling:
    """How long and how often to measure.

    Attributes
    ----------
    samples : int
        Samples wanted of each function.
    sample_seconds : float
        Least length of a sample; a shorter function is repeated within it.
    limit_seconds : float
        Once this is used up no further sample starts, beyond the first five.
    """

    samples: int
    sample_seconds: float
    limit_seconds: float


def timed(backend: Backend, call: Call, repeats: int) -> float:
    """Seconds that `repeats` calls take on the device (CUDA events on a GPU)."""
    with backend.timer() as timer:
        for _ in range(repeats):
            call()
    return float(timer.seconds)


def calibrate(backend: Backend, call: Call, sample_seconds: float) -> int:
    """Repeats that make one sample last at least about `sample_seconds`.

    The calls made on the way are also the warm-up: kernels are compiled, plans made,
    memory pools filled.
    """
    timed(backend, call, 1)
    repeats = 1
    while True:
        seconds = timed(backend, call, repeats)
        if seconds >= sample_seconds or repeats >= _MOST_REPEATS:
            return repeats
        # Ten-fold at most: the first timings of a fast call are mostly overhead.
        wanted = 1.2 * repeats * sample_seconds / max(seconds, 1e-9)
        repeats = min(math.ceil(wanted), 10 * repeats, _MOST_REPEATS)


def alternate(backend: Backend, calls: Mapping[str, Call], sampling: Sampling) -> dict[str, Timing]:
    """Measure `calls` in turn, one sample each, again and again.

    Taking turns spreads whatever disturbs the machine (other processes, clocks, heat) over
    all of them, so that their ratio stays right.
    """
    start = time.perf_counter()
    repeats = {
        name: calibrate(backend, call, sampling.sample_seconds) for name, call in calls.items()
    }
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(max(sampling.samples, 1)):
        late = time.perf_counter() - start > sampling.limit_seconds
        if late and number >= min(MINIMUM_SAMPLES, sampling.samples):
            break
        for name, call in calls.items():
            samples[name].append(timed(backend, call, repeats[name]) / repeats[name])
    return {name: Timing(repeats[name], tuple(samples[name])) for name in calls}
