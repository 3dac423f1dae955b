"""The GPU backend on a real GPU, and on the host: there CuPy is played by NumPy, and kernels.cu is
compiled by the C++ compiler and called as a driver would, so that every primitive runs anywhere.
"""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import types
from pathlib import Path

import array_api_compat
import array_api_compat.numpy
import numpy as np
import pytest

import nnx.backends.cuda

SHIM = r"""
#include <math.h>
#include <stddef.h>
#include <utility>
#define __global__
#define __device__
struct Dimension { unsigned x; };
static Dimension blockIdx, threadIdx, blockDim, gridDim;
%(source)s
template <class... P, size_t... I>
void call(void (*kernel)(P...), void** a, std::index_sequence<I...>) {
  kernel(*static_cast<P*>(a[I])...);
}
template <class... P> void run(void (*kernel)(P...), unsigned grid, unsigned block, void** a) {
  gridDim.x = grid;
  blockDim.x = block;
  for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x)
    for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x)
      call(kernel, a, std::make_index_sequence<sizeof...(P)>());
}
template <class P> struct Code;
template <> struct Code<float> { static constexpr const char* text = "float32 "; };
template <> struct Code<double> { static constexpr const char* text = "float64 "; };
template <> struct Code<i64> { static constexpr const char* text = "int64 "; };
template <> struct Code<u64> { static constexpr const char* text = "uint64 "; };
template <> struct Code<float*> { static constexpr const char* text = "*float32 "; };
template <> struct Code<double*> { static constexpr const char* text = "*float64 "; };
template <> struct Code<const float*> { static constexpr const char* text = "*float32 "; };
template <> struct Code<const double*> { static constexpr const char* text = "*float64 "; };
template <> struct Code<const i64*> { static constexpr const char* text = "*int64 "; };
template <class... P> void types(void (*)(P...), char* out) {
  const char* codes[] = {Code<P>::text...};
  for (const char* code : codes) while (*code) *out++ = *code++;
  *out = 0;
}
%(entries)s
"""
ENTRY = """
extern "C" void run_%(i)d(unsigned grid, unsigned block, void** a) {
  run(&%(name)s, grid, block, a);
}
extern "C" void types_%(i)d(char* out) { types(&%(name)s, out); }
"""


class HostModule:
    """What cupy.RawModule is, for the host."""

    folder: Path

    def __init__(self, *, code, options, name_expressions):
        entries = "".join(ENTRY % {"i": i, "name": n} for i, n in enumerate(name_expressions))
        source, library = self.folder / "kernels.cpp", self.folder / "kernels.so"
        source.write_text(SHIM % {"source": code, "entries": entries}, encoding="utf-8")
        flags = ("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror")
        subprocess.run(("g++", *flags, "-o", library, source), check=True)
        self._library, self._names = ctypes.CDLL(str(library)), tuple(name_expressions)

    def get_function(self, name):
        i = self._names.index(name)
        text = ctypes.create_string_buffer(1000)
        getattr(self._library, f"types_{i}")(text)
        wanted = text.value.decode().split()
        run = getattr(self._library, f"run_{i}")

        def launch(grid, block, arguments):
            # As CuPy does it: arrays are pointers, Python's integers have 64 bits.
            values = [np.int64(x) if type(x) is int else x for x in arguments]
            found = [
                f"*{x.dtype}" if isinstance(x, ndarray) else str(x.dtype)
                for x in values
                if x is not None
            ]
            expected = [w for w, x in zip(wanted, values, strict=True) if x is not None]
            assert found == expected, f"{name}: {found} for {expected}"
            cells = [
                np.uint64(0 if x is None else x.data.ptr)
                if x is None or isinstance(x, ndarray)
                else x
                for x in values
            ]
            cells = [np.array(cell) for cell in cells]
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            run(grid[0], block[0], pointers)

        return launch


def _waits(self, *_, **__):
    raise AssertionError("a primitive makes the host wait for the device")


class ndarray(np.ndarray):
    """What cupy.ndarray is, for the host."""

    __bool__ = __float__ = __int__ = __index__ = item = tolist = _waits

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data, device_id=0)

    def get(self, order="C"):
        return np.array(np.asarray(self), order=order)


class Device:
    """What cupy.cuda.Device is, for the host; `depth` counts the `with` blocks."""

    depth = 0

    def __init__(self, index):
        self.id = index

    def __enter__(self):
        Device.depth += 1

    def __exit__(self, *_):
        Device.depth -= 1

    def synchronize(self):
        pass


def _array(x, dtype=None, copy=True, order="K"):
    if not isinstance(x, ndarray):
        copy = True  # an upload
    return np.array(x, dtype=dtype, copy=copy, order=order, subok=True).view(ndarray)


def _filled(value):
    def make(shape, dtype, order="C"):
        assert Device.depth, "made outside the device"
        return np.full(shape, value, dtype, order).view(ndarray)

    return make


def _matmul(a, b, out=None):
    assert out is None or out.flags.c_contiguous
    return np.matmul(a, b, out=out)


def host_cupy():
    """Return what the backend uses of CuPy, on NumPy."""
    cupy = types.ModuleType("cupy")
    cupy.ndarray, cupy.array, cupy.RawModule = ndarray, _array, HostModule
    cupy.empty, cupy.zeros = _filled(77), _filled(0)  # whoever reads unwritten numbers finds 77
    cupy.matmul, cupy.sum, cupy.mean, cupy.take = _matmul, np.sum, np.mean, np.take
    cupy.cuda = types.SimpleNamespace(Device=Device)
    return cupy


@pytest.fixture(scope="session")
def host_backend(tmp_path_factory):
    """CudaBackend on the host: a second copy of the module, bound to the CuPy above."""
    if shutil.which("g++") is None:
        pytest.skip("no g++: the kernels cannot be compiled for the host")
    HostModule.folder = tmp_path_factory.mktemp("kernels")
    path = Path(nnx.backends.cuda.__file__).with_name("backend.py")
    spec = importlib.util.spec_from_file_location("cuda_backend_on_host", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", host_cupy())
        patch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
        patch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
        spec.loader.exec_module(module)
        return module.CudaBackend(0)


@pytest.fixture(scope="session", params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def backend(request):
    """The GPU backend, on the host and on the first GPU."""
    if request.param == "host":
        return request.getfixturevalue("host_backend")
    return nnx.backends.get_backend("cuda:0")
