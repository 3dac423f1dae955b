"""What the suites share: every device that is there, and a call that waits for it."""

from collections.abc import Callable
from typing import Any

import pytest

from nnx.backends import Backend, available_devices, get_backend


@pytest.fixture(params=available_devices())
def backend(request: pytest.FixtureRequest) -> Backend:
    """Each device that is there."""
    return get_backend(request.param)


@pytest.fixture
def measure(
    benchmark: Any, request: pytest.FixtureRequest
) -> Callable[[Backend, Callable[[], object]], None]:
    """Benchmark a call including the wait for its device; the first call is not counted."""

    def run(backend: Backend, call: Callable[[], object]) -> None:
        def call_and_wait() -> None:
            call()
            backend.synchronize()

        call_and_wait()
        # Without a group all suites would share one table.
        benchmark.group = benchmark.group or request.node.originalname
        benchmark.extra_info["device"] = backend.device
        benchmark(call_and_wait)

    return run
