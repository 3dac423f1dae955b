"""Forward, forward + backward and training step over device x m x n_h x dtype."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from nnx.backends import Backend
from nnx.benchmarks.calls import network_call
from nnx.benchmarks.cell import Pass
from nnx.benchmarks.settings import Point


@pytest.mark.benchmark(min_rounds=5, max_time=0.3, min_time=0.002)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_h", [16, 128, 512])
@pytest.mark.parametrize("m", [16, 256, 4096])
@pytest.mark.parametrize("pass_", get_args(Pass))
def test_pass(
    measure: Callable[..., None],
    benchmark: Any,
    backend: Backend,
    pass_: Pass,
    m: int,
    n_h: int,
    dtype: str,
) -> None:
    benchmark.group = f"{pass_}, {dtype}"
    point = Point(backend.device, dtype, pass_, m, n_h, layers=1)
    benchmark.extra_info["examples"] = m
    measure(backend, network_call(point))
