"""The arrays and functions of CuPy that the GPU backend uses, played by NumPy."""

import types

import numpy as np

from host_gpu.streams import not_while_capturing


def _waits(self, *_, **__):
    raise AssertionError("a primitive makes the host wait for the device")


class ndarray(np.ndarray):
    """What cupy.ndarray is, for the host."""

    __bool__ = __float__ = __int__ = __index__ = item = tolist = _waits

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **options):
        # CuPy's own kernels could be captured, but the arrays that they make would be lost.
        not_while_capturing("a ufunc")
        arrays = [np.asarray(x) if isinstance(x, ndarray) else x for x in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(x) if isinstance(x, ndarray) else x for x in out)
        result = getattr(ufunc, method)(*arrays, **options)
        if out is not None:
            return out[0]
        return np.asarray(result).view(ndarray)

    def __array_function__(self, function, types_, args, kwargs):
        not_while_capturing("an array is made")
        result = super().__array_function__(function, types_, args, kwargs)
        return result.view(ndarray) if type(result) is np.ndarray else result

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data, device_id=0)

    def get(self, order="C"):
        not_while_capturing("a copy to the host")
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
        not_while_capturing("synchronised")


def array(x, dtype=None, copy=True, order="K"):
    """cupy.array"""
    not_while_capturing("an array is made")
    if not isinstance(x, ndarray):
        copy = True  # an upload
    return np.array(x, dtype=dtype, copy=copy, order=order, subok=True).view(ndarray)


def filled(value):
    """cupy.empty or cupy.zeros"""

    def make(shape, dtype, order="C"):
        not_while_capturing("an array is made")
        assert Device.depth, "made outside the device"
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = np.zeros(size + 512, np.uint8)  # CuPy's pool aligns to 512 bytes
        start = -memory.ctypes.data % 512
        flat = memory[start : start + size].view(dtype)
        flat[...] = value
        return flat.reshape(shape, order=order).view(ndarray)

    return make


def matmul(a, b, out=None):
    """cupy.matmul"""
    assert out is None or out.flags.c_contiguous
    result = np.matmul(np.asarray(a), np.asarray(b), out=None if out is None else np.asarray(out))
    return result.view(ndarray) if out is None else out
