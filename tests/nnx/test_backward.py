"""`backward` against automatic differentiation, central differences and the lecture's loop."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends.reference.activations import ACTIVATIONS
from nnx.backends.reference.losses import LOSSES

autograd = pytest.importorskip("autograd", reason="autograd is not installed (extra: dev)")
anp = pytest.importorskip("autograd.numpy")

# Formulas of their own, written as the textbooks do; the numbers drawn here are moderate.
G: dict[str, Any] = {
    "identity": lambda Z: Z,
    "sigmoid": lambda Z: 1 / (1 + anp.exp(-Z)),
    "tanh": lambda Z: anp.tanh(Z),
    "relu": lambda Z: anp.where(Z > 0, Z, 0.0),
    "leaky_relu": lambda Z: anp.where(Z > 0, Z, 0.01 * Z),
    "elu": lambda Z: anp.where(Z > 0, Z, anp.exp(anp.where(Z > 0, 0.0, Z)) - 1),
    "selu": lambda Z: (
        1.0507009873554805
        * anp.where(Z > 0, Z, 1.6732632423543772 * (anp.exp(anp.where(Z > 0, 0.0, Z)) - 1))
    ),
    "gelu": lambda Z: 0.5 * Z * (1 + anp.tanh(anp.sqrt(2 / anp.pi) * (Z + 0.044715 * Z**3))),
    "silu": lambda Z: Z / (1 + anp.exp(-Z)),
    "softplus": lambda Z: anp.log(1 + anp.exp(Z)),
    "softmax": lambda Z: anp.exp(Z) / anp.sum(anp.exp(Z), axis=0, keepdims=True),
    "exponential": lambda Z: anp.exp(Z),
}


def huber(E: Any) -> Any:
    return anp.where(anp.abs(E) <= 1, E**2 / 2, anp.abs(E) - 0.5)


L: dict[str, Any] = {
    "binary_cross_entropy": lambda A, Y: (
        -anp.sum(Y * anp.log(A) + (1 - Y) * anp.log(1 - A), axis=0)
    ),
    "categorical_cross_entropy": lambda A, Y: -anp.sum(Y * anp.log(A), axis=0),
    "mean_squared_error": lambda A, Y: anp.mean((A - Y) ** 2, axis=0),
    "mean_absolute_error": lambda A, Y: anp.mean(anp.abs(A - Y), axis=0),
    "huber": lambda A, Y: anp.mean(huber(A - Y), axis=0),
    "poisson": lambda A, Y: anp.mean(A - Y * anp.log(A), axis=0),
}

# Every output activation whose values a loss can use.
OUTPUTS = {
    "binary_cross_entropy": ["sigmoid", "softmax"],
    "categorical_cross_entropy": ["softmax", "sigmoid"],
    "poisson": ["exponential", "softplus", "sigmoid"],
}
PAIRS = [(loss, g) for loss in LOSSES for g in OUTPUTS.get(loss, ACTIVATIONS)]


def targets(loss: str, n_y: int, m: int, rng: np.random.Generator) -> Any:
    if loss == "categorical_cross_entropy":
        return np.eye(n_y)[:, rng.integers(0, n_y, m)]
    if loss == "binary_cross_entropy":
        return rng.integers(0, 2, (n_y, m)).astype(float)
    return rng.integers(0, 5, (n_y, m)) if loss == "poisson" else rng.standard_normal((n_y, m))


def test_the_oracles_cover_everything() -> None:
    assert G.keys() == ACTIVATIONS.keys()
    assert L.keys() == LOSSES.keys()


def randomise_biases(net: nnx.Network, rng: np.random.Generator) -> None:
    for name, view in net.parameters.items():
        if name.startswith("b"):
            view[...] = net.backend.asarray(0.3 * rng.standard_normal(view.shape), net.dtype)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_backward_is_automatic_differentiation(data: st.DataObject) -> None:
    loss, output = data.draw(st.sampled_from(PAIRS))
    depth = data.draw(st.integers(1, 5))
    hidden = data.draw(st.lists(st.sampled_from(sorted(G)), min_size=depth - 1, max_size=depth - 1))
    n = data.draw(st.lists(st.integers(1, 6), min_size=depth, max_size=depth))
    n_y, m = data.draw(st.integers(2, 4)), data.draw(st.integers(1, 8))
    l2, l1 = data.draw(st.sampled_from([(0.0, 0.0), (0.5, 0.0), (0.2, 0.1)]))
    weighted = data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))

    layers = [nnx.Dense(k, g) for k, g in zip(n[1:], hidden, strict=True)]
    layers.append(nnx.Dense(n_y, output))
    net = nnx.Network(
        layers, n_x=n[0], loss=loss, device="cpu", dtype="float64", seed=3, l2=l2, l1=l1
    )
    randomise_biases(net, rng)
    net.theta[...] *= 0.5
    X, Y = rng.standard_normal((n[0], m)), targets(loss, n_y, m, rng)
    s = rng.uniform(0.2, 2, m) if weighted else None

    def J(parameters: dict[str, Any]) -> Any:
        A = X
        for number, layer in enumerate(layers, 1):
            Z = anp.dot(parameters[f"W{number}"], A) + parameters[f"b{number}"]
            A = G[layer.g.name](Z)
        losses = L[loss](A, Y)
        cost = anp.mean(losses if s is None else losses * s / np.mean(s))
        for number in range(1, depth + 1):
            W = parameters[f"W{number}"]
            cost = cost + l2 / (2 * m) * anp.sum(W**2) + l1 / m * anp.sum(anp.abs(W))
        return cost

    wanted_cost, wanted = (
        J({k: np.array(v) for k, v in net.parameters.items()}),
        autograd.grad(J)({k: np.array(v) for k, v in net.parameters.items()}),
    )
    A_L, caches = net.forward(X)
    got = net.backward(Y, caches, sample_weight=s)
    assert net.cost(A_L, Y, sample_weight=s) == pytest.approx(wanted_cost, rel=1e-10)
    assert net.cost(A_L, Y, caches=caches, sample_weight=s) == pytest.approx(wanted_cost, rel=1e-10)
    scale = max(1.0, *(float(np.max(np.abs(g))) for g in wanted.values()))
    for name, gradient in wanted.items():
        np.testing.assert_allclose(got[f"d{name}"], gradient, rtol=1e-10, atol=1e-10 * scale)


@pytest.mark.parametrize(("loss", "output"), PAIRS)
@pytest.mark.parametrize("hidden", sorted(ACTIVATIONS))
def test_gradient_check(hidden: str, loss: str, output: str) -> None:
    rng = np.random.default_rng(5)
    net = nnx.MLP([3, 4, 3], hidden, output, loss=loss, device="cpu", dtype="float64", seed=2)
    randomise_biases(net, rng)
    net.theta[...] *= 0.5
    X, Y = rng.standard_normal((3, 5)), targets(loss, 3, 5, rng)
    assert nnx.gradient_check(net, X, Y) < 1e-7


def test_gradient_check_covers_dropout_and_penalties() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4, 6)), rng.integers(0, 3, 6)
    net = nnx.MLP([4, 8, 3], "tanh", keep_prob=0.6, l2=0.3, l1=0.1, device="cpu")
    before = np.array(net.theta)
    assert nnx.gradient_check(net, X, Y) < 1e-7
    np.testing.assert_array_equal(net.theta, before)


def test_gradient_check_finds_a_wrong_derivative() -> None:
    wrong = nnx.Elementwise("wrong", lambda xp, Z: Z**3, lambda xp, Z: 2.9 * Z**2, "Z")
    rng = np.random.default_rng(0)
    net = nnx.MLP([3, 4, 2], wrong, device="cpu")
    assert nnx.gradient_check(net, rng.standard_normal((3, 6)), rng.integers(0, 2, 6)) > 1e-3


def test_the_lecture_loop_over_examples(device: str) -> None:
    """Logistic regression, one example after the other, as on the slides."""
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((3, 7)), rng.integers(0, 2, 7)
    net = nnx.LogisticRegression(3, device=device, dtype="float64")
    w = rng.standard_normal((1, 3))
    net.parameters["W1"][...] = net.backend.asarray(w)
    J, dw, db = 0.0, np.zeros(3), 0.0
    for i in range(7):
        z = w[0] @ X[:, i]
        a = 1 / (1 + np.exp(-z))
        J += -(Y[i] * np.log(a) + (1 - Y[i]) * np.log(1 - a))
        dz = a - Y[i]
        dw += X[:, i] * dz
        db += dz
    A_L, caches = net.forward(X)
    gradients = {k: net.backend.to_numpy(v) for k, v in net.backward(Y, caches).items()}
    assert net.cost(A_L, Y) == pytest.approx(J / 7, rel=1e-12)
    np.testing.assert_allclose(gradients["dW1"][0], dw / 7, rtol=1e-12)
    np.testing.assert_allclose(gradients["db1"], db / 7, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_backward_is_pytorch(data: st.DataObject) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (extra: peers)")
    names = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid}
    hidden = data.draw(st.lists(st.sampled_from(sorted(names)), max_size=4))
    n = data.draw(st.lists(st.integers(1, 9), min_size=len(hidden) + 1, max_size=len(hidden) + 1))
    m, n_y = data.draw(st.integers(1, 12)), 3
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    X, Y = rng.standard_normal((n[0], m)), rng.integers(0, n_y, m)
    net = nnx.MLP([*n, n_y], hidden, device="cpu", dtype="float64", seed=1)
    p = {k: torch.tensor(np.array(v), requires_grad=True) for k, v in net.parameters.items()}
    A = torch.tensor(X)
    for number, name in enumerate(hidden, 1):
        A = names[name](p[f"W{number}"] @ A + p[f"b{number}"])
    Z = p[f"W{net.L}"] @ A + p[f"b{net.L}"]
    torch.nn.functional.cross_entropy(Z.T, torch.tensor(Y)).backward()
    gradients = net.backward(Y, net.forward(X)[1])
    for name, tensor in p.items():
        np.testing.assert_allclose(gradients[f"d{name}"], tensor.grad, rtol=1e-10, atol=1e-12)
