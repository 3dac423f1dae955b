"""The threads that run programs: the caller is worker 0, the others wait for the next program.

A program is a job for each worker; barriers cut the jobs into phases, and a phase begins when all
jobs have ended the one before. Whoever runs a phase of a job claims it first: its own worker where
that is there, otherwise any worker that has nothing left to do. So one that has lost its core to
another process, or that still sleeps, holds nobody up; and what is computed does not depend on who
computes it.

A worker that waits spins for a short while, so that a program that follows at once finds it awake;
after that it sleeps. A run is one call of compiled code, from waking the others to the end of the
last phase: nothing that interrupts Python (Ctrl-C) can come in between. Where another thread's
program has the workers, the caller runs all jobs itself and waits for nobody.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numba import njit, types

from nnx.backends.engine.exponential import inner
from nnx.backends.engine.interpreter import begin, phase_address
from nnx.backends.engine.lowlevel import (
    atomic_add,
    atomic_load,
    atomic_replace,
    atomic_store,
    call_1,
    integers,
)
from nnx.backends.engine.waiting import SPINS, Gate, try_lock, unlock, wait_until, wake

_IDLE_SPINS = 4 * SPINS  # about half a millisecond
_LINE = 128  # bytes between numbers that several threads write: no two in one cache line
# Where a pool's numbers stand, each in a line of its own: runs begun, phases ended (of all jobs, in
# all runs), phases of the runs so far with the one under way, the gates; then for each worker how
# many phases of its jobs have been claimed, and the job of the run under way.
_STARTED, _ENDED, _LAST, _GATES, _OWN = range(5)
_CLAIMED, _JOB = range(2)
_DOOR, _MEETING, _TURN = range(3)  # gates: of idle workers, of phases, of runs


@inner()
def _take_part(pool, worker, phase, count, run_phase):
    """Run phases as long as there are any, from this one on."""
    meeting = integers(pool + _GATES * _LINE)[_MEETING]
    while phase < atomic_load(pool + _LAST * _LINE):
        for step in range(count):
            own = pool + (_OWN + (worker + step) % count) * _LINE
            # Looked at before it is written to: mostly its worker has it already.
            if atomic_load(own) == phase and atomic_replace(own, phase, phase + 1):
                call_1(run_phase, integers(own)[_JOB])
                if atomic_add(pool + _ENDED * _LINE, 1) + 1 == (phase + 1) * count:
                    wake(meeting)
        wait_until(pool + _ENDED * _LINE, (phase + 1) * count, meeting, SPINS)
        phase += 1


@njit(nogil=True, cache=True)
def _serve(pool, worker, count, run_phase):
    """Take part in one run after another, for ever."""
    door, seen = integers(pool + _GATES * _LINE)[_DOOR], 0
    while True:
        wait_until(pool + _STARTED * _LINE, seen + 1, door, _IDLE_SPINS)
        seen = atomic_load(pool + _STARTED * _LINE)
        # A late worker looks at the phase that all have reached, which may be of a later run.
        _take_part(pool, worker, atomic_load(pool + _ENDED * _LINE) // count, count, run_phase)


@njit(nogil=True, cache=True)
def _run(pool, jobs, phases, count, run_phase, one):
    """Run the jobs, whose addresses lie at `jobs`; return when all have ended."""
    job = integers(jobs)
    for worker in range(count):
        begin(job[worker], one)
    turn = 0 if pool == 0 else integers(pool + _GATES * _LINE)[_TURN]
    if pool == 0 or not try_lock(turn):
        for _ in range(phases):
            for worker in range(count):
                call_1(run_phase, job[worker])
        return
    for worker in range(count):
        integers(pool + (_OWN + worker) * _LINE)[_JOB] = job[worker]
    first = integers(pool + _LAST * _LINE)[0]
    # From here on a phase can be claimed: all that it needs has been written.
    atomic_store(pool + _LAST * _LINE, first + phases)
    atomic_add(pool + _STARTED * _LINE, 1)
    wake(integers(pool + _GATES * _LINE)[_DOOR])
    _take_part(pool, 0, first, count, run_phase)
    unlock(turn)


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
        self._phase = phase_address(dtype)
        self._gates = [Gate() for _ in range(3)]
        self._words = np.zeros((_OWN + count, _LINE // 8), np.int64)
        self._words[_GATES, :3] = [gate.address for gate in self._gates]
        self._pool = self._words.ctypes.data if count > 1 else 0
        for worker in range(1, count):
            threading.Thread(
                target=self._serve, args=(worker,), name=f"nnx-worker-{worker}", daemon=True
            ).start()

    def _serve(self, worker: int) -> None:
        # A method, so that the thread keeps the memory that it looks at.
        _serve(self._pool, worker, self.count, self._phase)

    def run(self, jobs: Any, phases: int) -> None:
        """Run jobs of so many phases, one for each worker; return when all have ended.

        jobs : int64 array (count,)
            Their addresses.
        """
        _run(self._pool, jobs.ctypes.data, phases, self.count, self._phase, self._one)


def is_cached() -> bool:
    """Return whether Numba's cache on disk holds the code of runs, for both dtypes."""
    try:
        runs, service = (f._cache._cache_file._load_index() for f in (_run, _serve))
    except AttributeError:  # a Numba that keeps its cache in another way
        return True
    return len(runs) >= 2 and len(service) >= 1


def compile_all() -> None:
    """Compile all that runs need, and leave it in Numba's cache."""
    for number in (types.float32, types.float64):
        phase_address(number.name)
        _run.compile((*(types.int64,) * 5, number))
    _serve.compile((types.int64,) * 4)


_pools: dict[tuple[int, str], Workers] = {}
_making = threading.Lock()


def get_workers(count: int, dtype: str) -> Workers:
    """Return the workers of this process, made at the first call."""
    pool = _pools.get((count, dtype))
    if pool is None:
        with _making:
            pool = _pools.get((count, dtype))
            if pool is None:
                pool = _pools[count, dtype] = Workers(count, dtype)
    return pool


def _forget_pools() -> None:
    global _making
    _making = threading.Lock()  # another thread of the parent may have held it
    for pool in _pools.values():
        pool.orphaned = True
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pools)
