"""The BLAS that NumPy itself is linked with: addresses of its matrix products, and its threads.

Calling it by address from compiled code costs no Python, and no second BLAS is loaded. SciPy may
bring one of its own, whose threads can be kept quiet.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import NamedTuple

# (cblas names with a place for "s" or "d", set threads, get threads, whether integers are 64-bit)
_NAMES = (
    (
        "scipy_cblas_{}gemm64_",
        "scipy_openblas_set_num_threads64_",
        "scipy_openblas_get_num_threads64_",
        True,
    ),
    (
        "scipy_cblas_{}gemm",
        "scipy_openblas_set_num_threads",
        "scipy_openblas_get_num_threads",
        False,
    ),
    ("cblas_{}gemm64_", "openblas_set_num_threads64_", "openblas_get_num_threads64_", True),
    ("cblas_{}gemm", "openblas_set_num_threads", "openblas_get_num_threads", False),
    ("cblas_{}gemm", "MKL_Set_Num_Threads", "MKL_Get_Max_Threads", False),
)

NUMPY, SCIPY_LBFGS = "numpy._core._multiarray_umath", "scipy.optimize._lbfgsb"

_lock = threading.Lock()
# For each BLAS, by the address of its sgemm: an entry for each user of `Blas.single_thread`, the
# first of which is the number of threads before.
_held: dict[int, list[int]] = {}


class Blas(NamedTuple):
    """What was found.

    Attributes
    ----------
    gemm : dict of int
        Address of cblas_sgemm and cblas_dgemm, by dtype name.
    wide : bool
        Whether its integers have 64 bits.
    set_threads, get_threads : callable
        The number of threads that one product uses.
    """

    gemm: dict[str, int]
    wide: bool
    set_threads: Callable[[int], object]
    get_threads: Callable[[], int]

    @contextmanager
    def single_thread(self) -> Iterator[None]:
        """Let products run in the calling thread only.

        OpenBLAS's other threads spin for about 0.1 s after a product that they shared, on the
        cores that the workers of a program need. So hold this over a whole training run.
        """
        # Several threads may train at once: the first takes the other threads away, the last
        # gives them back.
        held = _held.setdefault(self.gemm["float32"], [])
        with _lock:
            before = 1 if held else self.get_threads()
            if before > 1:
                self.set_threads(1)
            held.append(before)
        try:
            yield
        finally:
            with _lock:
                # From the end: the entry that is not 1 is the first, and goes last.
                before = held.pop()
                if not held and before > 1:
                    self.set_threads(before)


@contextmanager
def scipy_in_one_thread() -> Iterator[None]:
    """Keep the threads of SciPy's own BLAS from spinning between the calls of an optimizer."""
    blas = find_blas(SCIPY_LBFGS)
    if blas is None:
        yield
        return
    with blas.single_thread():
        yield


@cache
def find_blas(module: str = NUMPY) -> Blas | None:
    """Look for the products in the libraries that a module has loaded; None where that fails."""
    try:
        library = ctypes.CDLL(import_module(module).__file__)
    except (ImportError, OSError):
        return None
    for gemm, set_threads, get_threads, wide in _NAMES:
        try:
            gemms = {
                dtype: getattr(library, gemm.format(letter))
                for dtype, letter in (("float32", "s"), ("float64", "d"))
            }
            controls = getattr(library, set_threads), getattr(library, get_threads)
        except AttributeError:
            continue
        by_dtype = {
            dtype: ctypes.cast(function, ctypes.c_void_p).value or 0
            for dtype, function in gemms.items()
        }
        return Blas(by_dtype, wide, *controls)
    return None
