"""The memory figures of the host, from what the operating system tells without extra libraries."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Memory:
    """Bytes of a device's memory.

    Attributes
    ----------
    used : int
        This process's arrays where the device can tell them apart (CuPy's pool), else the whole
        process.
    free, total : int
        Of the device.
    peak : int or None
        The highest `used` so far, where it is known.
    """

    used: int
    free: int
    total: int
    peak: int | None


def host_memory() -> Memory:
    """Return this process's and the machine's memory figures (POSIX)."""
    import resource
    import sys

    page = os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
        free = os.sysconf("SC_AVPHYS_PAGES") * page
    except (OSError, ValueError):  # not Linux: the peak is the nearest figure that is known
        used, free = peak, 0
    return Memory(used, free, os.sysconf("SC_PHYS_PAGES") * page, peak)
