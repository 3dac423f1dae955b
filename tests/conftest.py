"""What all tests share: the devices, skipping of GPU tests, and the limits of a GPU run.

NNX_REQUIRE_GPU says that this is a GPU run: its tests fail where there is no GPU, draw few examples
(`drawn`), and each ends within `TEST_SECONDS`. NNX_SANITIZER: compute-sanitizer watches them.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest

import drawn
from nnx.backends import Backend, get_backend, register_backend
from nnx.backends.cuda import why_unusable
from nnx.backends.host import Memory


def _strict(device: str) -> Backend:
    # A GPU machine without a network may lack it; everyone else has it with the extra `dev`.
    return Backend(pytest.importorskip("array_api_strict"), device)


register_backend("strict", _strict)
drawn.load_profile()
TEST_SECONDS = 30.0  # for each of setup, call and teardown


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a GPU test with the reason why no GPU can be used, unless one is required."""
    if item.get_closest_marker("gpu") and not os.environ.get("NNX_REQUIRE_GPU"):
        reason = why_unusable()
        if reason is not None:
            pytest.skip(reason)


class OutOfTime(BaseException):
    """A test took too long. No Exception: neither what is tested nor Hypothesis should catch it."""


@contextlib.contextmanager
def _limited(error: type[BaseException]) -> Iterator[None]:
    """Raise this error after `TEST_SECONDS`, in a GPU run."""
    in_main = threading.current_thread() is threading.main_thread()
    if not (os.environ.get("NNX_REQUIRE_GPU") and in_main and hasattr(signal, "setitimer")):
        yield
        return

    def stop(*_: Any) -> None:
        raise error(f"longer than {TEST_SECONDS:g} s: no test of a GPU run may take more")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, TEST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True, specname="pytest_runtest_setup")
def pytest_limit_setup() -> Generator[None, Any, Any]:
    """Limit the time of a test's fixtures."""
    with _limited(TimeoutError):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, Any, Any]:
    """Limit the time of a test itself."""
    with _limited(OutOfTime):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, Any, Any]:
    """Limit the time of a test's finalizers; pytest runs the others after an Exception only."""
    with _limited(TimeoutError):
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _without_pool() -> None:
    """Let compute-sanitizer see each array: it cannot look into CuPy's pool."""
    if os.environ.get("NNX_SANITIZER"):
        with contextlib.suppress(ImportError):
            import cupy

            cupy.cuda.set_allocator(None)


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
        monkeypatch.setattr(type(gpu_backend), "memory", lambda self: Memory(0, None, 0, None))


@pytest.fixture(params=["cpu", "strict", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Each device; "strict" is array-api-strict through the reference backend."""
    name = str(request.param)
    get_backend(name)
    return name
