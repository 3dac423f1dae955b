"""Starts a program: addresses of the batch, learning rates, the workers, and what comes back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnx.backends.engine import interpreter as op
from nnx.backends.engine.blas import find_blas
from nnx.backends.engine.lowlevel import CLOCK_ADDRESS, YIELD_ADDRESS
from nnx.backends.engine.workers import get_workers

Array = Any


class Launch:
    """A program's code with what it needs at run time.

    Parameters
    ----------
    codes : sequence of int64 array (instructions, WIDTH)
        One for each worker.
    constants : sequence of float
    rule : sequence of float
        The rule's number, its constants c0 ... c3, and the penalties l2/m and l1/m.
    m : int
        Examples in a batch.
    dtype : str
    seed : int
        Of the dropout masks.
    row_bytes : tuple of int
        Bytes of one example of X, of Y and of the weights.
    gathered : bool
    """

    def __init__(
        self,
        codes: Sequence[Array],
        constants: Sequence[float],
        rule: Sequence[float],
        *,
        m: int,
        dtype: str,
        seed: int,
        row_bytes: tuple[int, int, int],
        gathered: bool,
    ) -> None:
        blas = find_blas()
        assert blas is not None
        self._blas, self._workers, self._gathered = blas, get_workers(len(codes), dtype), gathered
        kind, count = np.dtype(dtype), len(codes)
        self._codes = list(codes)
        self._constants, self._rule = np.array(constants), np.array(rule, dtype=np.float64)
        self._scalars = [np.array([0, 1, 1 / m, 0], kind) for _ in codes]
        self._slots = np.zeros((count, op.SLOTS), np.int64)
        self._strides = np.zeros(op.SLOTS, np.int64)
        x, y, weight = (size * m for size in row_bytes)
        if gathered:
            self._strides[[op.WEIGHTS, op.INDEX]] = weight, 8 * m
        else:
            self._strides[[op.X, op.Y, op.WEIGHTS]] = x, y, weight
        self._counter = np.zeros(1, np.int64)
        self._totals = np.zeros((count, 2))
        self._jobs = np.zeros((count, op.JOB_WIDTH), np.int64)
        for worker, job in enumerate(self._jobs):
            job[op.SIZE], job[op.SEED] = kind.itemsize, _signed(seed)
            job[op.CODE], job[op.INSTRUCTIONS] = address(codes[worker]), len(codes[worker])
            job[op.POINTERS], job[op.STRIDES] = address(self._slots[worker]), address(self._strides)
            job[op.SCALARS] = address(self._scalars[worker])
            job[op.CONSTANTS], job[op.RULE] = address(self._constants), address(self._rule)
            job[op.GEMM_ADDRESS], job[op.WIDE] = blas.gemm[dtype], blas.wide
            job[op.COUNTER], job[op.WORKERS] = address(self._counter), count
            job[op.CLOCK], job[op.GIVE_WAY] = CLOCK_ADDRESS, YIELD_ADDRESS
            job[op.TOTALS] = address(self._totals[worker])
        self._addresses = [address(job) for job in self._jobs]

    def __call__(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        order: Array | None,
        rates: Array,
        t: int,
        times: Array | None = None,
        shares: Array | None = None,
    ) -> tuple[float, float]:
        """Run rates.size batches; return the sums of their losses and of their penalties.

        Parameters
        ----------
        X : array (n_x, m'), each example contiguous
        Y : array (m',) or (n_y, m'), each example contiguous
        weights : array (m',), optional
            In the order of the batches.
        order : int64 array, optional
            The positions of the examples; given if and only if the program gathers.
        rates : float64 array (steps,)
        t : int
            Number of the first step.
        times : int64 array (operations,), optional
            Receives the nanoseconds of each operation, as worker 0 spent them.
        shares : float64 array (steps,), optional
            Factors of the penalties, one for each step.
        """
        slots = self._slots
        if self._gathered:
            slots[:, op.SOURCE_X], slots[:, op.SOURCE_Y] = address(X), address(Y)
            slots[:, op.INDEX] = address(order)
            slots[:, op.Y] = 0
        else:
            slots[:, op.X], slots[:, op.Y] = address(X), address(Y)
        slots[:, op.WEIGHTS] = 0 if weights is None else address(weights)
        self._counter[0] = 0
        jobs = self._jobs
        jobs[:, op.RATES], jobs[:, op.STEPS], jobs[:, op.T] = address(rates), rates.size, t
        jobs[0, op.TIMES] = 0 if times is None else address(times)
        jobs[:, op.SHARES] = 0 if shares is None else address(shares)
        with self._blas.single_thread():
            self._workers.run(self._addresses)
        totals = self._totals
        return float(totals[:, 0].sum()), float(totals[:, 1].sum())


def _signed(seed: int) -> int:
    """The lower 64 bits of a seed as an int64."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)


def address(array: Array) -> int:
    """Where a NumPy array begins."""
    found: int = array.__array_interface__["data"][0]
    return found
