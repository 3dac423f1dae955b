"""The BLAS that NumPy itself is linked with: addresses of its matrix products, and its threads.

Calling it by address from compiled code costs no Python, and no second BLAS is loaded.
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
    ("cblas_{}gemm64_", "openblas_set_num_threads64_", "openblas_get_num_threads64_", True),
    ("cblas_{}gemm", "openblas_set_num_threads", "openblas_get_num_threads", False),
    ("cblas_{}gemm", "MKL_Set_Num_Threads", "MKL_Get_Max_Threads", False),
)

_lock = threading.Lock()
_held: list[int] = []  # an entry for each user of `Blas.single_thread`
_before: list[int] = []  # the number of threads before the first of them


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
        with _lock:
            if not _held:
                _before.append(self.get_threads())
                if _before[-1] > 1:
                    self.set_threads(1)
            _held.append(1)
        try:
            yield
        finally:
            with _lock:
                _held.pop()
                if not _held and (before := _before.pop()) > 1:
                    self.set_threads(before)


@cache
def find_blas() -> Blas | None:
    """Look for the products in the libraries that NumPy has loaded; None where that fails."""
    try:
        library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
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
