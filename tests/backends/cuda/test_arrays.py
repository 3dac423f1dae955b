"""Arrays that cross the border to the GPU and back, and the figures of the device."""

import contextlib
import sys
import types
import warnings

import array_api_compat.numpy
import numpy as np
import pytest

from nnx.backends import backend_of, get_backend
from nnx.backends.errors import DTypeError
from nnx.backends.reference import losses, updates
from nnx.backends.reference.activations import ACTIVATIONS


class Exporter:
    """A CUDA array of some other library: DLPack and nothing else."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


@pytest.fixture(scope="module")
def gpu():
    return get_backend("cuda:0")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_memory_order_and_dtype_are_kept(backend, dtype, order):
    x = np.arange(6).reshape(2, 3).astype(dtype, order=order)
    there = backend.asarray(x)
    back = backend.to_numpy(there)
    assert backend.owns(there)
    for array in (there, back):
        assert (array.dtype, array.shape) == (x.dtype, (2, 3))
        assert array.flags.f_contiguous == (order == "F")
    assert type(back) is np.ndarray
    np.testing.assert_array_equal(back, x)


def test_what_is_not_an_array_is_converted(backend):
    assert not backend.owns([1.0])
    assert not backend.owns(np.ones(2))
    assert backend.to_numpy([[1, 2]]).tolist() == [[1, 2]]
    for x in ([[1, 2], [3, 4]], np.array([[1, 0, 2], [3, 0, 4]])[:, ::2], range(3), 2.5):
        found = backend.asarray(x, "float32")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(backend.to_numpy(found), np.asarray(x, np.float32))


def test_copies_are_made_where_asked_for_or_needed(backend):
    x = backend.asarray(np.ones((2, 3), order="F"))
    assert backend.asarray(x).data.ptr == x.data.ptr
    assert backend.asarray(x, "float64").data.ptr == x.data.ptr
    for copied in (backend.asarray(x, copy=True), backend.asarray(x, "float32")):
        assert copied.data.ptr != x.data.ptr
        assert copied.flags.f_contiguous
        np.testing.assert_array_equal(backend.to_numpy(copied), np.ones((2, 3)))


@pytest.mark.parametrize("x", [["a", "b"], [1j], [[1], [2, 3]], [None]])
def test_what_holds_no_real_numbers_is_refused(backend, x):
    with pytest.raises(DTypeError):
        backend.asarray(x)


@pytest.mark.parametrize("make", ["empty", "zeros"])
def test_new_matrices_have_contiguous_columns(backend, make):
    for shape in [(3, 4), (5,), (2, 3, 4), ()]:
        x = getattr(backend, make)(shape, "float64")
        assert backend.owns(x)
        assert (x.shape, x.dtype) == (shape, np.float64)
        assert x.flags.f_contiguous if len(shape) == 2 else x.flags.c_contiguous
        if make == "zeros":
            np.testing.assert_array_equal(backend.to_numpy(x), np.zeros(shape))


def test_names(host_backend):
    assert (host_backend.device, host_backend.index) == ("cuda:0", 0)
    assert repr(host_backend) == "CudaBackend('cuda:0')"
    assert host_backend.xp is array_api_compat.numpy


@pytest.mark.gpu
def test_the_namespace_is_cupys(gpu):
    import array_api_compat.cupy

    x = gpu.empty((2, 3))
    assert gpu.xp is array_api_compat.cupy
    assert gpu.dtype("float32") == np.float32
    assert get_backend("cuda") is gpu
    assert backend_of(x) is gpu


@pytest.mark.gpu
@pytest.mark.parametrize("order", ["C", "F"])
def test_cuda_arrays_of_other_libraries_are_taken_over(gpu, order):
    x = gpu.asarray(np.arange(6.0, dtype=np.float32).reshape(2, 3, order=order))
    found = gpu.asarray(Exporter(x))
    assert found.data.ptr == x.data.ptr
    assert found.strides == x.strides
    assert gpu.asarray(Exporter(x), copy=True).data.ptr != x.data.ptr
    assert gpu.asarray(Exporter(x), "float64").dtype == np.float64
    np.testing.assert_array_equal(gpu.to_numpy(Exporter(x)), gpu.to_numpy(x))


@pytest.mark.gpu
def test_tensors_of_pytorch(gpu):
    torch = pytest.importorskip("torch")
    host = torch.arange(6.0, requires_grad=True)
    np.testing.assert_array_equal(gpu.to_numpy(gpu.asarray(host)), np.arange(6))
    if torch.cuda.is_available():
        there = torch.arange(6.0, device="cuda:0", requires_grad=True)
        assert gpu.asarray(there).data.ptr == there.data_ptr()


@pytest.mark.gpu
def test_arrays_of_another_gpu_are_copied(gpu):
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("there is one GPU")
    other = get_backend("cuda:1")
    x = other.asarray(np.arange(12.0).reshape(3, 4, order="F"))
    for source in (x, x[::2, ::2]):
        found = gpu.asarray(source)
        assert gpu.owns(found)
        assert not other.owns(found)
        np.testing.assert_array_equal(gpu.to_numpy(found), other.to_numpy(source))
    A, _ = other.dense_forward(
        x, other.zeros((3, 1), "float64"), other.zeros((4, 2), "float64"), ACTIVATIONS["relu"]
    )
    assert other.owns(A)


@pytest.mark.gpu
def test_the_timer_sees_the_work_of_the_gpu(gpu):
    A = gpu.zeros((2000, 2000))
    gpu.weight_gradient(A, A)
    with gpu.timer() as one:
        gpu.weight_gradient(A, A)
    with gpu.timer() as many:
        for _ in range(50):
            gpu.weight_gradient(A, A)
    assert 0 < one.seconds < many.seconds < 60
    gpu.synchronize()


@pytest.mark.gpu
def test_memory_counts_the_arrays(gpu):
    before = gpu.memory()
    x = gpu.zeros((1 << 20,), "float64")
    after = gpu.memory()
    assert after.used - before.used == x.nbytes
    assert 0 < after.free <= after.total
    assert after.total == before.total


@pytest.mark.gpu
def test_the_description_names_gpu_and_versions(gpu):
    import cupy

    found = gpu.describe()
    assert found["device"] == "cuda:0"
    assert found["cupy"] == cupy.__version__
    assert all(found.values())
    for key in ("compute_capability", "cuda_runtime", "cuda_driver"):
        major, _, minor = found[key].partition(".")
        assert major.isdigit()
        assert minor.isdigit()


@contextlib.contextmanager
def host_allow_synchronize(allow):
    """cupyx.allow_synchronize, for the host: there, waiting is an error anyway."""
    # With no category, as CuPy has it.
    warnings.warn(
        "cupyx.allow_synchronize will be removed in future releases as it is not possible to "
        "reliably detect synchronizations.",
        stacklevel=1,
    )
    assert allow is False
    yield


@pytest.mark.filterwarnings("ignore:.*allow_synchronize")
def test_no_primitive_waits_for_the_gpu(backend, request, monkeypatch):
    if request.node.callspec.params["gpu_backend"] == "host":
        played = types.SimpleNamespace(allow_synchronize=host_allow_synchronize)
        monkeypatch.setitem(sys.modules, "cupyx", played)
    import cupyx

    n, m = 4, 6
    W, b, X = (backend.zeros(shape) for shape in [(n, n), (n, 1), (n, m)])
    labels, theta = backend.asarray(np.zeros(m, np.int64)), backend.zeros((n,))
    softmax, loss = ACTIVATIONS["softmax"], losses.CategoricalCrossEntropy()

    def step():
        A, Z = backend.dense_forward(W, b, X, softmax)
        backend.dropout(A, 1, 0.5, out=A)
        J, dZ = backend.loss_with_gradient(loss, softmax, Z, A, labels)
        backend.weight_gradient(dZ, X)
        backend.dense_backward(W, dZ, ACTIVATIONS["tanh"], X)
        backend.gather(X, labels)
        backend.update(updates.AdamRule(), theta, theta, {"m": theta, "v": theta}, 0.1, 1)
        return J

    step()  # compiles
    with cupyx.allow_synchronize(False):
        J = step()
    assert J.shape == ()
