"""The network as users hold it: construction, parameters, predictions, words, devices."""

from typing import Any

import numpy as np
import pytest

import nnx
from nnx.initialisers import INITIALISERS, get_initialiser

RNG = np.random.default_rng(0)


def numpy_of(net: nnx.Network, x: Any) -> Any:
    return net.backend.to_numpy(x)


def test_forward_is_the_loop_over_units_and_examples(device: str) -> None:
    net = nnx.MLP([3, 4, 2], "tanh", "sigmoid", device=device, dtype="float64", seed=5)
    X = RNG.standard_normal((3, 6))
    A_L, caches = net.forward(X)
    p = {name: numpy_of(net, view) for name, view in net.parameters.items()}
    for j in range(6):
        hidden = [
            np.tanh(sum(p["W1"][i, k] * X[k, j] for k in range(3)) + p["b1"][i, 0])
            for i in range(4)
        ]
        for i in range(2):
            z = sum(p["W2"][i, k] * hidden[k] for k in range(4)) + p["b2"][i, 0]
            assert float(A_L[i, j]) == pytest.approx(1 / (1 + np.exp(-z)), rel=1e-12)
    assert len(caches) == net.L == 2


def test_parameters_are_views_of_theta(device: str) -> None:
    net = nnx.MLP([5, 7, 3], device=device)
    assert list(net.parameters) == ["W1", "b1", "W2", "b2"]
    shapes = [tuple(p.shape) for p in net.parameters.values()]
    assert shapes == [(7, 5), (7, 1), (3, 7), (3, 1)]
    assert net.n_parameters == 7 * 5 + 7 + 3 * 7 + 3
    net.parameters["W2"][...] = net.backend.asarray(np.full((3, 7), 8.5), "float32")
    assert np.sum(numpy_of(net, net.theta) == 8.5) == 21
    net.theta[...] = 0
    assert not np.any(numpy_of(net, net.parameters["W2"]))
    net.parameters["W1"] = np.full((7, 5), 2.5)
    assert np.sum(numpy_of(net, net.theta) == 2.5) == 35
    assert (net.n_x, net.n_y, net.n) == (5, 3, (5, 7, 3))


def test_weights_come_before_biases_and_are_aligned() -> None:
    net = nnx.MLP([5, 7, 3], device="cpu")
    base = net.theta.ctypes.data
    starts = {name: (view.ctypes.data - base) // 4 for name, view in net.parameters.items()}
    assert starts == {"W1": 0, "W2": 64, "b1": 128, "b2": 192}
    assert net.vector.penalised == 128


def test_penalties_do_not_see_the_gaps_or_the_biases() -> None:
    net = nnx.MLP([2, 3, 2], l2=0.8, l1=0.3, device="cpu", dtype="float64")
    net.parameters["b1"][...] = 5
    X, Y = RNG.standard_normal((2, 4)), [0, 1, 0, 1]
    A_L, _ = net.forward(X)
    plain = nnx.MLP([2, 3, 2], device="cpu", dtype="float64")
    W = np.concatenate([net.parameters["W1"].ravel(), net.parameters["W2"].ravel()])
    extra = 0.8 / 8 * np.sum(W**2) + 0.3 / 4 * np.sum(np.abs(W))
    assert net.cost(A_L, Y) == pytest.approx(plain.cost(A_L, Y) + extra)


@pytest.mark.parametrize(
    ("n_y", "output", "shape", "kind"),
    [
        (3, "softmax", (6,), "i"),
        (1, "sigmoid", (6,), "i"),
        (3, "sigmoid", (3, 6), "i"),
        (1, "identity", (1, 6), "f"),
        (3, "identity", (3, 6), "f"),
    ],
)
def test_predictions(n_y: int, output: str, shape: tuple[int, ...], kind: str, device: str) -> None:
    net = nnx.MLP([4, 5, n_y], output=output, device=device)
    X = RNG.standard_normal((4, 6))
    labels, A_L = net.predict(X), net.predict_proba(X)
    assert isinstance(labels, np.ndarray)
    assert labels.shape == shape
    assert labels.dtype.kind == kind
    np.testing.assert_allclose(A_L, numpy_of(net, net.forward(X)[0]), rtol=1e-6)
    if output == "softmax":
        np.testing.assert_array_equal(labels, np.argmax(A_L, axis=0))
    elif output == "sigmoid":
        np.testing.assert_array_equal(labels, (A_L > 0.5).astype(int).reshape(shape))
    else:
        np.testing.assert_array_equal(labels, A_L)
    targets = labels if kind == "i" else A_L
    assert net.score(X, targets) == 1.0


def test_out_comes_the_kind_that_came_in() -> None:
    xp = pytest.importorskip("array_api_strict")
    net = nnx.MLP([4, 5, 3], device="cpu")
    X = RNG.standard_normal((4, 6))
    assert isinstance(net.predict(X.tolist()), np.ndarray)
    labels = net.predict(xp.asarray(X))
    assert type(labels) is type(xp.asarray(X))
    np.testing.assert_array_equal(np.asarray(labels), net.predict(X))


def test_many_examples_go_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nnx.MLP([4, 5, 3], device="cpu", dtype="float64")
    X, Y = RNG.standard_normal((4, 50)), RNG.integers(0, 3, 50)
    whole, cost = net.predict_proba(X), net.fit(X, Y, validation=(X, Y), epochs=1)
    fresh = nnx.MLP([4, 5, 3], device="cpu", dtype="float64")
    monkeypatch.setattr("nnx.evaluation._BLOCK", 35)  # blocks of 7 examples
    np.testing.assert_allclose(fresh.predict_proba(X), whole, rtol=1e-12)
    again = fresh.fit(X, Y, validation=(X, Y), epochs=1)
    assert again["validation_cost"] == pytest.approx(cost["validation_cost"], rel=1e-12)


def test_the_default_loss_follows_from_the_output() -> None:
    outputs = {
        "softmax": "categorical_cross_entropy",
        "sigmoid": "binary_cross_entropy",
        "exponential": "poisson",
        "identity": "mean_squared_error",
        "relu": "mean_squared_error",
    }
    for output, loss in outputs.items():
        assert nnx.MLP([2, 3], output=output, device="cpu").loss.name == loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("logit", [1e4, -1e4])
def test_extreme_logits_give_finite_costs_and_gradients(
    dtype: str, logit: float, device: str
) -> None:
    X = np.ones((1, 2))
    for net in (
        nnx.LogisticRegression(1, device=device, dtype=dtype),
        nnx.LogisticRegression(1, 2, device=device, dtype=dtype),
    ):
        net.parameters["W1"][0, 0] = logit
        A_L, caches = net.forward(X)
        J = net.cost(A_L, [0, 1], caches=caches)
        assert pytest.approx(1e4 / 2, rel=1e-6) == J  # one of the two is right
        for gradient in net.backward([0, 1], caches).values():
            assert np.all(np.isfinite(numpy_of(net, gradient)))
        assert np.isfinite(net.cost(A_L, [0, 1]))


def test_float64_input_is_taken_in_the_dtype_of_the_network() -> None:
    net = nnx.MLP([4, 5, 3], device="cpu")
    assert net.forward(RNG.standard_normal((4, 6)))[0].dtype == np.float32
    assert nnx.MLP([4, 3], dtype=np.float64, device="cpu").dtype == "float64"  # type: ignore[arg-type]


def test_rows_cross_the_border_without_a_copy() -> None:
    """X.T of row-per-example data is what the network reads, not a copy of it."""
    rows = RNG.standard_normal((6, 4)).astype(np.float32)
    _, caches = nnx.MLP([4, 3], device="cpu").forward(rows.T)
    assert caches[0].A_prev.ctypes.data == rows.ctypes.data


def test_the_same_seed_gives_the_same_weights(device: str) -> None:
    a, b = nnx.MLP([4, 5, 3], seed=7, device=device), nnx.MLP([4, 5, 3], seed=7, device="cpu")
    np.testing.assert_array_equal(numpy_of(a, a.theta), b.theta)
    assert not np.array_equal(b.theta, nnx.MLP([4, 5, 3], seed=8, device="cpu").theta)


def test_copy_to_and_dtype(device: str) -> None:
    net = nnx.MLP([4, 5, 3], device="cpu")
    twin, moved, exact = net.copy(), net.to(device), net.copy(dtype="float64")
    twin.theta[...] = 0
    assert np.any(net.theta)
    assert moved.device.startswith(device)
    assert (moved is net) == (device == "cpu")
    np.testing.assert_array_equal(numpy_of(moved, moved.parameters["W1"]), net.parameters["W1"])
    assert exact.theta.dtype == np.float64
    np.testing.assert_array_equal(exact.parameters["W2"], net.parameters["W2"])
    net.fit(np.ones((4, 2)), [0, 1], epochs=1)
    with pytest.raises(nnx.errors.DataError, match="no earlier fit"):
        net.copy().fit(np.ones((4, 2)), [0, 1], resume=True)


def test_words() -> None:
    net = nnx.MLP([784, 128, 10], device="cpu", dtype="float32")
    text = "Network(784 -> 128 relu -> 10 softmax, categorical_cross_entropy, float32 on cpu)"
    assert repr(net) == text
    lines = net.summary().splitlines()
    assert lines[0] == text
    first, last = lines[3].split(), lines[-1].split()
    assert "W[1] (128, 784), b[1] (128, 1)" in lines[3]
    # 128 * 784 + 128 parameters; 2 * 128 * 784 FLOP, no dA[0] in training; A and dZ in float32.
    assert first[-4:] == ["100,480", "200,704", "401,408", "1,024"]
    total = 2 * 128 * 784 + 2 * 10 * 128
    training = 2 * 2 * 128 * 784 + 3 * 2 * 10 * 128
    assert last[-4:] == [f"{101_770:,}", f"{total:,}", f"{training:,}", f"{8 * 138:,}"]


def test_short_forms() -> None:
    net = nnx.MLP([2, 3, 4, 1], ["tanh", "gelu"], "sigmoid", keep_prob=0.5, device="cpu")
    assert net.layers == (
        nnx.Dense(3, "tanh", 0.5),
        nnx.Dense(4, "gelu", 0.5),
        nnx.Dense(1, "sigmoid"),
    )
    net = nnx.LogisticRegression(5, 3, device="cpu")
    assert net.layers[0].g.name == "softmax"  # type: ignore[attr-defined]
    assert not np.any(net.theta)


@pytest.mark.parametrize("name", sorted(INITIALISERS))
def test_initialisers(name: str) -> None:
    n, n_prev = 300, 500
    net = nnx.MLP([n_prev, n], output="identity", initialiser=name, device="cpu", dtype="float64")
    W = net.parameters["W1"]
    deviations = {
        "zeros": 0.0,
        "normal": 0.01,
        "glorot": np.sqrt(2 / (n + n_prev)),
        "he": np.sqrt(2 / n_prev),
        "lecun": np.sqrt(1 / n_prev),
        "orthogonal": np.sqrt(1 / n_prev),
    }
    assert np.std(W) == pytest.approx(deviations[name], rel=0.02)
    assert not np.any(net.parameters["b1"])
    if name == "glorot":
        assert np.max(np.abs(W)) <= np.sqrt(6 / (n + n_prev))
    if name == "orthogonal":
        np.testing.assert_allclose(W @ W.T, np.eye(n), atol=1e-12)
        tall = INITIALISERS[name]((500, 300), np.random.default_rng(0))
        np.testing.assert_allclose(tall.T @ tall, np.eye(300), atol=1e-12)


def test_the_default_initialiser_follows_from_the_activation() -> None:
    defaults = {"relu": "he", "gelu": "he", "selu": "lecun", "tanh": "glorot", "softmax": "glorot"}
    for activation, name in defaults.items():
        assert get_initialiser(None, nnx.Dense(1, activation).g) is INITIALISERS[name]
