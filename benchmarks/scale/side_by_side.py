"""Cells computed side by side, in processes of this machine or on a Dask cluster, by joblib.

Every finished cell is in the store at once; what the store has already is not computed again.
Results depend on the cell alone, not on the number of workers or the order.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from nnx.benchmarks.scale.one_thread import computed_by, one_thread
from nnx.benchmarks.scale.store import CellStore
from nnx.errors import DataError, MissingDependencyError

_WATCH_SECONDS = 0.2

Key = Mapping[str, Any]
Compute = Callable[[Key], Mapping[str, Any]]


def run_side_by_side(
    compute: Compute,
    keys: Sequence[Key],
    store: CellStore,
    *,
    workers: int = 1,
    dask: str | None = None,
    costs: Sequence[float] | None = None,
    advance: Callable[[Key, float], None] | None = None,
) -> list[dict[str, Any]]:
    """Return the result of each key, from the store or computed now.

    Parameters
    ----------
    compute : callable (key) -> result
        At the top level of a module (or a `functools.partial` of such a function), so that other
        processes can call it. It runs in one thread; what it returns must be plain JSON values
        that the key alone determines.
    keys : sequence of mapping
        As for `CellStore`.
    store : CellStore
    workers : int
        Processes of this machine; 1 computes in this one.
    dask : str, optional
        Address of a Dask scheduler, whose workers then do the work. nnx must be installed there,
        in the same version, with the same NumPy on the same kind of processor.
    costs : sequence of float, optional
        About how much work each key is, in any unit: the longest cells begin first.
    advance : callable (key, cost), optional
        Called for each cell as soon as its result is on disk.

    Raises
    ------
    DataError
        For a cell in the store that is damaged, before anything is computed.
    KeyboardInterrupt
        After Ctrl-C: finished cells are in the store, the workers are gone.
    """
    weights = [1.0] * len(keys) if costs is None else list(costs)
    results = [store.get(key) for key in keys]
    missing = [number for number, result in enumerate(results) if result is None]
    for number, result in enumerate(results):
        if result is not None and advance is not None:
            advance(keys[number], weights[number])
    missing.sort(key=lambda number: (-weights[number], number))
    jobs = [(compute, number, keys[number]) for number in missing]
    for number, found, seconds in _results(jobs, workers, dask):
        store.put(keys[number], found, seconds)
        # As it is in the file: what a later run would read.
        results[number] = store.get(keys[number])
        if advance is not None:
            advance(keys[number], weights[number])
    return [result for result in results if result is not None]


Job = tuple[Compute, int, Key]
Done = tuple[int, Mapping[str, Any], float]


def _results(jobs: Sequence[Job], workers: int, dask: str | None) -> Iterator[Done]:
    """The results as they come."""
    if not jobs:
        return
    if workers == 1 and dask is None:
        for job in jobs:
            yield _compute(*job)
        return
    try:
        import joblib
    except ImportError:
        raise MissingDependencyError("joblib", "scale", "several workers") from None
    with ExitStack() as stack:
        if dask is None:
            stack.enter_context(_workers_gone_after_interrupt())
            # Small batches, so that a finished cell is on disk at once and none waits for a worker.
            options: dict[str, Any] = {"n_jobs": workers, "backend": "loky"}
        else:
            stack.enter_context(_cluster(dask))
            stack.enter_context(joblib.parallel_config("dask"))
            options = {"n_jobs": -1}
        parallel = joblib.Parallel(
            **options, batch_size=1, pre_dispatch="all", return_as="generator_unordered"
        )
        own, parent = computed_by(), os.getpid() if dask is None else None
        yield from parallel(joblib.delayed(_compute)(*job, own, parent) for job in jobs)


def _compute(
    compute: Compute,
    number: int,
    key: Key,
    here: Mapping[str, str] | None = None,
    parent: int | None = None,
) -> Done:
    """Compute one cell; in another process `here` is how the study's own would, if not the same.

    parent : int, optional
        The study's process, where this one is its child.
    """
    if parent is not None:
        _live_and_die_with(parent)
    if here is not None and computed_by() != here:
        raise DataError(
            f"a worker would compute other last digits: it has {computed_by()}, and the "
            f"study runs on {dict(here)}; install the same versions on the same processors"
        )
    start = time.perf_counter()
    with one_thread():
        result = compute(key)
    return number, result, time.perf_counter() - start


@cache
def _live_and_die_with(parent: int) -> None:
    """Leave Ctrl-C, which reaches every process of a terminal, to the study; end when it is gone.

    A worker of joblib would otherwise wait for minutes for a study that was killed.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="nnx-scale-watch", daemon=True).start()


@contextmanager
def _workers_gone_after_interrupt() -> Iterator[None]:
    """Whatever ends the study early ends its processes too; cells in flight are lost."""
    try:
        yield
    except BaseException:
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    try:
        from distributed import Client
    except ImportError:
        raise MissingDependencyError("distributed", "dask", "a Dask cluster") from None
    try:
        client = Client(address, timeout=10, set_as_default=True)
    except (OSError, TimeoutError, ValueError) as error:
        raise DataError(f"no Dask scheduler answers at {address}: {error}") from error
    with client:
        yield
