"""Data that stays in host memory or in a file: the same results, in bounded memory."""

import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends.host import Memory
from nnx.batching import Batching
from nnx.errors import DataError, ShapeError
from nnx.sources import Source

RNG = np.random.default_rng(0)
M, N_X = 430, 6
ROWS = RNG.standard_normal((M, N_X)).astype(np.float32)
LABELS = RNG.integers(0, 3, M)
WEIGHTS = RNG.uniform(0.1, 2, M)


def as_file(path: Path, array: Any) -> Any:
    np.save(path / "rows.npy", array)
    return np.load(path / "rows.npy", mmap_mode="r")


def network(device: str = "cpu", **changes: Any) -> nnx.Network:
    return nnx.MLP([N_X, 8, 3], device=device, seed=3, **changes)


@pytest.fixture(params=["compiled", "primitives"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    compiled = None if request.param == "compiled" else False
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: compiled)
    return str(request.param)


def same_runs(a: nnx.Network, b: nnx.Network) -> None:
    np.testing.assert_array_equal(a.backend.to_numpy(a.theta), b.backend.to_numpy(b.theta))


RUNS: list[dict[str, Any]] = [
    {},
    {"shuffle": False},
    {"sample_weight": WEIGHTS, "class_weight": {0: 1.0, 1: 2.0, 2: 0.5}},
    {"validation": 0.2},
    {"validation": (ROWS[:50].T, LABELS[:50])},
    {"batch_size": "all"},
    {"batch_size": 100, "block_size": 30},
    {"optimizer": nnx.GradientDescent(0.05, clip_norm=0.1)},
    {"optimizer": "lbfgs"},
    {"optimizer": "lbfgs", "block_size": 64},
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: ", ".join(run) or "default")
def test_streamed_is_resident_bit_for_bit(
    kind: str, run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A few batches in a slab.
    monkeypatch.setattr("nnx.settling.Batching", partial(Batching, slab=3000))
    arguments = {"epochs": 3, "batch_size": 32, **run}
    for changes in ({}, {"keep_prob": 0.7, "l2": 0.1}):
        nets = [network(**changes), network(**changes)]
        histories = [
            net.fit(ROWS.T, LABELS, data=data, **arguments)
            for net, data in zip(nets, ("device", "stream"), strict=True)
        ]
        same_runs(*nets)
        assert [history.pop("seconds") for history in histories]
        assert histories[0] == histories[1]
        assert [history.chosen["data"] for history in histories] == ["device", "stream"]


@pytest.mark.parametrize("dtype", ["uint8", "float64", "float16", ">f4", "bool", "int64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_conversion_by_the_batch_is_conversion_of_the_whole(
    tmp_path: Path, dtype: str, order: Any
) -> None:
    X = np.array(10 * ROWS.T, order=order).astype(dtype)
    nets = [network(), network(), network()]
    nets[0].fit(X, LABELS, epochs=2, data="device", batch_size=32)
    nets[1].fit(X, LABELS, epochs=2, data="stream", batch_size=32)
    nets[2].fit(as_file(tmp_path, X), LABELS, epochs=2, data="stream", batch_size=32)
    same_runs(nets[0], nets[1])
    same_runs(nets[0], nets[2])


@pytest.mark.parametrize(
    ("output", "Y"),
    [
        ("identity", RNG.standard_normal((3, M))),
        ("sigmoid", RNG.integers(0, 2, (3, M)).astype(np.uint8)),
        ("softmax", np.eye(3)[:, LABELS]),
    ],
)
def test_targets_of_many_numbers_stream_too(output: str, Y: Any, device: str) -> None:
    nets = [nnx.MLP([N_X, 8, 3], output=output, device=device, seed=1) for _ in range(2)]
    scores = []
    for net, data in zip(nets, ("device", "stream"), strict=True):
        history = net.fit(ROWS.T, Y, data=data, epochs=2, validation=0.25)  # type: ignore[call-overload]
        scores.append((history["validation_cost"], history["validation_score"]))
    same_runs(*nets)
    # Other backends add in another order where matrices are laid out differently.
    np.testing.assert_allclose(scores[0], scores[1], rtol=0 if device == "cpu" else 1e-10)


def test_class_weights_of_streamed_one_hot_targets() -> None:
    table = {0: 1.0, 1: 2.0, 2: 0.5}
    nets = [network(), network()]
    nets[0].fit(ROWS.T, np.eye(3)[:, LABELS], data="stream", class_weight=table, epochs=2)
    nets[1].fit(ROWS.T, np.eye(3)[:, LABELS], data="device", class_weight=table, epochs=2)
    same_runs(*nets)
    with pytest.raises(DataError, match="class_weight needs one class per example"):
        nnx.MLP([N_X, 1], output="identity", device="cpu").fit(
            ROWS.T, ROWS[:, 0], data="stream", class_weight=table
        )


def test_a_file_is_used_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    run = nnx.TrainingStep.run

    def spy(self: Any, X: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(X)
        return run(self, X, *args, **kwargs)

    monkeypatch.setattr(nnx.TrainingStep, "run", spy)
    file = as_file(tmp_path, ROWS)
    history = network().fit(file.T, LABELS, epochs=1)
    assert history.chosen["data"] == "device"
    assert all(np.shares_memory(X, file) for X in seen)


BIG_M, BIG_N = 60_000, 100  # 24 MB as float32


def peak_of(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_memory_is_bounded_whatever_the_size_of_the_file(tmp_path: Path, dtype: str) -> None:
    big = np.zeros((BIG_M, BIG_N), dtype)
    big[:, 0] = np.arange(BIG_M) % 7
    file, labels = as_file(tmp_path, big), np.arange(BIG_M) % 3
    del big
    net = nnx.MLP([BIG_N, 8, 3], device="cpu")
    whole = 4 * BIG_M * BIG_N
    order, slab = 8 * BIG_M, 8 << 20
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnx.settling.Batching", partial(Batching, slab=slab // 2))
        patch.setattr("nnx.evaluation._BLOCK", slab // 8)
        used = peak_of(lambda: net.fit(file.T, labels, epochs=1, data="stream", validation=0.1))
        # A slab, what is converted at once, labels, and orders: of the split, of the epoch.
        assert used < slab // 2 + (4 << 20) + 8 * order
        assert used < 0.6 * whole
        for work in (net.predict, net.predict_proba, lambda X: net.score(X, labels)):
            assert peak_of(lambda work=work: work(file.T)) < slab + 4 * order
        if dtype == "float32":  # used where it is: not even a slab
            assert peak_of(lambda: net.fit(file.T, labels, epochs=1)) < slab + 3 * order


def test_what_does_not_fit_is_streamed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = np.tile(ROWS, (50, 1)).T.astype(np.float64), np.tile(LABELS, 50)
    copy = 4 * X.size
    nets = [network(), network(), network()]
    histories = []
    monkeypatch.setattr("nnx.settling.Batching", partial(Batching, slab=10_000))
    for net, free in zip(nets, (10 * copy, copy, copy), strict=True):
        memory = Memory(0, free, 1 << 40, None)
        monkeypatch.setattr(type(net.backend), "memory", lambda self, memory=memory: memory)
        # What is as the network needs it is used where it lies, however large it is.
        x = X if len(histories) < 2 else np.asfortranarray(X, np.float32)
        histories.append(net.fit(x, Y, epochs=1))
    assert [history.chosen["data"] for history in histories] == ["device", "stream", "device"]
    told = "; batch_size 200; block_size 200; data stream; steps primitives)"
    assert repr(histories[1]).endswith(told)
    same_runs(nets[0], nets[1])
    same_runs(nets[0], nets[2])


def test_predictions_in_blocks(
    tmp_path: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = network(device)
    net.fit(ROWS.T, LABELS, epochs=2)
    X = as_file(tmp_path, ROWS.astype(np.float64)).T
    whole = net.predict(ROWS.T), net.predict_proba(ROWS.T), net.score(ROWS.T, LABELS)
    monkeypatch.setattr("nnx.evaluation._BLOCK", 8 * 50)
    parts = net.predict(X), net.predict_proba(X), net.score(X, LABELS)
    assert all(type(part) is np.ndarray for part in parts[:2])
    np.testing.assert_array_equal(whole[0], parts[0])
    np.testing.assert_allclose(whole[1], parts[1], rtol=1e-5)
    assert whole[2] == parts[2]
    for method in (net.predict, net.predict_proba):
        with pytest.raises(DataError, match=r"X contains NaN, first in example \(column\) 300"):
            method(np.where(np.arange(M) == 300, np.nan, X))


@pytest.mark.parametrize(
    ("X", "Y", "message"),
    [
        (np.where(np.arange(M) == 411, np.nan, ROWS.T), LABELS, r"X contains NaN.* 411$"),
        (np.where(np.arange(M) == 7, 1e300, ROWS.T.astype(float)), LABELS, r"X contains inf.* 7$"),
        (ROWS.T, LABELS + 1, "label 3 in Y is out of range"),
        (ROWS.T, np.full((3, M), np.inf), "Y contains infinity"),
        (ROWS.T, np.ones((3, M)), "each column of Y must sum to one"),
        (ROWS.T, LABELS[1:], r"Y must be of shape \(430,\)"),
        (ROWS, LABELS, "pass X.T"),
    ],
)
def test_bad_data_is_found_before_the_first_step(
    X: Any, Y: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnx.sources._CHUNK", 1000)
    for data in ("device", "stream"):
        net = network()
        before = net.theta.copy()
        with pytest.raises((DataError, ShapeError), match=message), np.errstate(over="ignore"):
            net.fit(X, Y, data=data, batch_size=32)  # type: ignore[arg-type]
        np.testing.assert_array_equal(net.theta, before)


def test_what_cannot_be_streamed() -> None:
    xp = pytest.importorskip("array_api_strict")
    net = network("strict")
    with pytest.raises(DataError, match="data='stream' is for X in host memory, and X is on stri"):
        net.fit(xp.asarray(ROWS.T), LABELS, data="stream")
    with pytest.raises(DataError, match="data must be 'auto', 'device' or 'stream', got 'disk'"):
        network().fit(ROWS.T, LABELS, data="disk")  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_source_reads_what_indexing_reads(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(5, 9), (1, 9), (9,)]))
    dtype = data.draw(st.sampled_from(["float32", "float64", "uint8", ">i2"]))
    array = RNG.integers(0, 100, shape).astype(dtype)
    if len(shape) == 2:
        array = np.array(array, order=data.draw(st.sampled_from(["C", "F"])))
        array = array[:: data.draw(st.sampled_from([1, 2]))]
    wanted, source = array.astype("float32"), Source(array, "float32")
    if data.draw(st.booleans()):
        chosen = np.array(data.draw(st.lists(st.integers(0, 8), min_size=1, max_size=9)))
        wanted, source = wanted[..., chosen], source.subset(chosen)
    assert source.shape == wanted.shape
    assert source.nbytes == wanted.nbytes
    m = wanted.shape[-1]
    part: Any = slice(*sorted(data.draw(st.tuples(*[st.integers(0, m)] * 2))))
    if data.draw(st.booleans()):
        part = np.array(data.draw(st.lists(st.integers(0, m - 1), max_size=9)), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):  # several threads, each some of the examples
            patch.setattr("nnx.sources._LEAST", 4)
            patch.setattr("nnx.sources.usable_cores", lambda: 3)
        found = source.read(part)
    np.testing.assert_array_equal(found, wanted[..., part])
    assert found.dtype == np.float32
    out = np.full((*wanted.shape[:-1], found.shape[-1]), 77, np.float32, order="F")
    assert source.read(part, out) is out
    np.testing.assert_array_equal(out, found)
    if source.ready:
        assert np.shares_memory(source.read(slice(None)), array)
