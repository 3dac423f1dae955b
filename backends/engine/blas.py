"""The BLAS that NumPy itself is linked with: addresses of its matrix products, and its threads.

Calling it by address from compiled code costs no Python, and no second BLAS is loaded.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from nnx.backends.errors import DataError, unknown_name

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

_MKL_SEQUENTIAL = 1  # MKL_THREADING_SEQUENTIAL of mkl_service.h

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

    def single_thread(self) -> SingleThread:
        """Let products run in the calling thread only, in a `with` block.

        OpenBLAS's other threads spin for about 0.1 s after a product that they shared, on the
        cores that the workers of a program need. So hold this over a whole training run.
        """
        return SingleThread(self.set_threads, self.get_threads)


class SingleThread(NamedTuple):
    """The block of `Blas.single_thread`; it can be entered again and again, by several threads.

    Several threads may train at once: the first takes the other threads away, the last gives
    them back. A class, since a generator would take longer than a small step.
    """

    set_threads: Callable[[int], object]
    get_threads: Callable[[], int]

    def __enter__(self) -> None:
        with _lock:
            if not _held:
                _before.append(self.get_threads())
                if _before[-1] > 1:
                    self.set_threads(1)
            _held.append(1)

    def __exit__(self, *_: object) -> None:
        with _lock:
            _held.pop()
            if not _held and (before := _before.pop()) > 1:
                self.set_threads(before)


@cache
def find_blas() -> Blas | None:
    """Look for the products in the libraries that NumPy has loaded; None where that fails.

    The environment variable NNX_BLAS=mkl takes them from MKL instead (`pip install mkl`), whatever
    NumPy is linked with.

    Raises
    ------
    DataError
        Where NNX_BLAS names something else, or MKL cannot be loaded.
    """
    numpy_blas = _blas_of_numpy()
    wanted = os.environ.get("NNX_BLAS", "").strip().lower()
    if wanted in ("", "numpy"):
        return numpy_blas
    if wanted != "mkl":
        raise unknown_name("NNX_BLAS", wanted, ("numpy", "mkl"))
    mkl = _load_mkl()
    # The threads that could get into the workers' way are still those of NumPy's own products.
    return (
        mkl
        if numpy_blas is None
        else mkl._replace(set_threads=numpy_blas.set_threads, get_threads=numpy_blas.get_threads)
    )


def _blas_of_numpy() -> Blas | None:
    try:
        library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    except (ImportError, OSError):
        return None
    return next((b for names in _NAMES if (b := _read(library, *names)) is not None), None)


def _load_mkl() -> Blas:
    folder = Path(sys.prefix) / "lib"
    files = [*sorted(folder.glob("libmkl_rt.*"), reverse=True), "libmkl_rt.so.2", "libmkl_rt.so"]
    for file in files:
        try:
            library = ctypes.CDLL(str(file))
        except OSError:
            continue
        library.MKL_Set_Threading_Layer(_MKL_SEQUENTIAL)
        found = _read(library, *_NAMES[-1])
        if found is not None:
            return found
    raise DataError(f"NNX_BLAS is mkl, but libmkl_rt is not in {folder}: pip install mkl")


def _read(
    library: ctypes.CDLL, gemm: str, set_threads: str, get_threads: str, wide: bool
) -> Blas | None:
    """The functions of these names; None where the library has other ones."""
    try:
        gemms = {
            dtype: ctypes.cast(getattr(library, gemm.format(letter)), ctypes.c_void_p).value or 0
            for dtype, letter in (("float32", "s"), ("float64", "d"))
        }
        return Blas(gemms, wide, getattr(library, set_threads), getattr(library, get_threads))
    except AttributeError:
        return None
