"""The FLOP and the products of a pass, counted by hand."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nnx.backends import Backend, get_backend
from nnx.backends.cpu import CpuBackend
from nnx.benchmarks import products
from nnx.benchmarks.cell import LIMITS, Order, Pass
from nnx.benchmarks.products import bare_products, bytes_needed, flop

SIZES = [5, 3, 4, 2]  # n_x, n[1], n[2], n_y
M = 7
# Each product of (n, k) and (k, j): 2 n k j.
FORWARD = 2 * M * (3 * 5 + 4 * 3 + 2 * 4)
WEIGHT_GRADIENTS = FORWARD
INPUT_GRADIENTS = 2 * M * (3 * 4 + 4 * 2)  # of layers 2 and 3; nothing asks for dA[0]


class Recorder(CpuBackend):
    """Notes the shapes, the orders and the dtypes that matmul sees."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any]] = []
        self.xp = SimpleNamespace(matmul=self._matmul)

    def _matmul(self, left: Any, right: Any, out: Any) -> None:
        self.calls.append((left, right, out))
        np.matmul(left, right, out=out)


def test_flop_of_the_passes_against_hand_counts() -> None:
    assert flop(SIZES, M, "forward") == FORWARD
    for name in ("backward", "step"):
        assert flop(SIZES, M, name) == FORWARD + WEIGHT_GRADIENTS + INPUT_GRADIENTS  # type: ignore[arg-type]


def test_one_layer_has_no_input_gradient() -> None:
    assert flop([5, 2], M, "forward") == 2 * 2 * 5 * M
    assert flop([5, 2], M, "step") == 2 * (2 * 2 * 5 * M)


@pytest.mark.parametrize("order", LIMITS)
@pytest.mark.parametrize("pass_", ["forward", "backward", "step"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_limit_runs_exactly_the_products_that_are_counted(
    order: Order, pass_: Pass, dtype: str
) -> None:
    backend = Recorder()
    run = bare_products(backend, SIZES, M, dtype, pass_, order)
    backend.calls.clear()
    run()
    done = sum(
        2 * left.shape[0] * left.shape[1] * right.shape[1] for left, right, _ in backend.calls
    )
    assert done == flop(SIZES, M, pass_)
    assert {array.dtype.name for call in backend.calls for array in call} == {dtype}
    assert len(backend.calls) == (3 if pass_ == "forward" else 8)


def test_the_network_order_keeps_each_example_contiguous() -> None:
    backend = Recorder()
    bare_products(backend, SIZES, M, "float32", "forward", "network")
    _, _, first_out = backend.calls[0]
    assert first_out.shape == (M, 3)  # Z[1] transposed: its rows are examples
    assert first_out.flags.c_contiguous
    backend.calls.clear()
    bare_products(backend, SIZES, M, "float32", "forward", "other")
    assert backend.calls[0][2].shape == (3, M)


def test_repeated_products_stay_finite() -> None:
    backend = Recorder()
    run = bare_products(backend, SIZES, M, "float32", "step", "network")
    for _ in range(50):
        run()
    assert all(np.isfinite(out).all() for _, _, out in backend.calls)


def test_a_namespace_whose_matmul_has_no_out_is_measured_too(device: str) -> None:
    bare_products(get_backend(device), SIZES, M, "float32", "step", "other")()


def test_the_memory_grows_with_the_examples_and_covers_the_operands() -> None:
    backend = Recorder()
    bare_products(backend, SIZES, 1000, "float32", "step", "network")
    held = {
        id(array.base): array.base.nbytes
        for call in backend.calls
        for array in call
        if array.base is not None
    }
    needed = bytes_needed(SIZES, 1000, itemsize=4)
    assert needed >= sum(held.values())
    assert bytes_needed(SIZES, 2000, itemsize=4) > 1.9 * needed


def test_products_of_a_gpu_are_those_of_its_step_alone(gpu_backend: Backend) -> None:
    step, X, Y = products._step(gpu_backend, (16, 8, 8, 4), 8, "tf32")
    step(X, Y)
    recording = products.plain_recording(step)
    launched = [launch.run.product for launch in recording.launches]  # type: ignore[attr-defined]
    assert len(launched) == 8  # three a layer, less dA[0]
    assert {product.epilogue for product in launched} == {"DEFAULT"}
    products.graph_products(gpu_backend, (16, 8, 4), 8, "float32")()
