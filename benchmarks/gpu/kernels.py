"""Compile every kernel of nnx for this GPU, in as many processes as there are cores.

CuPy keeps what it has compiled on disk, so that what follows finds it there. One by one the kernels
of the training step take most of a minute.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from nnx.backends import get_backend
from nnx.backends.cuda.launch import kernel_names, primitive_kernels
from nnx.backends.cuda.step_kernels import FILES, step_kernels, step_names
from nnx.backends.host import usable_cores


def shares(processes: int) -> list[list[str]]:
    """Every kernel once, shared out; those of kernels.cu are compiled together, as one."""
    names = [kernel_names()[0], *(name for file in FILES for name in step_names(file))]
    return [names[start::processes] for start in range(min(processes, len(names)))]


def count() -> int:
    """How many kernels there are."""
    return sum(map(len, shares(1)))


def load(names: Sequence[str]) -> int:
    """Compile kernels; return how many."""
    import cupy

    primitives = kernel_names()
    with get_backend("cuda").active():
        for name in names:
            (primitive_kernels if name in primitives else step_kernels)(cupy).load(name)
    return len(names)


def main() -> int:
    """Compile, and say how long it took."""
    start, processes = time.perf_counter(), usable_cores()
    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    with ProcessPoolExecutor(processes, context) as pool:
        done = sum(pool.map(load, shares(processes)))
    print(f"{done} kernels in {time.perf_counter() - start:.1f} s by {processes} processes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
