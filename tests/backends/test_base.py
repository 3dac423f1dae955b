"""What every backend has beside its primitives: new arrays, the timer, memory figures, records."""

import sys
import time

import numpy as np
import pytest

from nnx.backends import Backend, Memory, Timer, get_backend
from nnx.backends.errors import (
    CheckpointError,
    DataError,
    DeviceError,
    DTypeError,
    MissingDependencyError,
    NnxError,
    ShapeError,
    UnknownNameError,
    unknown_name,
)
from nnx.backends.host import _left_in_cgroup, host_memory

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux tells what a process uses now"
)
SHAPES = [(), (0,), (7,), (3, 4), (4, 1), (1, 4), (0, 3), (2, 3, 4)]


# -- new arrays -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_empty_and_zeros(device, shape, dtype):
    backend = get_backend(device)
    for x in (backend.empty(shape, dtype), backend.zeros(shape, dtype)):
        assert backend.owns(x)
        assert tuple(x.shape) == shape
        assert x.dtype == backend.dtype(dtype)
    assert np.all(backend.to_numpy(backend.zeros(shape, dtype)) == 0)


@pytest.mark.parametrize("shape", [(3, 4), (4, 1), (1, 4), (200, 300)], ids=str)
def test_a_matrix_keeps_each_example_contiguous(device, shape):
    backend = get_backend(device)
    for x in (backend.empty(shape), backend.zeros(shape), backend.empty(shape, "float64")):
        host = backend.to_numpy(x)
        assert host.flags.f_contiguous
        assert host.T.flags.c_contiguous


def test_other_ranks_are_in_c_order(device):
    backend = get_backend(device)
    for shape in ((5,), (2, 3, 4)):
        assert backend.to_numpy(backend.empty(shape)).flags.c_contiguous


def test_float32_is_the_default(device):
    backend = get_backend(device)
    assert backend.empty((2, 2)).dtype == backend.dtype("float32")
    assert backend.zeros((2,)).dtype == backend.dtype("float32")


def test_new_arrays_can_be_written_and_are_their_own(device):
    backend = get_backend(device)
    x, y = backend.zeros((2, 3)), backend.zeros((2, 3))
    x[...] = 5
    assert np.all(backend.to_numpy(x) == 5)
    assert np.all(backend.to_numpy(y) == 0)


def test_zeros_are_written(device):
    """Memory that was used before comes back as zeros."""
    backend = get_backend(device)
    for _ in range(20):
        used = backend.empty((64, 64))
        used[...] = 3
        del used
        assert np.all(backend.to_numpy(backend.zeros((64, 64))) == 0)


def test_dtype_is_the_namespace_s(device):
    backend = get_backend(device)
    assert backend.dtype("float64") == backend.xp.float64
    assert backend.dtype("int32") == backend.xp.int32


# -- the device -----------------------------------------------------------------------------------


def test_timer_measures_the_block():
    backend = get_backend("cpu")
    start = time.perf_counter()
    with backend.timer() as timer:
        time.sleep(0.05)
    outside = time.perf_counter() - start
    assert isinstance(timer, Timer)
    assert 0.049 <= timer.seconds <= outside
    seconds = timer.seconds
    time.sleep(0.02)
    assert timer.seconds == seconds


def test_timer_is_set_when_the_block_ends(device):
    backend = get_backend(device)
    with backend.timer() as timer:
        x = backend.zeros((300, 300))
        for _ in range(5):
            x = x @ x
        assert timer.seconds == 0
    assert timer.seconds > 0


def test_timer_waits_for_the_device_before_and_after():
    events = []

    class Recorded(Backend):
        def synchronize(self):
            events.append("wait")

    with Recorded(np, "recorded").timer():
        events.append("work")
    assert events == ["wait", "work", "wait"]


def test_timer_lets_errors_through(device):
    def fail():
        with get_backend(device).timer():
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()


def test_plain_array_operations_run_where_the_device_is_active(device):
    backend = get_backend(device)
    with backend.active():
        x = backend.xp.ones(3) * 2
    assert backend.owns(x)


def test_synchronize_returns(device):
    assert get_backend(device).synchronize() is None


def test_memory_figures(device):
    memory = get_backend(device).memory()
    assert isinstance(memory, Memory)
    assert 0 <= memory.used <= memory.total
    assert 0 <= memory.free <= memory.total
    assert memory.total > 64 * 2**20
    assert memory.peak is None or memory.peak > 0


@on_linux
def test_memory_in_use_grows_with_an_array(device):
    backend = get_backend(device)
    size = 96 * 2**20
    before = backend.memory().used
    x = backend.zeros((size // 4,))
    x[...] = 1
    backend.synchronize()
    assert backend.memory().used - before > 0.9 * size
    assert x.shape == (size // 4,)


@on_linux
def test_peak_stays_when_memory_is_given_back():
    size = 256 * 2**20
    x = np.ones(size, dtype="uint8")
    held = host_memory()
    assert held.used > 0.9 * size
    assert held.peak >= 0.99 * held.used
    del x
    after = host_memory()
    assert after.used < held.used - 0.9 * size
    assert after.peak >= held.peak


def test_memory_where_there_is_no_proc(monkeypatch):
    """As on macOS: the peak stands for what is used."""

    def missing(*args, **kwargs):
        raise FileNotFoundError("/proc/self/statm")

    monkeypatch.setattr("builtins.open", missing)
    memory = host_memory()
    monkeypatch.undo()
    assert memory.used == memory.peak > 2**20
    assert memory.free is None
    assert memory.total > memory.used


def test_memory_figures_that_are_not_known(monkeypatch):
    """As on Windows."""
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    assert host_memory() == Memory(0, None, 0, None)


def test_free_memory_is_what_a_container_leaves(tmp_path):
    def left(limit):
        (tmp_path / "memory.max").write_text(limit)
        (tmp_path / "memory.current").write_text("700\n")
        (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\n")
        return _left_in_cgroup(str(tmp_path))

    assert left("1000\n") == 550
    assert left("400\n") == 0
    assert left("max\n") == float("inf")
    assert _left_in_cgroup(str(tmp_path / "none")) == float("inf")


def test_describe(device):
    backend = get_backend(device)
    record = backend.describe()
    assert record["device"] == backend.device
    assert all(isinstance(k, str) and isinstance(v, str) and v for k, v in record.items())


def test_describe_names_the_libraries():
    assert get_backend("cpu").describe()["numpy"] == np.__version__
    assert get_backend("cpu").describe()["name"]
    assert get_backend("strict").describe() == {
        "device": "strict",
        "namespace": "array_api_strict",
    }


# -- check_same -----------------------------------------------------------------------------------


def test_check_same_passes_own_arrays(device):
    backend = get_backend(device)
    backend.check_same()
    backend.check_same(X=backend.zeros((2, 3)), Y=backend.zeros((3,)))


@pytest.mark.parametrize(
    ("bad", "kind"),
    [([1.0], "list"), (None, "NoneType"), (2.0, "float")],
    ids=repr,
)
def test_check_same_names_what_is_no_array(device, bad, kind):
    backend = get_backend(device)
    with pytest.raises(DTypeError, match=f"Y is {kind}, not an array of device") as caught:
        backend.check_same(X=backend.zeros((2,)), Y=bad)
    assert f"convert it with get_backend({backend.device!r}).asarray(...)" in str(caught.value)


def test_check_same_refuses_arrays_of_another_device():
    with pytest.raises(DTypeError, match=r"X is array_api_strict.*not an array of device 'cpu'"):
        get_backend("cpu").check_same(X=get_backend("strict").zeros((2,)))
    with pytest.raises(DTypeError, match=r"W is numpy.ndarray, not .* 'strict'"):
        get_backend("strict").check_same(W=np.zeros(2))


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (ShapeError, ValueError),
        (DTypeError, TypeError),
        (DataError, ValueError),
        (UnknownNameError, ValueError),
        (DeviceError, RuntimeError),
        (CheckpointError, ValueError),
        (MissingDependencyError, ImportError),
    ],
)
def test_every_error_is_an_nnx_error_and_the_builtin_one_would_expect(error, builtin):
    assert issubclass(error, NnxError)
    assert issubclass(error, builtin)


def test_missing_dependency_names_the_extra():
    error = MissingDependencyError("matplotlib", "plot", "History.plot")
    assert str(error) == (
        'History.plot needs matplotlib, which is not installed: pip install "nnx-learn[plot]"'
    )
    assert (error.package, error.extra) == ("matplotlib", "plot")


def test_unknown_name_without_a_near_one():
    text = str(unknown_name("planet", "xyzzy", {"mars", "earth"}))
    assert text == "unknown planet 'xyzzy' (known: earth, mars)"


def test_unknown_name_compares_without_case():
    text = str(unknown_name("planet", "MARZ", ["mars", "earth"]))
    assert text == "unknown planet 'MARZ'; did you mean 'mars'? (known: earth, mars)"
