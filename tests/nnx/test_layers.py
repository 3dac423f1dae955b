"""The building blocks alone: dense_forward, dense_backward, linear_backward, Dense, and a layer of
one's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends.reference.activations import ACTIVATIONS


@dataclass(frozen=True)
class Scale(nnx.Layer):
    """A = s * A_prev with one learned number per unit."""

    units: int

    def parameters(self, n_prev: int) -> Mapping[str, nnx.Parameter]:
        return {"s": nnx.Parameter((self.units, 1), lambda shape, rng: 1.5, penalised=False)}

    def forward(self, parameters: Mapping[str, Any], A_prev: Any, key: int | None) -> Any:
        return parameters["s"] * A_prev, (A_prev, parameters["s"])

    def backward(self, dA: Any, cache: Any) -> Any:
        A_prev, s = cache
        xp = dA.__array_namespace__()
        return s * dA, {"s": xp.mean(dA * A_prev, axis=1, keepdims=True)}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    *[st.integers(1, 6)] * 3,
    st.sampled_from([1.0, 0.5]),
    st.integers(0, 2**32),
)
def test_blocks_are_the_derivatives(
    activation: str, n: int, n_prev: int, m: int, keep_prob: float, seed: int
) -> None:
    """Along a random direction of (W, b, A_prev) the change of sum(R * A) is what backward says."""
    rng = np.random.default_rng(seed)
    W, b, A_prev = (rng.standard_normal(s) for s in ((n, n_prev), (n, 1), (n_prev, m)))
    dW_, db_, dA_ = (rng.standard_normal(x.shape) for x in (W, b, A_prev))
    R = rng.standard_normal((n, m))

    def f(h: float) -> Any:
        return nnx.dense_forward(
            W + h * dW_, b + h * db_, A_prev + h * dA_, activation, keep_prob=keep_prob, key=7
        )

    h = 1e-6
    numerical = float(np.sum(R * (f(h)[0] - f(-h)[0])) / (2 * h))
    dA_prev, dW, db = nnx.dense_backward(R, f(0.0)[1])
    exact = m * float(np.sum(dW * dW_) + np.sum(db * db_)) + float(np.sum(dA_prev * dA_))
    kinks = activation in ("relu", "leaky_relu", "elu", "selu")
    Z = W @ A_prev + b
    if not (kinks and np.min(np.abs(Z)) < 1e-4):
        assert exact == pytest.approx(numerical, rel=1e-5, abs=1e-6)


def test_the_block_is_the_formula(device: str) -> None:
    backend = nnx.get_backend(device)
    W, b, A_prev = ([[1.0, 2.0]], [[0.5]], [[1.0, -1.0], [0.0, 3.0]])
    A, cache = nnx.dense_forward(*(backend.asarray(x, "float64") for x in (W, b, A_prev)), "tanh")
    np.testing.assert_allclose(backend.to_numpy(A), np.tanh([[1.5, 5.5]]))
    dZ = backend.asarray([[1.0, 2.0]], "float64")
    dA_prev, dW, db = (backend.to_numpy(x) for x in nnx.linear_backward(dZ, cache))
    np.testing.assert_allclose(dA_prev, [[1, 2], [2, 4]])
    np.testing.assert_allclose(dW, [[(1 - 2) / 2, 6 / 2]])
    np.testing.assert_allclose(db, [[1.5]])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((4, 3), (4, 1), (2, 5)),
            r"W is \(4, 3\), so A_prev must be of shape \(3, m\); got \(2, 5\)",
        ),
        (((4, 3), (4,), (3, 5)), r"W is \(4, 3\), so b must be of shape \(4, 1\); got \(4,\)"),
        (((4, 3), (3, 1), (3, 5)), r"so b must be of shape \(4, 1\); got \(3, 1\)"),
        (((4, 3), (4, 1), (3,)), r"so A_prev must be of shape \(3, m\); got \(3,\)"),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(nnx.errors.ShapeError, match=message):
        nnx.dense_forward(*(np.zeros(s) for s in shapes), "relu")


def test_dA_of_another_shape() -> None:
    _, cache = nnx.dense_forward(np.ones((2, 3)), np.ones((2, 1)), np.ones((3, 4)), "relu")
    with pytest.raises(nnx.errors.ShapeError, match=r"A is \(2, 4\), so dA must be of the same"):
        nnx.dense_backward(np.ones((2, 5)), cache)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": 0}, "units must be a whole number of at least 1, got 0"),
        ({"units": 2.5}, "units must be a whole number"),
        ({"units": True}, "units must be a whole number"),
        ({"units": 2, "keep_prob": 0.0}, "keep_prob must be a finite number above 0"),
        ({"units": 2, "keep_prob": 1.5}, r"keep_prob must be in \(0, 1\]"),
        ({"units": 2, "activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'"),
        ({"units": 2, "initialiser": "hee"}, "unknown initialiser 'hee'; did you mean 'he'"),
    ],
)
def test_layers_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(nnx.NnxError, match=message):
        nnx.Dense(**arguments)


def test_numpy_integers_are_integers() -> None:
    assert nnx.MLP(np.array([3, 4, 2]), device="cpu").n == (3, 4, 2)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_own_layer_anywhere(position: int) -> None:
    layers: list[nnx.Layer] = [nnx.Dense(3, "tanh"), nnx.Dense(3, "sigmoid")]
    layers.insert(position, Scale(3))
    net = nnx.Network(layers, n_x=3, loss="binary_cross_entropy", device="cpu", l2=0.2)
    rng = np.random.default_rng(0)
    net.parameters[f"s{position + 1}"][...] = 0.7
    if position == 2:  # the scaled output must stay a probability
        assert isinstance(net.layers[-1], Scale)
    X, Y = rng.standard_normal((3, 5)), rng.integers(0, 2, (3, 5))
    assert nnx.gradient_check(net, X, Y) < 1e-7


def test_own_layer_trains_saves_and_loads(tmp_path: Any, device: str) -> None:
    X, Y = np.random.default_rng(0).standard_normal((3, 60)), np.arange(60) % 2
    net = nnx.Network([Scale(3), nnx.Dense(2, "softmax")], n_x=3, device=device, seed=4)
    s = np.array(net.backend.to_numpy(net.parameters["s1"]))
    costs = net.fit(X, Y, epochs=5, batch_size=25)["cost"]
    assert costs[-1] < costs[0]
    assert not np.array_equal(net.backend.to_numpy(net.parameters["s1"]), s)
    net.save(tmp_path / "net")
    loaded = nnx.load(tmp_path / "net", device=device, custom=[Scale])
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    with pytest.raises(nnx.errors.CheckpointError, match=r"uses the layer 'Scale'; pass it"):
        nnx.load(tmp_path / "net", device=device)


def test_own_layer_of_the_wrong_height() -> None:
    @dataclass(frozen=True)
    class Wrong(Scale):
        def forward(self, parameters: Any, A_prev: Any, key: int | None) -> Any:
            return np.ones((self.units + 1, A_prev.shape[1])), None

    net = nnx.Network([Wrong(3), nnx.Dense(2)], n_x=3, device="cpu")
    message = r"W\[2\] is \(2, 3\), so layer 2 needs A\[1\] of shape \(3, m\); got \(4, 5\)"
    with pytest.raises(nnx.errors.ShapeError, match=message):
        net.forward(np.ones((3, 5)))
    net = nnx.Network([nnx.Dense(3), Wrong(3)], n_x=3, device="cpu")
    with pytest.raises(
        nnx.errors.ShapeError, match=r"layer 2 has 3 units, so it must return A\[2\]"
    ):
        net.forward(np.ones((3, 5)))
    net = nnx.Network([Wrong(3), Scale(3)], n_x=3, device="cpu")
    with pytest.raises(
        nnx.errors.ShapeError, match=r"layer 2 takes n\[1\] = 3 inputs, so it needs"
    ):
        net.forward(np.ones((3, 5)))
