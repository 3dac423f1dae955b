"""The CPU's compiled programs: one training step, or a whole epoch, in one call without Python.

`assembler` writes instructions, `interpreter` runs them, `workers` are the threads that do, and
`blas` finds the matrix products that NumPy itself uses. Importing this package does not import
Numba; the other modules do.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import sys
from functools import cache
from pathlib import Path

from nnx.backends.engine.blas import find_blas
from nnx.backends.host import usable_cores

_LOADED_SECONDS, _CACHED_SECONDS, _COMPILED_SECONDS = 0.0, 0.5, 10.0


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


def count_workers() -> int:
    """Return how many threads a program may use: the cores, or fewer where BLAS was given fewer."""
    blas = find_blas()
    return max(1, min(usable_cores(), blas.get_threads() if blas is not None else 1))


def seconds_to_load() -> float:
    """Return about how long the first program of this process has to wait for Numba.

    It compiles once for each version and machine, and keeps the result in its cache.
    """
    if "nnx.backends.engine.workers" in sys.modules:
        return _LOADED_SECONDS
    return _CACHED_SECONDS if _has_compiled_before() else _COMPILED_SECONDS


@cache
def _has_compiled_before() -> bool:
    """Whether Numba's cache holds a program's code; looked up once, it is asked for often."""
    return any((Path(__file__).parent / "__pycache__").glob("interpreter.run-*.nbi"))


def forget_stale_code() -> None:
    """Remove compiled code that is older than any source of this package.

    Numba's cache only looks at the file of the function itself, not at those that it calls.
    """
    here = Path(__file__).parent
    newest = max(path.stat().st_mtime for path in here.glob("*.py"))
    for index in (here / "__pycache__").glob("*.nbi"):
        if index.stat().st_mtime < newest:
            index.unlink(missing_ok=True)
