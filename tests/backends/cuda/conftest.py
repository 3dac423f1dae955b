"""The GPU backend on a real GPU, and on the host, where every primitive runs without one."""

import pytest


@pytest.fixture(scope="session")
def backend(gpu_backend):
    """The GPU backend, on the host and on the first GPU."""
    return gpu_backend
