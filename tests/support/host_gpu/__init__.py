"""A GPU for tests on the host: CuPy played by NumPy, kernels compiled by g++, cuBLASLt by NumPy."""

import importlib.util
import sys
import types
from pathlib import Path

import array_api_compat
import array_api_compat.numpy
import numpy as np
import pytest

import nnx.backends.cuda
from host_gpu import arrays, kernels, streams
from host_gpu.cublaslt import HostLt
from host_gpu.kernels import HostModule


def host_cupy():
    """Return what the backend uses of CuPy, on NumPy."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "host"
    cupy.ndarray, cupy.array, cupy.RawModule = arrays.ndarray, arrays.array, HostModule
    # Whoever reads unwritten numbers finds 77.
    cupy.empty, cupy.zeros = arrays.filled(77), arrays.filled(0)
    cupy.matmul, cupy.sum, cupy.mean, cupy.take = arrays.matmul, np.sum, np.mean, np.take
    cupy.cuda = streams.cuda(arrays.Device)
    return cupy


def host_backend(folder):
    """CudaBackend on the host: a second copy of the module, bound to the CuPy above."""
    reason = kernels.why_not()
    if reason is not None:
        pytest.skip(reason)
    HostModule.folder = folder
    path = Path(nnx.backends.cuda.__file__).with_name("backend.py")
    spec = importlib.util.spec_from_file_location("cuda_backend_on_host", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", host_cupy())
        patch.setitem(sys.modules, "array_api_compat.cupy", array_api_compat.numpy)
        patch.setattr(array_api_compat, "cupy", array_api_compat.numpy, raising=False)
        spec.loader.exec_module(module)
        backend = module.CudaBackend(0)
    backend.use_cublaslt(HostLt())
    return backend


__all__ = ["HostLt", "host_backend"]
