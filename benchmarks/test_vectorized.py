"""The lecture's first lesson in speed: a loop over the examples against one vectorized call."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

import nnx
from nnx.backends import Backend
from nnx.benchmarks.calls import synthetic_data
from nnx.benchmarks.settings import N_X, N_Y

M = 256


@pytest.mark.benchmark(min_rounds=5, max_time=0.5, min_time=0.002)
@pytest.mark.parametrize("form", ["loop", "vectorized"])
@pytest.mark.parametrize("n_h", [16, 128])
def test_forward(
    measure: Callable[..., None], benchmark: Any, backend: Backend, n_h: int, form: str
) -> None:
    benchmark.group = f"forward pass over {M} examples, n_h={n_h}"
    net = nnx.MLP([N_X, n_h, N_Y], device=backend.device)
    X, _ = synthetic_data(backend, M, "float32", seed=0)
    columns = [X[:, i : i + 1] for i in range(M)]

    def loop() -> None:
        for x in columns:
            net.forward(x, check=False)

    measure(backend, loop if form == "loop" else lambda: net.forward(X, check=False))


@pytest.mark.benchmark(min_rounds=5, max_time=0.5, min_time=0.002)
@pytest.mark.parametrize("form", ["loop", "vectorized"])
@pytest.mark.parametrize("n_h", [16, 128])
def test_gradients(
    measure: Callable[..., None], benchmark: Any, backend: Backend, n_h: int, form: str
) -> None:
    benchmark.group = f"gradients over {M} examples, n_h={n_h}"
    net = nnx.MLP([N_X, n_h, N_Y], device=backend.device)
    X, Y = synthetic_data(backend, M, "float32", seed=0)
    examples = [(X[:, i : i + 1], Y[i : i + 1]) for i in range(M)]

    def gradients(X: Any, Y: Any) -> Mapping[str, Any]:
        return net.backward(Y, net.forward(X, train=True, check=False)[1])

    def loop() -> None:
        total = {name: backend.zeros(p.shape) for name, p in net.parameters.items()}
        for x, y in examples:
            for name, gradient in gradients(x, y).items():
                total[name.removeprefix("d")] += gradient / M

    measure(backend, loop if form == "loop" else lambda: gradients(X, Y))
