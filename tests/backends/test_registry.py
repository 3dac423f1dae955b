"""From a device's name to its backend, by name, environment, registration and entry point."""

import importlib.util
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import nnx.backends
from nnx.backends import (
    Backend,
    available_devices,
    backend_of,
    cuda,
    get_backend,
    register_backend,
    registry,
)
from nnx.backends.cpu import CpuBackend
from nnx.backends.errors import DataError, DeviceError, DTypeError, UnknownNameError


@pytest.fixture
def tables(monkeypatch):
    """The registry's tables, put back afterwards."""
    monkeypatch.setattr(registry, "_factories", dict(registry._factories))
    monkeypatch.setattr(registry, "_made", dict(registry._made))


@pytest.fixture
def no_cupy(monkeypatch):
    """A machine on which CuPy is not installed."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "cupy" else real(name, *a)
    )
    cuda.why_unusable.cache_clear()
    yield
    cuda.why_unusable.cache_clear()


@pytest.fixture
def two_gpus(monkeypatch, tables):
    """A machine with two GPUs, served by a stand-in."""
    monkeypatch.delenv("NNX_DEVICE", raising=False)
    monkeypatch.setattr(cuda, "count_devices", lambda: 2)
    calls = []

    def make(device):
        calls.append(device)
        return Backend(np, device if ":" in device else f"{device}:0")

    monkeypatch.setitem(registry._factories, "cuda", make)
    for name in [name for name in registry._made if name.startswith("cuda")]:
        del registry._made[name]
    return calls


def test_public_names():
    assert sorted(nnx.backends.__all__) == sorted(
        {
            "Backend",
            "Memory",
            "Timer",
            "available_devices",
            "backend_of",
            "get_backend",
            "register_backend",
        }
    )
    assert all(hasattr(nnx.backends, name) for name in nnx.backends.__all__)


# -- get_backend ----------------------------------------------------------------------------------


def test_cpu():
    backend = get_backend("cpu")
    assert type(backend) is CpuBackend
    assert backend.xp is np
    assert backend.device == "cpu"
    assert repr(backend) == "CpuBackend('cpu')"


def test_the_same_object_for_the_same_device(device):
    assert get_backend(device) is get_backend(device)


def test_a_backend_is_taken_as_it_is():
    own = Backend(np, "mine")
    assert get_backend(own) is own
    assert repr(own) == "Backend('mine')"


def test_names_of_one_device_give_one_object(two_gpus):
    first = get_backend("cuda")
    assert get_backend("cuda:0") is first
    assert get_backend("cuda") is first
    assert get_backend("cuda:1") is not first
    assert get_backend("cuda:1").device == "cuda:1"
    assert two_gpus == ["cuda", "cuda:1"]


@pytest.mark.gpu
def test_cuda_is_the_first_gpu():
    assert get_backend("cuda") is get_backend("cuda:0")
    assert get_backend("cuda").device == "cuda:0"
    assert "cuda:0" in available_devices()
    assert backend_of(get_backend("cuda").zeros((2,))) is get_backend("cuda:0")


@pytest.mark.parametrize("name", ["cpu:1", "cpu:0", "cpu:"])
def test_there_is_one_cpu(name):
    with pytest.raises(DeviceError, match=f"'{name}': there is one CPU device, named 'cpu'"):
        get_backend(name)


@pytest.mark.parametrize(
    ("typed", "meant"), [("cdua", "cuda"), ("CPU", "cpu"), ("cude:1", "cuda"), ("autoo", "auto")]
)
def test_unknown_name_gives_the_nearest(typed, meant):
    with pytest.raises(UnknownNameError, match=f"unknown device .*; did you mean '{meant}'") as e:
        get_backend(typed)
    assert isinstance(e.value, ValueError)


@pytest.mark.parametrize("name", ["tpu9000", ""])
def test_unknown_name_lists_the_known(name):
    with pytest.raises(UnknownNameError, match=f"unknown device '{name}'.*auto, cpu, cuda"):
        get_backend(name)


def test_auto_takes_no_number(two_gpus):
    with pytest.raises(UnknownNameError) as caught:
        get_backend("auto:1")
    assert "'auto:1'" in str(caught.value)  # not: unknown device 'auto'; did you mean 'auto'?


@pytest.mark.parametrize("device", [None, 0, b"cpu", ["cpu"]], ids=repr)
def test_a_device_is_a_string(device):
    with pytest.raises(DTypeError, match="device must be a string such as 'cpu'"):
        get_backend(device)


# -- auto -----------------------------------------------------------------------------------------


def test_auto_without_a_gpu_is_the_cpu(monkeypatch):
    monkeypatch.delenv("NNX_DEVICE", raising=False)
    monkeypatch.setattr(cuda, "count_devices", lambda: 0)
    assert get_backend("auto") is get_backend() is get_backend("cpu")


def test_auto_with_a_gpu_is_the_first(two_gpus):
    assert get_backend("auto").device == "cuda:0"
    assert get_backend() is get_backend("cuda")


@pytest.mark.parametrize("value", ["cpu", " cpu ", "strict"])
def test_environment_sets_auto(monkeypatch, two_gpus, value):
    monkeypatch.setenv("NNX_DEVICE", value)
    assert get_backend("auto") is get_backend() is get_backend(value.strip())
    assert get_backend("cuda:1").device == "cuda:1"  # a device that is named is that device


@pytest.mark.parametrize("value", ["", "  ", "auto"])
def test_environment_that_says_nothing(monkeypatch, two_gpus, value):
    monkeypatch.setenv("NNX_DEVICE", value)
    assert get_backend("auto").device == "cuda:0"


def test_environment_of_an_unknown_device(monkeypatch):
    monkeypatch.setenv("NNX_DEVICE", "gpuu")
    with pytest.raises(UnknownNameError, match="unknown device 'gpuu'"):
        get_backend("auto")


# -- available_devices and backend_of -------------------------------------------------------------


def test_available_devices(two_gpus, monkeypatch):
    assert available_devices() == ["cpu", "cuda:0", "cuda:1"]
    monkeypatch.setattr(cuda, "count_devices", lambda: 0)
    assert available_devices() == ["cpu"]


def test_available_devices_can_be_had():
    for name in available_devices():
        assert get_backend(name).device == name


def test_backend_of_an_array(device):
    backend = get_backend(device)
    assert backend_of(backend.zeros((2, 3))) is backend


def test_backend_of_subclasses_of_ndarray():
    assert backend_of(np.zeros(2).view(np.recarray)) is get_backend("cpu")


@pytest.mark.parametrize("x", [[1.0], 3, None, "cpu"], ids=repr)
def test_backend_of_what_is_no_array(x):
    with pytest.raises(DTypeError, match=r"is not an array .* get_backend\(device\).asarray\(x\)"):
        backend_of(x)


# -- registration ---------------------------------------------------------------------------------


def test_register_backend(tables):
    asked = []

    def make(device):
        asked.append(device)
        return Backend(np, device)

    register_backend("toy", make)
    assert get_backend("toy").device == "toy"
    assert get_backend("toy:1").device == "toy:1"
    assert get_backend("toy") is get_backend("toy")
    assert asked == ["toy", "toy:1"]
    with pytest.raises(UnknownNameError, match="did you mean 'toy'"):
        get_backend("toyy")


@pytest.mark.parametrize("name", ["cpu", "cuda", "auto", "my:device", ""])
def test_names_that_cannot_be_registered(tables, name):
    before = dict(registry._factories)
    with pytest.raises(DataError, match=f"backend name '{name}' is taken or not allowed"):
        register_backend(name, lambda device: Backend(np, device))
    assert registry._factories == before


def test_a_name_is_registered_once(tables):
    register_backend("toy", lambda device: Backend(np, device))
    with pytest.raises(DataError, match="taken"):
        register_backend("toy", lambda device: Backend(np, device))


def test_a_factory_that_fails_is_asked_again(tables):
    answers = [DeviceError("still booting"), Backend(np, "toy")]

    def make(device):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    register_backend("toy", make)
    with pytest.raises(DeviceError, match="still booting"):
        get_backend("toy")
    assert get_backend("toy").device == "toy"


@pytest.fixture
def plugin(tmp_path, monkeypatch, tables):
    """An installed distribution whose entry points name backends: "gadget", and "cpu" too."""
    (tmp_path / "gadget_for_nnx.py").write_text(
        textwrap.dedent("""
            import numpy
            from nnx.backends import Backend

            def make(device):
                return Backend(numpy, device)
        """)
    )
    info = tmp_path / "gadget_for_nnx-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gadget-for-nnx\nVersion: 1.0\n")
    points = "[nnx.backends]\ngadget = gadget_for_nnx:make\ncpu = gadget_for_nnx:make\n"
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("gadget_for_nnx", None)


def test_entry_point(plugin):
    assert "gadget_for_nnx" not in sys.modules
    get_backend("cpu")
    assert "gadget_for_nnx" not in sys.modules  # loaded where it is asked for
    backend = get_backend("gadget:3")
    assert backend.device == "gadget:3"
    assert get_backend("gadget:3") is backend
    assert backend.to_numpy(backend.zeros((2, 1))).tolist() == [[0], [0]]


def test_entry_point_is_known_to_the_error(plugin):
    with pytest.raises(UnknownNameError, match=r"did you mean 'gadget'.*known: .*gadget"):
        get_backend("gaget")
    assert "gadget_for_nnx" not in sys.modules


def test_entry_point_does_not_replace_a_device_of_nnx(plugin):
    registry._made.pop("cpu", None)
    assert type(get_backend("cpu")) is CpuBackend


def test_no_plugin_without_its_distribution():
    with pytest.raises(UnknownNameError, match="unknown device 'gadget'"):
        get_backend("gadget")


# -- CuPy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:1"])
def test_cuda_without_cupy_names_the_extras(no_cupy, tables, name):
    registry._made.pop(name, None)
    with pytest.raises(DeviceError) as caught:
        get_backend(name)
    message = str(caught.value)
    assert f"device {name!r} cannot be used: CuPy is not installed" in message
    assert 'pip install "nnx-learn[cuda13]"' in message
    assert '"nnx-learn[cuda12]"' in message
    assert isinstance(caught.value, RuntimeError)


def test_without_cupy_the_cpu_is_what_there_is(no_cupy, monkeypatch):
    monkeypatch.delenv("NNX_DEVICE", raising=False)
    assert available_devices() == ["cpu"]
    assert get_backend("auto") is get_backend("cpu")


def test_a_cupy_that_cannot_be_imported_says_so(tmp_path, tables):
    """As where its CUDA libraries are missing or of another version."""
    (tmp_path / "cupy.py").write_text("raise ImportError('libnvrtc.so.13: cannot open')\n")
    code = """
        from nnx.backends import available_devices, get_backend
        assert available_devices() == ["cpu"]
        try:
            get_backend("cuda")
        except Exception as error:
            print(type(error).__name__, error)
    """
    output = run_python(code, tmp_path)
    assert output.startswith("DeviceError device 'cuda' cannot be used: CuPy is installed but")
    assert "libnvrtc.so.13: cannot open" in output
    assert "nnx-learn[cuda13]" in output


def run_python(code, path):
    """The output of a fresh interpreter that finds modules in `path` first."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    environment.pop("NNX_DEVICE", None)
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        cwd=path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_nnx_imports_no_optional_library(tmp_path):
    """A CuPy that would be found is put on the path, so that importing it would show."""
    (tmp_path / "cupy.py").write_text("raise RuntimeError('cupy was imported')\n")
    code = """
        import sys
        import nnx, nnx.backends, nnx.backends.cuda
        from nnx.backends import backend_of, get_backend
        backend = get_backend("cpu")
        backend_of(backend.asarray([[1.0]]))
        absent = {"cupy", "scipy", "sklearn", "matplotlib", "pandas", "torch", "click", "rich"}
        print(sorted(absent & set(sys.modules)))
    """
    assert run_python(code, tmp_path).strip() == "[]"


def test_the_check_above_would_see_an_import(tmp_path):
    (tmp_path / "cupy.py").write_text("raise RuntimeError('cupy was imported')\n")
    code = """
        from nnx.backends import get_backend
        try:
            get_backend("cuda")
        except RuntimeError as error:
            print(error)
    """
    assert "cupy was imported" in run_python(code, tmp_path)
