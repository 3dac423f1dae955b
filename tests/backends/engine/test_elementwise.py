"""Compiled activations against the reference, over the whole range of numbers."""

import numpy as np
import pytest
from numba import njit

from nnx.backends.engine import elementwise, exponential, interpreter, kernels
from nnx.backends.engine.lowlevel import floats
from nnx.backends.reference.activations import ACTIVATIONS

NAMES = sorted(elementwise.CODES)


@njit
def forward(code, address, n, one):
    a = floats(address, one)
    elementwise.forward_row(code, a, n, one)


@njit
def keeping(code, z, a, n, one):
    elementwise.forward_row_keeping(code, floats(z, one), floats(a, one), n)


@njit
def backward(code, d, cache, n, alpha, one):
    elementwise.backward_row(code, floats(d, one), floats(cache, one), n, alpha, one)


def numbers(dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal(4000) * np.repeat([1e-3, 1, 10, 80], 1000)
    edges = [0.0, -0.0, 1e4, -1e4, 88.0, -88.0, 103.9, -103.9, 0.625, -0.625, np.inf, -np.inf]
    return np.concatenate([drawn, edges, [np.nan]]).astype(dtype)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_forward_is_the_references(name: str, dtype: str) -> None:
    g, Z = ACTIVATIONS[name], numbers(dtype)
    if name in ("gelu", "silu"):
        Z = Z[np.isfinite(Z)]  # inf times zero is a matter of taste
    if name == "selu":
        Z = Z[np.isfinite(Z)]
    wanted = g.forward(np, Z.astype("float64"))
    if dtype == "float32":
        wanted = wanted.astype("float32")
    found = Z.copy()
    alpha = found.dtype.type(g.alpha or 1)  # type: ignore[attr-defined]
    forward(elementwise.CODES[name], found.ctypes.data, found.size, alpha)
    eps = np.finfo(dtype).eps
    # exp(z) magnifies the rounding of z by |z|, hence the larger bound of the exponentials.
    np.testing.assert_allclose(
        found, wanted, rtol=12 * eps, atol=4 * eps if name in ("gelu", "silu") else 1e-37
    )
    if g.derivative_from == "Z":
        kept = np.empty_like(Z)
        keeping(elementwise.CODES[name], Z.ctypes.data, kept.ctypes.data, Z.size, alpha)
        np.testing.assert_array_equal(kept, found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_backward_is_the_references(name: str, dtype: str) -> None:
    g, Z = ACTIVATIONS[name], np.random.default_rng(1).standard_normal(999).astype(dtype) * 3
    cache = g.forward(np, Z) if g.derivative_from == "A" else Z
    dA = np.random.default_rng(2).standard_normal(999).astype(dtype)
    wanted = g.backward(np, dA.astype("float64"), cache.astype("float64"))
    found = cache.copy()
    alpha = found.dtype.type(g.alpha or 0)  # type: ignore[attr-defined]
    one, address = found.dtype.type(1), found.ctypes.data
    backward(elementwise.CODES[name], dA.ctypes.data, address, 999, alpha, one)
    # Differences of numbers up to the size of Z, here 10, times those of dA, up to 4.
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(found, wanted, rtol=20 * eps, atol=40 * eps)


def test_every_compiled_function_has_a_name_of_its_own() -> None:
    """Code from the caches of different processes is told apart by these names alone."""
    modules = [elementwise, exponential, kernels, interpreter]
    functions = {
        id(f): f.py_func.__qualname__
        for module in modules
        for f in vars(module).values()
        if hasattr(f, "py_func")
    }
    assert len(set(functions.values())) == len(functions) > 60
