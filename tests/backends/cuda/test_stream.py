"""Streaming to a GPU, and memory that runs out there: on the host by fakes, on a GPU as it is."""

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from host_gpu import HostLt
from nnx.backends import get_backend
from nnx.backends.cuda.stream import PinnedStream
from nnx.backends.host import Memory
from nnx.backends.stream import Field, HostStream
from nnx.errors import OutOfMemoryError


def _fakes():
    path = Path(__file__).with_name("fake_streams.py")
    spec = importlib.util.spec_from_file_location("fake_streams", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FAKES = _fakes()
FIELDS = [Field(5, "float32"), Field(None, "int64"), Field(2, "float64")]
COLUMNS = 7


def slab(number):
    """What slab `number` holds; the last ones are smaller."""
    rng, count = np.random.default_rng(number), COLUMNS - number // 6
    return [
        (100 * rng.standard_normal((count, *(() if f.rows is None else (f.rows,))))).astype(f.dtype)
        for f in FIELDS
    ]


def fill_with(number):
    def fill(buffers):
        for buffer, rows in zip(buffers, slab(number), strict=True):
            buffer[...] = 111  # whoever copies more, or too early, finds this
            buffer[..., : len(rows)] = rows.T
        return len(slab(number)[0])

    return fill


def check(found):
    for number, arrays in enumerate(found):
        for array, rows in zip(arrays, slab(number), strict=True):
            np.testing.assert_array_equal(array, rows.T)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9), count=st.integers(0, 12), epochs=st.integers(1, 2))
def test_work_sees_its_slab_in_whatever_order_streams_run(host_cupy_module, seed, count, epochs):
    schedule = FAKES.Schedule(seed)
    cuda = FAKES.fake_cuda(schedule)
    work, found = cuda.get_current_stream(), []

    class Device:
        def active(self):
            return host_cupy_module.cuda.Device(0)

        def empty(self, shape, dtype):
            array = host_cupy_module.empty(shape, dtype, order="F")
            # Work that was queued before still reads this memory.
            work.push(lambda: np.testing.assert_array_equal(np.asarray(array), 77))
            return array

    stream = PinnedStream(Device(), cuda, FIELDS, COLUMNS)
    for _ in range(epochs):
        found.clear()
        for arrays in stream.feed(fill_with(number) for number in range(count)):
            work.push(lambda arrays=arrays: found.append([np.array(x) for x in arrays]))
        assert not cuda_copies(schedule)
        schedule.drain()
        assert len(found) == count
        check(found)


def cuda_copies(schedule):
    """What is still queued on other streams than the current one."""
    return [action for stream in schedule.streams[1:] for action in stream.queue]


def test_a_stream_that_is_left_early_has_no_copy_under_way(host_cupy_module):
    for seed in range(20):
        schedule = FAKES.Schedule(seed)
        cuda = FAKES.fake_cuda(schedule)
        device = types.SimpleNamespace(
            active=lambda: host_cupy_module.cuda.Device(0),
            empty=lambda shape, dtype: host_cupy_module.empty(shape, dtype, order="F"),
        )
        slabs = PinnedStream(device, cuda, FIELDS, COLUMNS).feed(fill_with(i) for i in range(9))
        next(slabs)
        next(slabs)
        slabs.close()
        assert not cuda_copies(schedule)


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_the_plain_stream(device):
    backend = get_backend(device)
    stream = backend.stream(FIELDS, COLUMNS)
    assert type(stream) is HostStream
    for _ in range(2):
        slabs = stream.feed(fill_with(number) for number in range(12))
        check([[np.array(x) for x in arrays] for arrays in slabs])


@pytest.mark.gpu
def test_the_stream_of_a_gpu():
    import cupy

    gpu = get_backend("cuda:0")
    stream = gpu.stream(FIELDS, COLUMNS)
    for _ in range(2):
        slabs = stream.feed(fill_with(number) for number in range(12))
        check([[cupy.asnumpy(x) for x in arrays] for arrays in slabs])


@pytest.fixture(scope="session")
def host_cupy_module(host_backend):
    """The module that plays CuPy for `host_backend`."""
    return type(host_backend).__init__.__globals__["cupy"]


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def limited(request, monkeypatch):
    """A GPU backend that has taken what graphs share, and its memory pool."""
    if request.param == "gpu":
        import cupy

        backend, pool = get_backend("cuda:0"), cupy.get_default_memory_pool()
        assert backend.why_no_graphs() is None
        pool.free_all_blocks()
        yield backend, pool
        pool.set_limit(0)
        return
    backend = request.getfixturevalue("host_backend")
    cupy = request.getfixturevalue("host_cupy_module")
    pool = FAKES.Pool()
    for name in ("empty", "zeros", "array"):
        make = getattr(cupy, name)
        monkeypatch.setattr(cupy, name, lambda *a, f=make, **k: pool.count(f(*a, **k)))
    monkeypatch.setattr(cupy, "get_default_memory_pool", lambda: pool, raising=False)
    monkeypatch.setattr(cupy, "get_default_pinned_memory_pool", FAKES.Pool, raising=False)
    # What graphs share is taken anew, from this pool.
    backend.use_cublaslt(HostLt())
    assert backend.why_no_graphs() is None
    # Here the host waits, once for each epoch and each check.
    for name in ("__bool__", "__float__", "__int__"):
        monkeypatch.setattr(cupy.ndarray, name, getattr(np.ndarray, name))
    yield backend, pool
    backend.use_cublaslt(HostLt())


N_X, M = 64, 20_000
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (M, N_X)).astype(np.uint8)
Y = RNG.integers(0, 3, M)


def network(backend, **changes):
    return nnx.MLP([N_X, 16, 3], device=backend, seed=2, **changes)


def on_host(net):
    return net.backend.to_numpy(net.theta)


RUN = {"epochs": 2, "batch_size": 1000, "optimizer": nnx.Momentum(1e-4)}


@pytest.mark.parametrize("block_size", [None, 300])
def test_data_larger_than_the_memory_trains_as_if_it_lay_there(limited, block_size, monkeypatch):
    backend, pool = limited
    monkeypatch.setattr("nnx.evaluation._BLOCK", 1 << 16)
    resident, streamed = network(backend, keep_prob=0.8), network(backend, keep_prob=0.8)
    rows = X / np.float32(255)
    whole = resident.fit(rows.T, Y, data="device", block_size=block_size, **RUN)
    backend.release()
    pool.set_limit(pool.used_bytes() + 4 * X.size // 2)
    history = streamed.fit(rows.T, Y, block_size=block_size, **RUN)
    assert history.chosen["data"] == "stream"
    assert whole.chosen["data"] == "device"
    np.testing.assert_allclose(on_host(streamed), on_host(resident), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(history["cost"], whole["cost"], rtol=1e-6)
    np.testing.assert_array_equal(streamed.predict(rows.T), resident.predict(rows.T))
    assert streamed.score(rows.T, Y) == resident.score(rows.T, Y)


def test_bytes_are_converted_on_the_way(limited):
    backend, _ = limited
    nets = [network(backend) for _ in range(2)]
    for net, data in zip(nets, ("device", "stream"), strict=True):
        net.fit(X.T, Y, data=data, **RUN)
    np.testing.assert_allclose(on_host(nets[0]), on_host(nets[1]), rtol=1e-6, atol=1e-7)


def test_free_memory_is_what_the_limit_of_the_pool_leaves(limited):
    backend, pool = limited
    held = backend.zeros((1000, 1000))
    pool.set_limit(pool.used_bytes() + 12345 * 512)
    memory = backend.memory()
    assert memory.free == 12345 * 512
    assert memory.used == pool.used_bytes() >= held.nbytes


def test_what_cannot_fit_is_refused(limited):
    backend, pool = limited
    net = network(backend)
    before = np.array(on_host(net))
    pool.set_limit(pool.used_bytes() + 4 * X.size // 2)
    with pytest.raises(OutOfMemoryError, match="data='stream' leaves the data on the host"):
        net.fit(X.T, Y, data="device", **RUN)
    with pytest.raises(OutOfMemoryError, match=r"batch_size=\d+ would fit") as caught:
        net.fit(X.T, Y, batch_size="all", epochs=1)
    np.testing.assert_array_equal(on_host(net), before)
    net.fit(X.T, Y, batch_size=caught.value.batch_size, epochs=1)
    history = net.fit(X.T, Y, batch_size="all", block_size="auto", epochs=1)
    assert history.chosen["batch_size"] == M > history.chosen["block_size"]


@pytest.mark.parametrize("data", ["device", "stream"])
def test_an_allocation_that_fails_is_undone_and_answered(limited, data, monkeypatch):
    backend, pool = limited
    net = network(backend)
    before, used = np.array(on_host(net)), pool.used_bytes()
    monkeypatch.setattr(
        type(backend), "memory", lambda self: Memory(0, 1 << 40, 1 << 40, None)
    )  # nothing is foreseen
    pool.set_limit(used + 200_000)
    with pytest.raises(OutOfMemoryError, match=r"the allocation that failed: .*[Oo]ut of memory"):
        net.fit(X.T, Y, data=data, **RUN)
    pool.set_limit(0)
    np.testing.assert_array_equal(on_host(net), before)
    assert pool.used_bytes() == used
    net.fit(X.T, Y, data=data, **RUN)


def test_other_failures_of_the_driver_are_no_lack_of_memory(limited):
    backend, _ = limited
    assert backend.is_out_of_memory(MemoryError())
    for text in ("cudaErrorMemoryAllocation: out of memory", "ALLOC_FAILED (3)",
                 "CUDA_ERROR_OUT_OF_MEMORY: out of memory"):  # fmt: skip
        assert backend.is_out_of_memory(RuntimeError(text))
    assert not backend.is_out_of_memory(RuntimeError("cudaErrorIllegalAddress"))


def test_where_graphs_find_no_memory_the_readable_floor_serves(limited):
    """For this run alone: graphs are there again when there is memory."""
    backend, pool = limited
    api = backend._cublaslt
    backend.use_cublaslt(api)  # as in a process that has trained nothing yet
    backend.release()
    pool.set_limit(pool.used_bytes() + (4 << 20))
    assert "ut of memory" in backend.why_no_graphs()
    first, second = network(backend), network(backend)
    first.fit(X.T, Y, data="stream", **RUN)
    pool.set_limit(0)
    assert backend.why_no_graphs() is None
    second.fit(X.T, Y, data="stream", **RUN)
    np.testing.assert_allclose(on_host(first), on_host(second), rtol=1e-5, atol=1e-6)
