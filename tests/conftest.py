"""What all tests share: the devices, and skipping of GPU tests where there is no GPU."""

import os

import numpy as np
import pytest

from nnx.backends import Backend, get_backend, register_backend
from nnx.backends.cuda import why_unusable
from nnx.backends.host import Memory


def _strict(device: str) -> Backend:
    # A GPU machine without a network may lack it; everyone else has it with the extra `dev`.
    return Backend(pytest.importorskip("array_api_strict"), device)


register_backend("strict", _strict)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a GPU test with the reason why no GPU can be used, unless one is required."""
    if item.get_closest_marker("gpu") and not os.environ.get("NNX_REQUIRE_GPU"):
        reason = why_unusable()
        if reason is not None:
            pytest.skip(reason)


@pytest.fixture(scope="session")
def host_backend(tmp_path_factory: pytest.TempPathFactory) -> Backend:
    """The GPU backend with everything of NVIDIA's played on the host."""
    from host_gpu import host_backend

    return host_backend(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session", params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu_backend(request: pytest.FixtureRequest) -> Backend:
    """The GPU backend on the host, and on the first GPU."""
    if request.param == "host":
        backend: Backend = request.getfixturevalue("host_backend")
        return backend
    return get_backend("cuda:0")


@pytest.fixture
def may_wait(gpu_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the host read numbers, as checks of the data do, and `fit` once an epoch."""
    from host_gpu.arrays import ndarray

    monkeypatch.setattr(ndarray, "__float__", lambda self: float(np.asarray(self)))
    monkeypatch.setattr(ndarray, "__bool__", lambda self: bool(np.asarray(self)))
    monkeypatch.setattr(ndarray, "__int__", lambda self: int(np.asarray(self)))
    if not hasattr(type(gpu_backend).__init__.__globals__["cupy"], "get_default_memory_pool"):
        # The host's CuPy has no pool, so nothing is known of its memory.
        monkeypatch.setattr(type(gpu_backend), "memory", lambda self: Memory(0, 0, 0, None))


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device; "strict" is array-api-strict through the reference backend."""
    name = str(request.param)
    get_backend(name)
    return name
