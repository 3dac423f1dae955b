"""The threads that run programs: the caller is worker 0, the others wait for the next program.

A waiting worker spins for a short while inside compiled code, so that a program that follows at
once finds it awake and neither of them needs Python's lock; after that it sleeps.

Whoever runs a worker's job claims it first. Where no job waits for another, the caller also runs
those that have not begun when it has ended its own: a worker without a core holds nobody up.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import numpy as np
from numba import njit

from nnx.backends.engine.exponential import inner
from nnx.backends.engine.interpreter import run
from nnx.backends.engine.lowlevel import (
    atomic_add,
    atomic_exchange,
    atomic_load,
    integers,
    pause,
)

_SPINS = 20_000  # about half a millisecond
_LINE = 128  # bytes between numbers that several threads write: no two in one cache line
_ASLEEP, _SEEN, _JOB, _CLAIMED = range(4)  # where a worker's numbers stand


@inner()
def _claim(own):
    """Whether the job of the worker with these numbers is now this thread's alone to run."""
    return atomic_exchange(own + 8 * _CLAIMED, 1) == 0


@njit(nogil=True, cache=True)
def _serve(started, done, own, one):
    """Run job after job; return when none has come for a while, to wait at the door."""
    while True:
        fresh = False
        for _ in range(_SPINS):
            fresh = atomic_load(started) != integers(own)[_SEEN]
            if fresh:
                break
            pause()
        if not fresh:
            atomic_exchange(own + 8 * _ASLEEP, 1)
            # A job may have come just before. Whoever takes the flag back decides: if it is this
            # worker it goes on, otherwise the caller is about to open its door.
            if atomic_load(started) == integers(own)[_SEEN] or not atomic_exchange(
                own + 8 * _ASLEEP, 0
            ):
                return
        integers(own)[_SEEN] += 1
        # A worker that is late may claim the next job before `started` counts it: the job is
        # complete by then. When the count comes, the worker finds its job claimed, and goes on.
        if _claim(own):
            run(integers(own)[_JOB], one)
            atomic_add(done, 1)


@njit(nogil=True, cache=True)
def _lead(job, done, own, others, claims, one):
    """Run the caller's job, and wait until the others have ended theirs.

    own : address of worker 1's numbers; claims : whether to run what no worker has begun.
    """
    run(job, one)
    left = others
    if claims:
        for other in range(others):
            if _claim(own + other * _LINE):
                run(integers(own + other * _LINE)[_JOB], one)
                left -= 1
    while atomic_load(done) < left:
        pause()


@njit(cache=True)
def _start(started, done, own, others):
    """Let the jobs be claimed, then wake who spins; they must be written before."""
    atomic_exchange(done, 0)
    for other in range(others):
        atomic_exchange(own + other * _LINE + 8 * _CLAIMED, 0)
    atomic_add(started, 1)


@njit(cache=True)
def _exchange(address, value):
    return atomic_exchange(address, value)


class Workers:
    """`count` workers for programs of one dtype, the calling thread among them.

    Attributes
    ----------
    count : int
    orphaned : bool
        Whether this is a forked child, which has none of its parent's threads.
    """

    def __init__(self, count: int, dtype: str) -> None:
        self.count, self._one, self.orphaned = count, np.dtype(dtype).type(1), False
        words = np.zeros((2 + count, _LINE // 8), np.int64)
        words[2:, _CLAIMED] = 1  # nobody has a job yet
        self._started, self._done = words[0].ctypes.data, words[1].ctypes.data
        self._own = words[2:]
        self._own_addresses = [row.ctypes.data for row in self._own]
        self._doors = [threading.Semaphore(0) for _ in range(count)]
        self._lock = threading.Lock()
        for worker in range(1, count):
            threading.Thread(
                target=self._work, args=(worker,), name=f"nnx-worker-{worker}", daemon=True
            ).start()

    def run(self, jobs: Sequence[int], independent: bool) -> None:
        """Run the jobs at these addresses, one for each worker; return when all have ended.

        independent : whether no job waits for another.
        """
        if len(jobs) == 1:
            run(jobs[0], self._one)
            return
        others, first = self.count - 1, self._own_addresses[1]
        with self._lock:
            for worker in range(1, self.count):
                self._own[worker, _JOB] = jobs[worker]
            _start(self._started, self._done, first, others)
            for worker in range(1, self.count):
                if self._own[worker, _ASLEEP] and _exchange(self._own_addresses[worker], 0):
                    self._doors[worker].release()
            _lead(jobs[0], self._done, first, others, independent, self._one)

    def _work(self, worker: int) -> None:
        while True:
            _serve(self._started, self._done, self._own_addresses[worker], self._one)
            self._doors[worker].acquire()


_pools: dict[tuple[int, str], Workers] = {}


def get_workers(count: int, dtype: str) -> Workers:
    """Return the workers of this process, made at the first call."""
    if (count, dtype) not in _pools:
        _pools[count, dtype] = Workers(count, dtype)
    return _pools[count, dtype]


def _forget_pools() -> None:
    for pool in _pools.values():
        pool.orphaned = True
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
