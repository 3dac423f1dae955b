"""Batches that go through the network in blocks: the mathematics of the whole batch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.batching import Batching, automatic
from nnx.errors import DataError

RNG = np.random.default_rng(0)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_blocks_of_a_batch_are_the_batch(data: st.DataObject) -> None:
    """Over drawn shapes, weights, dropout and penalties; with last smaller blocks and batches."""
    depth = data.draw(st.integers(1, 3))
    n = data.draw(st.lists(st.integers(1, 7), min_size=depth, max_size=depth))
    m = data.draw(st.integers(2, 40))
    size = data.draw(st.integers(1, m))
    block = data.draw(st.integers(1, size))
    compiled = data.draw(st.sampled_from([None, False]))
    optimizer = data.draw(
        st.sampled_from([nnx.GradientDescent(0.05), nnx.Momentum(0.05, clip_norm=0.1), nnx.Adam()])
    )
    net = nnx.MLP(
        [*n, 3],
        "tanh",
        keep_prob=data.draw(st.sampled_from([1.0, 0.6])),
        l2=data.draw(st.sampled_from([0.0, 0.3])),
        l1=data.draw(st.sampled_from([0.0, 0.1])),
        seed=data.draw(st.integers(0, 1000)),
        dtype="float64",
        device="cpu",
    )
    X, Y = RNG.standard_normal((n[0], m)), RNG.integers(0, 3, m)
    weights = None
    if data.draw(st.booleans()):
        weights = RNG.uniform(0.1, 3, m) * RNG.integers(0, 2, m)
        weights[0] = 1
    arguments: dict[str, Any] = {
        "epochs": 2,
        "batch_size": size,
        "optimizer": optimizer,
        "sample_weight": weights,
        "shuffle": data.draw(st.booleans()),
    }
    where: Any = data.draw(st.sampled_from(["device", "stream"]))
    other = net.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nnx.settling.worth_compiling", lambda *_: compiled)
        whole = net.fit(X, Y, **arguments)
        blocked = other.fit(X, Y, block_size=block, data=where, **arguments)
    assert blocked.chosen["block_size"] == block
    np.testing.assert_allclose(blocked["cost"], whole["cost"], rtol=1e-12, atol=1e-12)
    # Adam divides by the root of tiny squares, which makes rounding larger.
    scale = 1e-12 if optimizer.rule.name != "adam" else 1e-9
    np.testing.assert_allclose(other.theta, net.theta, rtol=scale, atol=scale)


@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize("n", [[40, 300, 8], [30, 20, 10, 8]])
def test_gradients_of_large_batches(
    n: list[int], compiled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By examples as a whole and by units in blocks, and the reverse: one step, 1e-12."""
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: compiled)
    X, Y = RNG.standard_normal((n[0], 2900)), RNG.integers(0, 8, 2900)
    nets = [nnx.MLP(n, keep_prob=0.8, l2=0.2, dtype="float64", device="cpu") for _ in range(3)]
    for net, block in zip(nets, (None, 700, 1200), strict=True):
        net.fit(
            X, Y, epochs=1, batch_size="all", block_size=block, optimizer=nnx.GradientDescent(1.0)
        )
    for net in nets[1:]:
        np.testing.assert_allclose(net.theta, nets[0].theta, rtol=1e-12, atol=1e-12)


class Scale(nnx.Layer):
    """A layer of one's own with dropout of its own."""

    units = 4

    def parameters(self, n_prev: int) -> Any:
        return {"S": nnx.Parameter((4, 1), nnx.initialisers.INITIALISERS["normal"], True)}  # type: ignore[attr-defined]

    def forward(self, theta: Any, A_prev: Any, key: int | None) -> Any:
        from nnx.backends import get_backend

        backend = get_backend("cpu")
        D = np.ones_like(A_prev) if key is None else backend.dropout(np.ones_like(A_prev), key, 0.7)
        return theta["S"] * A_prev * D, (theta["S"], A_prev * D, D)

    def backward(self, dA: Any, cache: Any) -> Any:
        S, A_prev, D = cache
        dS = (dA * A_prev).sum(axis=1, keepdims=True) / dA.shape[1]
        return S * dA * D, {"S": dS}


def test_layers_of_ones_own(device: str) -> None:
    del device
    X, Y = RNG.standard_normal((3, 50)), RNG.integers(0, 2, 50)
    nets = [
        nnx.Network(
            [nnx.Dense(4, "tanh", 0.8), Scale(), nnx.Dense(2, "softmax")],
            n_x=3, l2=0.1, dtype="float64", device="cpu",
        )
        for _ in range(2)
    ]  # fmt: skip
    for net, block in zip(nets, (None, 7), strict=True):
        net.fit(X, Y, epochs=2, batch_size=30, block_size=block, optimizer=nnx.Momentum(0.1))
    np.testing.assert_allclose(nets[1].theta, nets[0].theta, rtol=1e-12, atol=1e-12)


def test_blocks_on_every_device(device: str) -> None:
    X, Y = RNG.standard_normal((5, 60)), RNG.integers(0, 3, 60)
    nets = [nnx.MLP([5, 6, 3], keep_prob=0.8, dtype="float64", device=device) for _ in range(2)]
    costs = [
        net.fit(X, Y, epochs=2, batch_size=32, block_size=block)["cost"]
        for net, block in zip(nets, (None, 10), strict=True)
    ]
    np.testing.assert_allclose(costs[1], costs[0], rtol=1e-11)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_pieces_cover_every_example_once(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 300))
    size = data.draw(st.integers(1, m))
    batching = Batching(m, size, data.draw(st.integers(1, size)))
    pieces = list(batching.pieces(data.draw(st.sampled_from([1, 1 << 20, 1 << 26]))))
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert (pieces[0].start, pieces[-1].stop) == (0, m)
    assert {piece.size for piece in pieces} == set(batching.sizes())
    updates = [piece.batches for piece in pieces if piece.ends]
    assert sum(updates) == batching.steps == -(-m // size)
    for piece in pieces:
        assert (piece.stop - piece.start) % piece.size == 0
        whole = min(size, m - (piece.start - piece.first))
        assert piece.batch == (whole if batching.blocked else piece.size)
        assert piece.stop - piece.start <= batching.longest(1)


def test_a_slab_bounds_what_is_handed_over_at_once() -> None:
    batching = Batching(10_000, 100, 100)
    assert batching.longest(1 << 20) == 100
    assert [p.batches for p in batching.pieces((1 << 25) // 300)] == [3] * 33 + [1]


def test_the_automatic_batch_size() -> None:
    """Powers of two from 64 to 4,096 with 64 steps or more in an epoch."""
    wanted = {
        1: 1, 50: 50, 1347: 64, 8191: 64, 8192: 128, 60_000: 512, 100_000: 1024,
        262_144: 4096, 10**9: 4096,
    }  # fmt: skip
    assert {m: automatic(m) for m in wanted} == wanted


def test_the_history_tells_what_was_chosen(device: str) -> None:
    X, Y = np.tile(np.eye(4), 4000), np.tile([0, 1, 2, 0], 4000)
    net = nnx.MLP([4, 3], device=device)
    history = net.fit(X, Y, epochs=1, batch_size="auto")
    steps = history.chosen.pop("steps")
    assert steps == ("graph" if device == "cuda" else "primitives")
    assert history.chosen == {"batch_size": 128, "block_size": 128, "data": "device"}
    assert repr(history).endswith("; batch_size 128; block_size 128; data device)")
    again = nnx.MLP([4, 3], device=device).fit(X, Y, epochs=1, batch_size=128)
    assert again["cost"] == history["cost"]
    assert net.fit(X[:, :6], Y[:6]).chosen["batch_size"] == 6


def test_a_block_larger_than_its_batch_is_the_batch() -> None:
    X, Y = np.tile(np.eye(4), 10), np.tile([0, 1, 2, 0], 10)
    net = nnx.MLP([4, 3], device="cpu")
    assert net.fit(X, Y, batch_size=8, block_size=9, epochs=1).chosen["block_size"] == 8
    with pytest.raises(DataError, match="block_size"):
        net.fit(X, Y, block_size=0)
