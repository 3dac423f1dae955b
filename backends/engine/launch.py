"""Starts a program: addresses of the batch, learning rates, the workers, and what comes back."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from nnx.backends.engine import interpreter as op
from nnx.backends.engine.blas import find_blas
from nnx.backends.engine.lowlevel import CLOCK_ADDRESS
from nnx.backends.engine.workers import get_workers
from nnx.backends.errors import DeviceError

Array = Any
_RUNS = "runs"


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
        self._workers, self._gathered = get_workers(len(codes), dtype), gathered
        self._dtype = dtype
        self._single_thread = blas.single_thread()
        kind, count = np.dtype(dtype), len(codes)
        self._codes = list(codes)
        barriers = {int((code[:, 0] == op.BARRIER).sum()) for code in codes}
        assert len(barriers) == 1, "all jobs meet at the same barriers"
        (self._barriers,) = barriers
        self._constants, self._rule = np.array(constants), np.array(rule, dtype=np.float64)
        self._scalars = [np.array([0, 1, 1 / m, 0], kind) for _ in codes]
        self._pointers = np.zeros((count, op.SLOTS), np.int64)
        self._bases = np.zeros(op.SLOTS, np.int64)
        self._strides = np.zeros(op.SLOTS, np.int64)
        x, y, weight = (size * m for size in row_bytes)
        if gathered:
            self._strides[[op.WEIGHTS, op.INDEX]] = weight, 8 * m
        else:
            self._strides[[op.X, op.Y, op.WEIGHTS]] = x, y, weight
        self._t = np.zeros(1, np.int64)
        self._totals = np.zeros((count, op.TOTALS_WIDTH))
        self._jobs = np.zeros((count, op.JOB_WIDTH), np.int64)
        for worker, job in enumerate(self._jobs):
            job[op.SIZE], job[op.SEED] = kind.itemsize, _signed(seed)
            job[op.CODE], job[op.INSTRUCTIONS] = address(codes[worker]), len(codes[worker])
            job[op.POINTERS], job[op.BASES] = address(self._pointers[worker]), address(self._bases)
            job[op.STRIDES], job[op.T] = address(self._strides), address(self._t)
            job[op.SCALARS] = address(self._scalars[worker])
            job[op.CONSTANTS], job[op.RULE] = address(self._constants), address(self._rule)
            job[op.GEMM_ADDRESS], job[op.WIDE] = blas.gemm[dtype], blas.wide
            job[op.CLOCK] = CLOCK_ADDRESS
            job[op.TOTALS] = address(self._totals[worker])
        self._addresses = np.array([address(job) for job in self._jobs])
        # What the job's addresses belong to: held, so that nobody resizes it, and not looked up
        # again while it stays the same, since finding an address takes as long as a small step.
        self._data: tuple[Array | None, ...] = (None,) * 4
        self._rates: Array | None = None
        self._times: Array | None = None
        self._shares: Array | None = None
        self._first = 0
        self._user: dict[str, int] = {}  # the thread that runs it

    def __call__(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        order: Array | None,
        rates: Array,
        t: int,
        times: Array | None = None,
        first: int = 0,
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
        first : int
            Where the examples begin in the batch whose dropout masks they get.
        shares : float64 array (steps,), optional
            Factors of the penalties, one for each step.
        """
        if self._workers.orphaned:
            self._workers, self._user = get_workers(len(self._codes), self._dtype), {}
        me = threading.get_ident()
        # A single operation of Python, so that of two threads one is told.
        if self._user.setdefault(_RUNS, me) != me:
            raise DeviceError(
                "a training step is used by two threads at once, and what it computes in is its "
                "own: give each thread a TrainingStep, or a network, of its own"
            )
        try:
            x, y, w, positions = self._data
            if X is not x or Y is not y or weights is not w or order is not positions:
                self._point_to(X, Y, weights, order)
            if rates is not self._rates:
                self._rates = rates
                self._jobs[:, op.RATES], self._jobs[:, op.STEPS] = address(rates), rates.size
            if times is not self._times:
                self._times = times
                self._jobs[0, op.TIMES] = 0 if times is None else address(times)
            if first != self._first:
                self._first = first
                self._jobs[:, op.FIRST] = first
            if shares is not self._shares:
                self._shares = shares
                self._jobs[:, op.SHARES] = 0 if shares is None else address(shares)
            self._t[0] = t
            with self._single_thread:
                self._workers.run(self._addresses, 1 + self._barriers * rates.size)
            totals = self._totals.tolist()
            losses, penalties = (sum(row[k] for row in totals) for k in (op.LOSSES, op.PENALTIES))
            return losses, penalties
        finally:
            self._user.pop(_RUNS, None)

    def _point_to(self, X: Array, Y: Array, weights: Array | None, order: Array | None) -> None:
        bases = self._bases
        if self._gathered:
            bases[op.SOURCE_X], bases[op.SOURCE_Y] = address(X), address(Y)
            bases[op.INDEX] = address(order)
        else:
            bases[op.X], bases[op.Y] = address(X), address(Y)
        bases[op.WEIGHTS] = 0 if weights is None else address(weights)
        self._data = (X, Y, weights, order)


def _signed(seed: int) -> int:
    """The lower 64 bits of a seed as an int64."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)


def address(array: Array) -> int:
    """Where a NumPy array begins."""
    found: int = array.__array_interface__["data"][0]
    return found
