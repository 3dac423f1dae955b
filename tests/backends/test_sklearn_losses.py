"""The losses that are scikit-learn's own, against scikit-learn's functions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from nnx.backends import get_backend
from nnx.backends.reference.activations import get_activation
from nnx.backends.reference.losses import Loss, loss_with_gradient
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)

CASES = [
    (ClippedCategoricalCrossEntropy(), "log_loss", "softmax"),
    (ClippedBinaryCrossEntropy(), "binary_log_loss", "sigmoid"),
    (HalfSquaredError(), "squared_error", "identity"),
    (PoissonDeviance(), "poisson", "exponential"),
]
SCALES = {"softmax": 60.0, "sigmoid": 60.0, "identity": 5.0, "exponential": 2.0}


def drawn(loss: Loss, activation: str, n_y: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Z that goes past both bounds of a clipped probability, and targets Y; (n_y, 40)."""
    rng = np.random.default_rng(n_y)
    Z = SCALES[activation] * rng.uniform(-1, 1, (n_y, 40))
    if activation in ("softmax", "sigmoid"):
        # Between 5 and the bound 1 - a has lost digits in scikit-learn's formula, not in nnx's.
        Z = np.where(np.abs(Z) < 30, Z / 6, np.sign(Z) * 45)
    Y = rng.poisson(1.5, (n_y, 40)).astype(dtype)
    if loss.target == "classes":
        Y = np.eye(n_y)[:, rng.integers(0, n_y, 40)]
    elif loss.target == "binary":
        Y = rng.random((n_y, 40)) < 0.5
    return Z.astype(dtype), Y.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("device", ["cpu", "strict"])
@pytest.mark.parametrize(("loss", "name", "activation"), CASES, ids=[c[1] for c in CASES])
@pytest.mark.parametrize("n_y", [1, 3])
def test_value_and_gradient_are_sklearns(
    loss: Loss, name: str, activation: str, n_y: int, device: str, weighted: bool, dtype: str
) -> None:
    functions = pytest.importorskip("sklearn.neural_network._base").LOSS_FUNCTIONS
    if name == "log_loss" and n_y == 1:
        n_y = 2
    backend, g = get_backend(device), get_activation(activation)
    Z, Y = drawn(loss, activation, n_y, dtype)
    weights = np.random.default_rng(0).uniform(0.2, 2, 40).astype(dtype) if weighted else None
    scaled = None if weights is None else backend.asarray(weights / weights.mean())
    z, y = backend.asarray(Z), backend.asarray(Y)
    a = g.forward(backend.xp, z)
    J, dZ = loss_with_gradient(backend.xp, loss, g, z, a, y, scaled)
    A = np.asarray(a)
    wanted = functions[name](Y.T, A.T, weights)
    rtol = 1e-12 if dtype == "float64" else 1e-5
    assert_allclose(float(J), wanted, rtol=rtol)
    delta = (A - Y) * (1 if weights is None else weights / weights.mean())
    assert_allclose(np.asarray(dZ), delta, rtol=rtol, atol=rtol)
    if activation != "identity" and dtype == "float64":
        from_A = np.asarray(loss.losses(backend.xp, a, y))
        direct = np.asarray(loss.linked_losses(backend.xp, z, y))
        assert_allclose(from_A, direct, rtol=1e-12, atol=1e-15)


def test_poisson_needs_counts() -> None:
    with np.errstate(invalid="ignore"):
        found = PoissonDeviance().linked_losses(np, np.zeros((1, 1)), np.full((1, 1), -1.0))
    assert np.isnan(found).all()


def test_deviance_from_its_gradient() -> None:
    """dA by central differences, away from the clipped ends."""
    A, Y, h = np.array([[0.3, 2.0]]), np.array([[0.0, 3.0]]), 1e-6
    for loss in (PoissonDeviance(), HalfSquaredError()):
        slope = (loss.losses(np, A + h, Y) - loss.losses(np, A - h, Y)) / (2 * h)
        assert_allclose(loss.gradient(np, A, Y)[0], slope, rtol=1e-8)
