"""Compiled predictions against the layers' own forward functions."""

from typing import Any

import numpy as np
import pytest

import nnx
from nnx.backends import get_backend
from nnx.backends.reference.activations import Elementwise, get_activation
from nnx.inference import CompiledOutputs, compiled_outputs, dense_outputs

CPU = get_backend("cpu")


def layers_of(net: nnx.Network, in_columns: bool = False) -> list[Any]:
    made = []
    for number, layer in enumerate(net.layers, 1):
        W, b = net.parameters[f"W{number}"], net.parameters[f"b{number}"]
        made.append((np.asfortranarray(W) if in_columns else W, b, layer.g))  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("m", [1, 2, 63, 1024, 3001])
@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity", "exponential"])
@pytest.mark.parametrize("hidden", ["relu", "gelu", "leaky_relu"])
def test_blocks_of_examples(m: int, output: str, hidden: str, dtype: str) -> None:
    net = nnx.MLP([20, 30, 9, 3], hidden, output, dtype=dtype, device="cpu")
    X = np.random.default_rng(0).standard_normal((20, m)).astype(dtype, order="F")
    wanted, _ = net.forward(X)
    for in_columns in (False, True):
        A_L = CPU.empty((3, m), dtype)
        layers = layers_of(net, in_columns)
        program = CompiledOutputs(layers, m)
        assert m >= program.m
        program(X, A_L)
        rtol = 1e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(A_L, wanted, rtol=rtol, atol=rtol)
        found = dense_outputs(CPU, layers, X.T, dtype)
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def test_no_hidden_layer_and_wide_ones() -> None:
    for n in ([5, 2], [5, 3000, 2]):
        net = nnx.MLP(n, device="cpu")
        X = np.random.default_rng(0).standard_normal((5, 700)).astype("float32", order="F")
        A_L = CPU.empty((2, 700))
        CompiledOutputs(layers_of(net), 700)(X, A_L)
        np.testing.assert_allclose(A_L, net.forward(X)[0], rtol=1e-4, atol=1e-6)


def test_not_a_number_comes_through() -> None:
    net = nnx.MLP([4, 3, 2], device="cpu")
    X = np.ones((4, 8), np.float32, order="F")
    X[0, 3] = np.nan
    A_L = CPU.empty((2, 8))
    CompiledOutputs(layers_of(net), 8)(X, A_L)
    np.testing.assert_array_equal(np.isnan(A_L).any(axis=0), np.arange(8) == 3)


def test_what_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nnx.MLP([4, 300, 2], device="cpu")
    X = np.ones((4, 100_000), np.float32, order="F")
    A_L, layers = CPU.empty((2, 100_000)), layers_of(net)
    monkeypatch.setattr("nnx.inference.worth_loading", lambda seconds: True)
    assert compiled_outputs(CPU, layers, X, A_L) is not None
    own = Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
    for other in (own, get_activation("softmax")):
        changed = [(*layers[0][:2], other), layers[1]]
        assert compiled_outputs(CPU, changed, X, A_L) is None
    assert compiled_outputs(CPU, [layers[0], (*layers[1][:2], own)], X, A_L) is None
    assert compiled_outputs(CPU, layers, np.ascontiguousarray(X), A_L) is None
    assert compiled_outputs(CPU, layers, X.astype("float64"), A_L) is None
    assert compiled_outputs(get_backend("strict"), layers, X, A_L) is None
    assert compiled_outputs(CPU, layers, X[:, :10], A_L[:, :10]) is None
    monkeypatch.setattr("nnx.inference.worth_loading", lambda seconds: False)
    assert compiled_outputs(CPU, layers, X, A_L) is None
