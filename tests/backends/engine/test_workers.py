"""The worker threads: they wake from sleep, survive many programs, and are made anew after fork."""

import ctypes
import os
import signal
import threading
import time

import numpy as np
import pytest

import nnx
from nnx.backends.engine import always_wanted, count_workers, why_unusable, workers
from nnx.backends.engine.blas import find_blas
from nnx.errors import DeviceError
from nnx.inference import CompiledOutputs


def shared_step() -> tuple[nnx.TrainingStep, np.ndarray, np.ndarray]:
    """A step large enough for two workers."""
    net = nnx.MLP([100, 200, 10], device="cpu", seed=0)
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((100, 100)), dtype=np.float32)
    step = nnx.TrainingStep(net, 100, compiled=True)
    step._workers = 2
    return step, X, rng.integers(0, 10, 100)


def test_awake_and_asleep_workers_give_the_same() -> None:
    step, X, Y = shared_step()
    first = float(step.gradients(X, Y))
    for pause in [0] * 200 + [0.01] * 5 + [0] * 50:
        time.sleep(pause)
        assert float(step.gradients(X, Y)) == first


def test_programs_from_several_threads_take_turns() -> None:
    step, X, Y = shared_step()
    wanted, found = float(step.gradients(X, Y)), []

    def work() -> None:
        own, x, y = shared_step()
        found.extend(float(own.gradients(x, y)) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [wanted] * 150


def outputs(monkeypatch: pytest.MonkeyPatch) -> tuple[CompiledOutputs, np.ndarray, np.ndarray]:
    """A[L] of two workers, none of which waits for the other."""
    monkeypatch.setattr("nnx.backends.engine.count_workers", lambda: 2)
    net = nnx.MLP([100, 200, 10], device="cpu", seed=0)
    layers = [
        (views["W"], views["b"], layer.g)
        for views, layer in zip(net.vector.layers, net.layers, strict=True)
    ]
    X = np.asfortranarray(np.random.default_rng(0).standard_normal((100, 1000)), dtype=np.float32)
    A_L = np.empty((10, 1000), np.float32, order="F")
    return CompiledOutputs(layers, 1000), X, A_L


def without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools whose workers never come, as if other processes had all their cores."""
    monkeypatch.setattr(workers, "_pools", {})
    monkeypatch.setattr(workers.threading.Thread, "start", lambda self: None)


def test_the_caller_runs_what_no_worker_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions, whose jobs wait for nothing, and steps, whose jobs meet; with the same bits."""
    program, X, A_L = outputs(monkeypatch)
    program(X, A_L)
    wanted = A_L.copy()
    step, x, y = shared_step()
    costs = [float(step(x, y)) for _ in range(20)]
    with monkeypatch.context() as patch:
        without_threads(patch)
        program, X, A_L = outputs(monkeypatch)
        alone, x, y = shared_step()
        for _ in range(20):
            A_L[...] = 0
            program(X, A_L)
            np.testing.assert_array_equal(A_L, wanted)
        assert [float(alone(x, y)) for _ in range(20)] == costs
    np.testing.assert_array_equal(alone.model.theta, step.model.theta)


def test_a_program_that_finds_the_workers_taken_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    step, X, Y = shared_step()
    costs = [float(step(X, Y)) for _ in range(5)]
    pool = workers.get_workers(2, "float32")
    mutex = pool._gates[workers._TURN]
    library = ctypes.CDLL(None)
    number = np.frombuffer((ctypes.c_int64 * 2).from_address(mutex.address), np.int64)[1]
    assert library.pthread_mutex_lock(ctypes.c_void_p(int(number))) == 0
    try:
        before = pool._words.copy()
        other, X, Y = shared_step()
        assert [float(other(X, Y)) for _ in range(5)] == costs
        np.testing.assert_array_equal(pool._words, before)  # nobody was asked
    finally:
        library.pthread_mutex_unlock(ctypes.c_void_p(int(number)))
    assert [float(shared_step()[0](X, Y)) for _ in range(1)] == costs[:1]


def test_a_step_in_two_threads_at_once_is_refused() -> None:
    step, X, Y = shared_step()
    step(X, Y)
    (program,) = step._programs.values()
    program.launch._user["runs"] = -1  # another thread, in the midst of it
    with pytest.raises(DeviceError, match=r"two threads at once.*a TrainingStep, or a network"):
        step(X, Y)
    program.launch._user.clear()
    assert np.isfinite(step(X, Y))


def test_programs_that_wait_and_that_do_not_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    program, X, A_L = outputs(monkeypatch)
    step, x, y = shared_step()
    cost = float(step.gradients(x, y))
    program(X, A_L)
    wanted = A_L.copy()
    for _ in range(500):
        A_L[...] = 0
        program(X, A_L)
        np.testing.assert_array_equal(A_L, wanted)
        assert float(step.gradients(x, y)) == cost


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own_workers() -> None:
    step, X, Y = shared_step()
    wanted = float(step.gradients(X, Y))
    child = os.fork()
    if child == 0:
        signal.alarm(30)  # rather than wait for ever
        own, x, y = shared_step()
        same = float(own.gradients(x, y)) == wanted
        os._exit(0 if same and float(step.gradients(X, Y)) == wanted else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_products_stay_in_one_thread_and_get_the_others_back() -> None:
    blas = find_blas()
    assert blas is not None
    before = blas.get_threads()
    with blas.single_thread():
        assert blas.get_threads() == 1
        assert count_workers() == 1
    assert blas.get_threads() == before


def test_what_is_told_about_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_step()
    assert why_unusable() is None
    assert not always_wanted()
    monkeypatch.setenv("NNX_COMPILE", "1")
    assert always_wanted()
    why_unusable.cache_clear()
    monkeypatch.setenv("NNX_COMPILE", "0")
    assert "NNX_COMPILE" in str(why_unusable())
    monkeypatch.delenv("NNX_COMPILE")
    why_unusable.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "nnx-learn[fast]" in str(why_unusable())
    why_unusable.cache_clear()
