"""Threads that wait for a number to grow, and whoever makes it grow: all in compiled code.

A thread that waits spins for a moment, as long as the others are late while each has a core of its
own. After that it sleeps: then the system sees that its core is free, and can give it to whoever is
being waited for.

A gate is what sleepers lie behind: a mutex and a condition of the C library, the addresses of the
functions that work on them (they differ from process to process, and compiled code is kept on
disk), and how many sleep.
"""

from __future__ import annotations

import ctypes

import numpy as np

from nnx.backends.engine.exponential import inner
from nnx.backends.engine.lowlevel import (
    atomic_add,
    atomic_load,
    call_1,
    call_2,
    integers,
    pause,
)

SPINS = 5_000  # about 0.1 ms: longer than any worker is late while each has a core
# Where a gate's numbers stand.
(_SLEEPERS, _MUTEX, _CONDITION, _LOCK, _TRY_LOCK, _UNLOCK, _WAIT, _BROADCAST, _NUMBERS) = range(9)
_LINE = 128  # bytes: more than a mutex or a condition takes, and no two in one cache line
_LIBRARY = ctypes.CDLL(None)


class Gate:
    """A gate, which must live as long as anyone may wait at it.

    Attributes
    ----------
    address : int
    """

    def __init__(self) -> None:
        # The numbers, the mutex and the condition, each in a line of its own: whoever looks for
        # sleepers disturbs nobody.
        self._memory = np.zeros(4 * _LINE, np.uint8)
        start = self._memory.ctypes.data
        self.address = start + -start % _LINE
        mutex, condition = self.address + _LINE, self.address + 2 * _LINE
        # The numbers as compiled code reads them.
        numbers = (ctypes.c_int64 * _NUMBERS).from_address(self.address)
        numbers[:] = [0, mutex, condition, *map(_address_of, _FUNCTIONS)]
        for name, memory in (("mutex", mutex), ("cond", condition)):
            status = getattr(_LIBRARY, f"pthread_{name}_init")(ctypes.c_void_p(memory), None)
            if status:
                raise OSError(status, f"pthread_{name}_init failed")


_FUNCTIONS = ("mutex_lock", "mutex_trylock", "mutex_unlock", "cond_wait", "cond_broadcast")


def _address_of(name: str) -> int:
    return ctypes.cast(getattr(_LIBRARY, f"pthread_{name}"), ctypes.c_void_p).value or 0


@inner()
def try_lock(gate):
    """Take the gate's mutex if it is free; return whether it was."""
    return call_1(integers(gate)[_TRY_LOCK], integers(gate)[_MUTEX]) == 0


@inner()
def unlock(gate):
    """Give the gate's mutex back."""
    call_1(integers(gate)[_UNLOCK], integers(gate)[_MUTEX])


@inner()
def wait_until(number, target, gate, spins):
    """Wait until the int64 at `number` is `target` or more; whoever adds to it calls `wake`."""
    for _ in range(spins):
        if atomic_load(number) >= target:
            return
        pause()
    g = integers(gate)
    call_1(g[_LOCK], g[_MUTEX])
    # First counted, then looked again: whoever adds looks for sleepers after adding, so one of the
    # two sees the other.
    atomic_add(gate + 8 * _SLEEPERS, 1)
    while atomic_load(number) < target:
        call_2(g[_WAIT], g[_CONDITION], g[_MUTEX])
    atomic_add(gate + 8 * _SLEEPERS, -1)
    unlock(gate)


@inner()
def wake(gate):
    """Let those who sleep at the gate look again."""
    if atomic_load(gate + 8 * _SLEEPERS) > 0:
        g = integers(gate)
        call_1(g[_LOCK], g[_MUTEX])
        call_1(g[_BROADCAST], g[_CONDITION])
        unlock(gate)
