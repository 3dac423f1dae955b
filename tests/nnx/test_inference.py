"""Compiled predictions against the layers' own forward functions."""

from typing import Any

import numpy as np
import pytest

import nnx
from nnx.backends import get_backend
from nnx.backends.reference.activations import Elementwise, get_activation
from nnx.inference import CompiledOutputs, DenseOutputs, compiled_outputs

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
        found = DenseOutputs(CPU, layers, dtype)(X.T)
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol)


def test_no_hidden_layer_and_wide_ones() -> None:
    for n in ([5, 2], [5, 3000, 2], [5, 1, 2]):
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


def test_what_is_not_compiled() -> None:
    net = nnx.MLP([4, 300, 2], device="cpu")
    A_L, layers = CPU.zeros((2, 100_000)), layers_of(net)
    assert compiled_outputs(CPU, layers, A_L) is not None
    own = Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
    for other in (own, get_activation("softmax")):
        changed = [(*layers[0][:2], other), layers[1]]
        assert compiled_outputs(CPU, changed, A_L) is None
    assert compiled_outputs(CPU, [layers[0], (*layers[1][:2], own)], A_L) is None
    assert compiled_outputs(CPU, layers, A_L.astype("float64")) is None
    assert compiled_outputs(get_backend("strict"), layers, A_L) is None
    assert compiled_outputs(CPU, layers, A_L[:, :10]) is None


@pytest.mark.parametrize("compiled", [False, True])
def test_programs_are_kept(compiled: bool) -> None:
    net = nnx.MLP([4, 30, 2], device="cpu")
    outputs = DenseOutputs(CPU, layers_of(net), "float32", compiled=compiled)
    rng = np.random.default_rng(0)
    for m in (40, 50, 60, 70, 80, 40):
        X = rng.standard_normal((m, 4), np.float32)
        first = outputs(X)
        np.testing.assert_allclose(first, net.forward(X.T)[0], rtol=1e-5, atol=1e-6)
        kept = [id(program) for program in outputs._free.get(m, ())]
        assert len(kept) == compiled
        np.testing.assert_array_equal(outputs(X), first)
        assert [id(program) for program in outputs._free.get(m, ())] == kept
        assert len(outputs._free) <= 4
    # What changes in place is seen.
    net.parameters["W1"][...] *= 2
    np.testing.assert_allclose(outputs(X), net.forward(X.T)[0], rtol=1e-5, atol=1e-6)


def test_the_examples_alone_decide_whether_a_program_is_wanted() -> None:
    """However many came before."""
    net = nnx.MLP([4, 30, 2], device="cpu")
    outputs = DenseOutputs(CPU, layers_of(net), "float32")
    for _ in range(100):
        assert outputs._take(CPU.empty((2, 40)))[1] is None
        assert outputs._take(CPU.empty((2, 10_000_000)))[1] is not None


@pytest.mark.parametrize("m", [1, 7, 511, 513, 1025, 1347])
def test_blocks_leave_little_over(m: int) -> None:
    net = nnx.MLP([4, 30, 2], device="cpu")
    program = CompiledOutputs(layers_of(net), m)
    launches = -(-m // program.m)
    assert program.m <= m <= launches * program.m
    assert launches * program.m - m < max(4 * launches, program.m if launches > 1 else 0.1 * m + 2)


@pytest.mark.parametrize("sizes", [[5, 8, 1], [5, 1, 1], [1, 8, 2]])
def test_one_unit_in_columns(sizes: list[int]) -> None:
    net = nnx.MLP(sizes, output="sigmoid", device="cpu")
    X = np.random.default_rng(0).standard_normal((sizes[0], 40)).astype("float32", order="F")
    # Strides of an axis of length one are free: here those of the transposed matrix.
    layers = [(np.ascontiguousarray(W.T).T, b, g) for W, b, g in layers_of(net)]
    A_L = CPU.empty((sizes[-1], 40))
    CompiledOutputs(layers, 40)(X, A_L)
    np.testing.assert_allclose(A_L, net.forward(X)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2000, 1 << 18])
@pytest.mark.parametrize("m", [40, 3001])
def test_rows_of_any_order_and_dtype(monkeypatch: pytest.MonkeyPatch, m: int, at_once: int) -> None:
    monkeypatch.setattr("nnx.inference._COPIED_AT_ONCE", at_once)
    net = nnx.MLP([4, 30, 2], device="cpu")
    outputs = DenseOutputs(CPU, layers_of(net), "float32", compiled=True)
    X = np.random.default_rng(0).standard_normal((m, 4), np.float32)
    wanted = outputs(X)
    np.testing.assert_allclose(wanted, net.forward(X.T)[0], rtol=1e-5, atol=1e-6)
    for other in (np.asfortranarray(X), X.astype("float64"), np.repeat(X, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(outputs(other), wanted)
