"""What is missing for a GPU, and how the errors say so; importing nnx does not need CuPy."""

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest

from nnx.backends import available_devices
from nnx.backends.cuda import count_devices, make_backend, why_unusable
from nnx.backends.cuda.products import why_no_cublaslt
from nnx.backends.errors import DeviceError


class CUDARuntimeError(RuntimeError):
    """CuPy's error of that name."""


@pytest.fixture(autouse=True)
def _fresh():
    why_unusable.cache_clear()
    why_no_cublaslt.cache_clear()
    yield
    why_unusable.cache_clear()
    why_no_cublaslt.cache_clear()


@pytest.fixture
def cupy(monkeypatch):
    """Put a CuPy in place whose driver sees no device."""
    module = ModuleType("cupy")
    module.__spec__ = ModuleSpec("cupy", None)
    runtime = SimpleNamespace(
        driverGetVersion=lambda: 13000,
        getDeviceCount=lambda: 0,
        CUDARuntimeError=CUDARuntimeError,
    )
    module.cuda = SimpleNamespace(runtime=runtime)
    monkeypatch.setitem(sys.modules, "cupy", module)
    return runtime


def check_unusable(*words):
    """No device is counted, and the error names the device asked for and what is missing."""
    assert count_devices() == 0
    assert available_devices() == ["cpu"]
    with pytest.raises(DeviceError) as caught:
        make_backend("cuda:1")
    for word in ("device 'cuda:1' cannot be used", *words):
        assert word in str(caught.value)


def test_no_cupy(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "cupy" else found(n))
    check_unusable("CuPy is not installed", "nnx-learn[cuda12]", "nnx-learn[cuda13]")


def test_a_cupy_that_cannot_be_imported(monkeypatch, tmp_path):
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.12 is gone')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [n for n in sys.modules if n.partition(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
    check_unusable("cannot be imported", "libnvrtc.so.12 is gone", "nnx-learn[cuda12]")


def test_no_driver(cupy):
    cupy.driverGetVersion = lambda: 0
    check_unusable("CuPy is installed (extra cuda12 or cuda13)", "no NVIDIA driver")


def test_a_driver_that_does_not_start(cupy):
    def fail():
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    cupy.getDeviceCount = fail
    check_unusable("CUDA does not start", "no CUDA-capable device is detected")


def test_no_visible_device(cupy):
    check_unusable("driver are there", "no GPU is visible")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:2", "is not there: 2 CUDA device(s), cuda:0 to cuda:1"),
        ("cuda:first", "wanted 'cuda' or 'cuda:N'"),
        ("cuda:-1", "wanted 'cuda' or 'cuda:N'"),
    ],
)
def test_a_device_number_that_is_not_there(cupy, device, message):
    cupy.getDeviceCount = lambda: 2
    assert why_unusable() is None
    with pytest.raises(DeviceError) as caught:
        make_backend(device)
    assert device in str(caught.value)
    assert message in str(caught.value)


def test_no_nvmath(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "nvmath" else found(n))
    for word in ("nvmath-python is not installed", "nnx-learn[cuda12]", "nnx-learn[cuda13]"):
        assert word in why_no_cublaslt()


def test_an_nvmath_without_its_libraries(monkeypatch):
    def fail():
        raise RuntimeError("libcublasLt.so.13 was not found")

    monkeypatch.setattr("nnx.backends.cuda.products.cublaslt", fail)
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: ModuleSpec(n, None))
    reason = why_no_cublaslt()
    assert "cuBLASLt cannot be used (libcublasLt.so.13 was not found)" in reason
    assert "nnx-learn[cuda13]" in reason


def test_importing_nnx_does_not_import_cupy():
    loaded = "any(name in sys.modules for name in ('cupy', 'nvmath'))"
    code = f"import sys, nnx, nnx.backends.cuda.fused; sys.exit({loaded})"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
