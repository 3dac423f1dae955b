"""The BLAS that NumPy itself is linked with: addresses of its matrix products, and its threads.

Calling it by address from compiled code costs no Python, and no second BLAS is loaded. SciPy may
bring one of its own, whose threads can be kept quiet.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from nnx.backends.errors import DataError, unknown_name

# (cblas names with a place for "s" or "d", set threads, get threads, name of the processor's
# kernels, whether integers are 64-bit)
_NAMES = tuple(
    (
        f"{prefix}cblas_{{}}gemm{suffix}",
        f"{prefix}openblas_set_num_threads{suffix}",
        f"{prefix}openblas_get_num_threads{suffix}",
        f"{prefix}openblas_get_corename{suffix}",
        suffix == "64_",
    )
    for prefix in ("scipy_", "")
    for suffix in ("64_", "")
) + (("cblas_{}gemm", "MKL_Set_Num_Threads", "MKL_Get_Max_Threads", "", False),)
_MKL_SEQUENTIAL = 1  # MKL_THREADING_SEQUENTIAL of mkl_service.h

NUMPY, SCIPY_LBFGS = "numpy._core._multiarray_umath", "scipy.optimize._lbfgsb"

_lock = threading.Lock()
_inside = threading.local()  # depth: blocks of `single_thread` that this thread is in
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
    core : str
        OpenBLAS's name of the processor whose kernels it has chosen; "" where it is not known.
    """

    gemm: dict[str, int]
    wide: bool
    set_threads: Callable[[int], object]
    get_threads: Callable[[], int]
    core: str = ""

    def single_thread(self) -> SingleThread:
        """Let products run in the calling thread only, in a `with` block.

        OpenBLAS's other threads spin for about 0.1 s after a product that they shared, on the
        cores that the workers of a program need. So hold this over a whole training run.
        """
        held = _held.setdefault(self.gemm["float32"], [])
        return SingleThread(held, self.set_threads, self.get_threads)

    def own_threads(self) -> int:
        """Return how many threads products have, whatever other threads hold at the moment.

        One inside a block of `single_thread` of this thread.
        """
        if getattr(_inside, "depth", 0):
            return 1
        with _lock:
            held = _held.get(self.gemm["float32"])
            return held[0] if held else self.get_threads()


class SingleThread(NamedTuple):
    """The block of `Blas.single_thread`; it can be entered again and again, by several threads.

    Several threads may train at once: the first takes the other threads away, the last gives
    them back. A class, since a generator would take longer than a small step.
    """

    held: list[int]
    set_threads: Callable[[int], object]
    get_threads: Callable[[], int]

    def __enter__(self) -> None:
        _inside.depth = getattr(_inside, "depth", 0) + 1
        with _lock:
            before = 1 if self.held else self.get_threads()
            if before > 1:
                self.set_threads(1)
            self.held.append(before)

    def __exit__(self, *_: object) -> None:
        _inside.depth -= 1
        with _lock:
            # From the end: the entry that is not 1 is the first, and goes last.
            before = self.held.pop()
            if not self.held and before > 1:
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
    """Look for the products in the libraries that a module has loaded; None where that fails.

    The environment variable NNX_BLAS=mkl takes those of NumPy from MKL instead (`pip install mkl`).

    Raises
    ------
    DataError
        Where NNX_BLAS names something else, or MKL cannot be loaded.
    """
    found = _blas_of(module)
    wanted = os.environ.get("NNX_BLAS", "").strip().lower()
    if module != NUMPY or wanted in ("", "numpy"):
        return found
    if wanted != "mkl":
        raise unknown_name("NNX_BLAS", wanted, ("numpy", "mkl"))
    mkl = _load_mkl()
    if found is None:
        return mkl
    # The threads that could get into the workers' way are still those of NumPy's own products.
    return mkl._replace(set_threads=found.set_threads, get_threads=found.get_threads)


def _blas_of(module: str) -> Blas | None:
    try:
        library = ctypes.CDLL(import_module(module).__file__)
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
    library: ctypes.CDLL, gemm: str, set_threads: str, get_threads: str, core: str, wide: bool
) -> Blas | None:
    """The functions of these names; None where the library has other ones."""
    try:
        gemms = {
            dtype: ctypes.cast(getattr(library, gemm.format(letter)), ctypes.c_void_p).value or 0
            for dtype, letter in (("float32", "s"), ("float64", "d"))
        }
        threads = getattr(library, set_threads), getattr(library, get_threads)
    except AttributeError:
        return None
    name = ""
    if core and hasattr(library, core):
        read_core = getattr(library, core)
        read_core.restype = ctypes.c_char_p
        name = read_core().decode()
    return Blas(gemms, wide, *threads, name)
