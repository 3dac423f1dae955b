"""The CPU's compiled programs: one training step, or a whole epoch, in one call without Python.

`assembler` writes instructions, `interpreter` runs them, `workers` are the threads that do, and
`blas` finds the matrix products that NumPy itself uses. Importing this package does not import
Numba; the other modules do.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path

from nnx.backends.engine.blas import find_blas
from nnx.backends.host import usable_cores
from nnx.backends.uninterrupted import uninterrupted


@cache
def why_unusable() -> str | None:
    """Return what keeps steps from being compiled here; None where nothing does."""
    if os.environ.get("NNX_COMPILE", "").strip() == "0":
        return "the environment variable NNX_COMPILE is 0"
    if importlib.util.find_spec("numba") is None:
        return 'Numba is not installed: pip install "nnx-learn[fast]"'
    if platform.system() not in ("Linux", "Darwin"):
        return f"compiled steps are for Linux and macOS, not {platform.system()}"
    if find_blas() is None:
        return "the BLAS that NumPy is linked with was not recognised"
    return None


@cache
def why_not_loaded() -> str | None:
    """Load Numba and what it compiles; return what keeps it from being loaded, or None."""
    try:
        with uninterrupted():
            workers = importlib.import_module("nnx.backends.engine.workers")
        if not workers.is_cached():
            _compile_apart()
    except Exception as error:  # such as a Numba that does not know this NumPy
        return f"Numba cannot be loaded: {error}"
    return None


def _compile_apart() -> None:
    """Fill Numba's cache, in a process of its own.

    Code that was just compiled adds up in another order than the same code from the cache, and the
    first run of a machine is to give the bits of all later ones.
    """
    from multiprocessing.spawn import get_executable

    if getattr(sys, "frozen", False):  # a program in one file, which would start itself
        return
    python = os.fsdecode(get_executable())  # as multiprocessing starts it, also when embedded
    code = "from nnx.backends.engine import workers; workers.compile_all()"
    subprocess.run([python, "-P", "-c", code], capture_output=True)


def count_workers() -> int:
    """Return how many threads a program may use: the cores, or fewer where BLAS was given fewer.

    Not what other threads leave to it at the moment: sums depend on the number of workers.
    """
    blas = find_blas()
    return max(1, min(usable_cores(), blas.own_threads() if blas is not None else 1))


def always_wanted() -> bool:
    """Return whether the environment asks for compiled code in short runs too."""
    return os.environ.get("NNX_COMPILE", "").strip() == "1"


def forget_stale_code() -> None:
    """Remove compiled code that is older than any source of this package.

    Numba's cache only looks at the file of the function itself, not at those that it calls.
    """
    here = Path(__file__).parent
    newest = max(path.stat().st_mtime for path in here.glob("*.py"))
    for index in (here / "__pycache__").glob("*.nbi"):
        if index.stat().st_mtime < newest:
            index.unlink(missing_ok=True)
