"""Cells that compute in one thread: the sum of a product depends on how many threads share it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from nnx.backends import engine
from nnx.backends.engine.blas import NUMPY, SCIPY_LBFGS, find_blas


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in the calling thread only; several threads may be within at once.

    Compiled steps have as many workers as NumPy's products have threads: one.
    """
    with ExitStack() as stack:
        for module in (NUMPY, SCIPY_LBFGS):
            blas = find_blas(module)
            if blas is not None:
                stack.enter_context(blas.single_thread())
        yield


@cache
def computed_by() -> dict[str, str]:
    """Tell what decides the last digits of a result: versions, and the processor's kernels."""
    blas = find_blas()
    compiled = engine.why_unusable() is None
    names = ("nnx-learn", "numpy", "scikit-learn", *(("numba",) if compiled else ()))
    found = {name: _version(name) for name in names}
    steps = "compiled" if compiled else "primitives"
    return {**found, "blas": blas.core if blas is not None else "", "steps": steps}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
