"""Cells side by side: each in one thread, the same results by any number of workers."""

import os
import threading

import pytest

from nnx.backends import engine
from nnx.benchmarks.scale import CellStore, run_side_by_side
from nnx.benchmarks.scale.one_thread import one_thread
from nnx.errors import DataError
from scale_cells import blas_threads, fail_at_seven, square, where

KEYS = [{"n": n} for n in (3, 40, 7)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_keys(tmp_path, workers):
    seen = []
    found = run_side_by_side(
        square,
        KEYS,
        CellStore(tmp_path),
        workers=workers,
        costs=[1, 2, 3],
        advance=lambda key, cost: seen.append((key["n"], cost)),
    )
    assert [result["square"] for result in found] == [9, 1600, 49]
    assert sorted(seen) == [(3, 1), (7, 3), (40, 2)]


def test_what_the_store_has_is_not_computed_again(tmp_path):
    store = CellStore(tmp_path)
    store.put(KEYS[1], {"square": -1})
    found = run_side_by_side(square, KEYS, store)
    assert [result["square"] for result in found] == [9, -1, 49]
    assert all(store.seconds(key) is not None for key in KEYS)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_cell_computes_in_one_thread(tmp_path, workers):
    for result in run_side_by_side(where, KEYS, CellStore(tmp_path), workers=workers):
        assert result["threads"] == [1]
        assert result["workers"] == 1
        assert (result["process"] == os.getpid()) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cell_that_fails_leaves_the_finished_ones(tmp_path, workers):
    store = CellStore(tmp_path)
    with pytest.raises(DataError, match="seven"):
        run_side_by_side(fail_at_seven, KEYS, store, workers=workers, costs=[3, 2, 1])
    assert store.get(KEYS[2]) is None
    if workers == 1:  # begun before, so done before
        assert store.get(KEYS[0]) == {"square": 9}
        assert store.get(KEYS[1]) == {"square": 1600}


def test_a_damaged_cell_is_an_error_before_anything_is_computed(tmp_path):
    store = CellStore(tmp_path)
    store.put(KEYS[2], {"square": 49})
    store.path(KEYS[2]).write_text("{")
    with pytest.raises(DataError, match="not whole JSON"):
        run_side_by_side(square, KEYS, store)
    assert [store.get(key) for key in KEYS[:2]] == [None, None]


def test_threads_that_overlap_keep_the_limit_until_the_last_has_gone():
    before, workers = blas_threads(), engine.count_workers()
    first, second = threading.Event(), threading.Event()
    counts = []

    def other():
        with one_thread():
            first.set()
            second.wait()
            counts.append(engine.count_workers())

    with one_thread():
        thread = threading.Thread(target=other)
        thread.start()
        first.wait()
        assert set(blas_threads()) == {1}
        assert engine.count_workers() == 1
    # The other thread's limit is not this one's: sums here depend on nothing that it does.
    assert set(blas_threads()) == {1}
    assert engine.count_workers() == workers
    second.set()
    thread.join()
    assert counts == [1]
    assert blas_threads() == before


def test_a_cluster_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no Dask scheduler answers at nowhere"):
        run_side_by_side(square, KEYS, CellStore(tmp_path), dask="nowhere")


def test_a_local_dask_cluster_gives_the_same(tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0"
    ) as cluster:
        found = run_side_by_side(square, KEYS, CellStore(tmp_path), dask=cluster.scheduler_address)
        assert [result["square"] for result in found] == [9, 1600, 49]
        places = run_side_by_side(
            where, KEYS, CellStore(tmp_path / "where"), dask=cluster.scheduler_address
        )
    for result in places:
        assert result["threads"] == [1]
        assert result["process"] != os.getpid()
