"""Timing of several contenders in turn, sample by sample, with the backend's own timer.

Every sample begins with calls that are not timed, until a call takes as long as it will go on
to take: the first ones wake sleeping threads and bring the data back into the caches.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from nnx.backends import Backend
from nnx.benchmarks.cell import Timing

Call = Callable[[], object]

MINIMUM_SAMPLES = 3
_MOST_REPEATS = 100_000
# Warming up ends when this many calls in a row took about as long as the fastest: more than the
# five slow ones that were seen after other threads had had the cores.
_SETTLED_CALLS, _SETTLED = 6, 1.1


@dataclass(frozen=True)
class Sampling:
    """How long and how often to measure.

    Attributes
    ----------
    samples : int
        Samples wanted of each contender.
    sample_seconds : float
        Least length of a sample; a shorter call is repeated within it.
    limit_seconds : float
        Once this is used up no further sample starts, beyond the first three.
    warm_seconds : float
        Most time that the untimed calls before a sample may take.
    """

    samples: int
    sample_seconds: float
    limit_seconds: float
    warm_seconds: float = 0.02


class Contender(Protocol):
    """Something to be timed, in this process or in one of its own."""

    def calibrate(self, sample_seconds: float) -> int:
        """Return the calls that fill a sample."""
        ...

    def seconds(self, repeats: int, warm_seconds: float) -> float:
        """Take a sample, and return the seconds of one call."""
        ...


class Local:
    """A contender in this process."""

    def __init__(self, backend: Backend, call: Call) -> None:
        self._backend, self._call = backend, call

    def calibrate(self, sample_seconds: float) -> int:
        """Return the calls that fill a sample."""
        return calibrate(self._backend, self._call, sample_seconds)

    def seconds(self, repeats: int, warm_seconds: float) -> float:
        """Take a sample, and return the seconds of one call."""
        warm_up(self._backend, self._call, warm_seconds)
        return timed(self._backend, self._call, repeats) / repeats


def timed(backend: Backend, call: Call, repeats: int) -> float:
    """Seconds that `repeats` calls take on the device (CUDA events on a GPU)."""
    with backend.timer() as timer:
        for _ in range(repeats):
            call()
    return float(timer.seconds)


def warm_up(backend: Backend, call: Call, most_seconds: float) -> None:
    """Call until the time of a call has settled, or `most_seconds` have passed."""
    start = now = time.perf_counter()
    fastest, settled = math.inf, 0
    while settled < _SETTLED_CALLS and now - start < most_seconds:
        before = now
        call()
        backend.synchronize()
        now = time.perf_counter()
        seconds = now - before
        if seconds * _SETTLED < fastest:
            settled = 1  # those before it were slow ones
        else:
            settled = settled + 1 if seconds <= _SETTLED * fastest else 0
        fastest = min(fastest, seconds)


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


def alternate(contenders: Mapping[str, Contender], sampling: Sampling) -> dict[str, Timing]:
    """Measure `contenders` in turn, one sample each, again and again.

    Taking turns spreads whatever disturbs the machine (other processes, clocks, heat) over
    all of them, so that their ratio stays right.
    """
    start = time.perf_counter()
    repeats = {name: one.calibrate(sampling.sample_seconds) for name, one in contenders.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    # A call that fills a sample alone has nothing to warm up: its beginning hardly counts.
    warm = {name: sampling.warm_seconds if repeats[name] > 1 else 0.0 for name in contenders}
    for number in range(max(sampling.samples, 1)):
        late = time.perf_counter() - start > sampling.limit_seconds
        if late and number >= min(MINIMUM_SAMPLES, sampling.samples):
            break
        for name, one in contenders.items():
            samples[name].append(one.seconds(repeats[name], warm[name]))
    return {name: Timing(repeats[name], tuple(samples[name])) for name in contenders}
