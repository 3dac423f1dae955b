"""The host's cores and memory, from what the operating system tells without extra libraries."""

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
    free : int or None
        Of the device, None where it is not known.
    total : int
        Of the device.
    peak : int or None
        The highest `used` so far, where it is known.
    """

    used: int
    free: int | None
    total: int
    peak: int | None


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def host_memory() -> Memory:
    """Return this process's and the machine's memory figures.

    What is not known is zero, and None for `free`. `free` counts what the system would give back
    from its file cache, and on Linux no more than what the limit of a container (cgroup v2) leaves.
    """
    import sys

    try:
        import resource
    except ImportError:  # Windows
        return Memory(0, None, 0, None)

    page = os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[1]) * page
        free = int(min(_available(), _left_in_cgroup()))
    except (OSError, ValueError):  # not Linux: the peak is the nearest figure that is known
        used, free = peak, None
    return Memory(used, free, os.sysconf("SC_PHYS_PAGES") * page, peak)


def _available() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _left_in_cgroup(folder: str = "/sys/fs/cgroup") -> float:
    """Bytes below the container's limit, its file cache counted as free; no limit is infinity."""
    try:
        with open(f"{folder}/memory.max", encoding="ascii") as file:
            limit = int(file.read())
        with open(f"{folder}/memory.current", encoding="ascii") as file:
            used = int(file.read())
        with open(f"{folder}/memory.stat", encoding="ascii") as file:
            stat = dict(line.split() for line in file)
    except (OSError, ValueError):  # there is none, or it says "max"
        return float("inf")
    return max(0, limit - used + int(stat.get("inactive_file", 0)))
