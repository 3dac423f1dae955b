"""The GPU backend on a real GPU, and on the host, where every primitive runs without one."""

import pytest

import nnx.backends


@pytest.fixture(scope="session", params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def backend(request):
    """The GPU backend, on the host and on the first GPU."""
    if request.param == "host":
        return request.getfixturevalue("host_backend")
    return nnx.backends.get_backend("cuda:0")
