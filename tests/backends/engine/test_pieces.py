"""Products in pieces: each number of C is in one piece; steps agree with whole products."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from nnx.backends.engine import pieces

sizes = st.integers(1, 2100)


@given(st.integers(1, 700), st.integers(1, 900), sizes, st.booleans(), st.booleans())
def test_pieces_cover_every_number_once(m, n, k, transpose_a, transpose_b):
    seen = np.zeros((m, n), np.int8)
    parts = list(pieces.pieces(m, n, k, transpose_a, transpose_b))
    for rows, columns in parts:
        seen[rows, columns] += 1
    assert (seen == 1).all()
    if len(parts) > 1:
        rows, columns = parts[0]
        height, width = rows.stop - rows.start, columns.stop - columns.start
        assert height * width * k <= pieces._MOST
        assert not transpose_b or height * width <= pieces._TRANSPOSED_RESULTS


def test_thin_products_are_cut_and_large_or_tiny_ones_are_not():
    def count(*product):
        return len(list(pieces.pieces(*product)))

    assert count(64, 64, 784, False, True) == 4  # Z[1]
    assert count(64, 784, 64, True, False) > 1  # dW[1]
    assert count(200, 256, 512, False, False) > 1  # dA[1]
    assert count(4096, 2048, 784, False, True) == 1
    assert count(32, 32, 784, False, True) == 1
    assert count(200, 100, 100, False, True) == 1  # a short loop with the operand transposed
    assert count(64, 64, 784, True, True) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "m"), [([784, 100, 10], 70), ([500, 130, 120, 10], 300)])
def test_steps_in_pieces_are_steps(monkeypatch, dtype, n, m):
    """Whatever this machine's BLAS: the same numbers up to rounding."""
    rng = np.random.default_rng(0)
    X = np.asfortranarray(rng.standard_normal((n[0], m)), dtype=dtype)
    Y = rng.integers(0, 10, m)
    found = []
    for cut in (False, True):
        monkeypatch.setattr(pieces, "pay", lambda cut=cut: cut)
        net = nnx.MLP(n, device="cpu", dtype=dtype)
        step = nnx.TrainingStep(net, m, nnx.Adam(0.01))
        found.append(([float(step(X, Y)) for _ in range(5)], net.theta.copy()))
    tolerance = 1e-4 if dtype == "float32" else 1e-11
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=tolerance)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=tolerance, atol=tolerance)
