"""Cells for the tests; in a module that the worker processes can import too."""

import os
import time

import scipy.linalg  # noqa: F401 (SciPy has a BLAS of its own)
from threadpoolctl import threadpool_info

from nnx.backends import engine
from nnx.errors import DataError


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def square(key):
    return {"square": key["n"] ** 2}


def where(key):
    time.sleep(0.05)
    threads = set(blas_threads())
    return {"threads": sorted(threads), "workers": engine.count_workers(), "process": os.getpid()}


def fail_at_seven(key):
    if key["n"] == 7:
        raise DataError("seven")
    return square(key)
