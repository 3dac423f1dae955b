"""Arrays crossing the border: from any library without a copy where that can be, and back."""

import importlib.util
import sys
import types

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from drawn import drawn
from nnx.backends import Backend, cuda, get_backend
from nnx.backends.errors import DTypeError, NnxError
from nnx.backends.exchange import kind_of, like, namespace_of, on_cuda, to_numpy

few = drawn(25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
host_devices = pytest.mark.parametrize("host", ["cpu", "strict"])


class Exporter:
    """An array of a library that only speaks DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnGpu(Exporter):
    """Says that it lies in CUDA memory."""

    def __dlpack_device__(self):
        return (2, 0)


class Tensor(Exporter):
    """As a PyTorch tensor: DLPack refuses while it requires a gradient."""

    def __init__(self, array, requires_grad=False, device="cpu"):
        super().__init__(array)
        self.requires_grad, self.device = requires_grad, device

    def __dlpack__(self, **options):
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return super().__dlpack__(**options)

    def detach(self):
        return Tensor(self.array)

    def to(self, device):
        return Tensor(self.array, device=device)


class Convertible:
    """As a data frame: NumPy converts it, nothing else can."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype, copy=copy)


def strict(values, **options):
    """An array of array-api-strict."""
    return get_backend("strict").xp.asarray(values, **options)


def name_of(value):
    """A test's name, the same in every process: the repr, unless it holds an address."""
    text = repr(value)
    return type(value).__name__ if " at 0x" in text else text


def pointer(x):
    return np.from_dlpack(x).__array_interface__["data"][0]


wrappers = pytest.mark.parametrize(
    "wrap",
    [lambda x: x, Exporter, Convertible, Tensor, strict],
    ids=["numpy", "dlpack", "__array__", "tensor", "strict"],
)
real_dtypes = ["float32", "float64", "int8", "int32", "int64", "uint8", "bool"]
matrices = hnp.arrays(
    st.sampled_from(real_dtypes), hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
)


# -- in -------------------------------------------------------------------------------------------


@wrappers
@few
@given(values=matrices, dtype=st.sampled_from([None, "float32", "float64"]))
def test_asarray_keeps_values_shape_and_dtype(device, wrap, values, dtype):
    if values.dtype.kind == "f":
        values = np.clip(values, -1e30, 1e30)  # a float32 too; NaN stays NaN
    backend = get_backend(device)
    x = backend.asarray(wrap(values), dtype)
    assert backend.owns(x)
    assert x.dtype == backend.dtype(dtype or values.dtype.name)
    assert_array_equal(backend.to_numpy(x), values.astype(dtype or values.dtype))


@host_devices
@wrappers
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
def test_asarray_does_not_copy_host_memory(host, wrap, layout):
    backend = get_backend(host)
    base = np.arange(24.0, dtype="float32").reshape(4, 6)
    source = {"C": base, "F": base.T, "strided": base[::2, 1::2]}[layout]
    for dtype in (None, "float32"):
        x = backend.asarray(wrap(source), dtype)
        assert pointer(x) == source.__array_interface__["data"][0]
        assert backend.to_numpy(x).strides == source.strides
        source[0, 0] += 1
        assert backend.to_numpy(x)[0, 0] == source[0, 0]


@wrappers
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_copy_copies(device, wrap, dtype):
    backend = get_backend(device)
    source = np.arange(6.0, dtype="float32").reshape(2, 3)
    x = backend.asarray(wrap(source), dtype, copy=True)
    source[...] = -1
    assert backend.to_numpy(x).tolist() == [[0, 1, 2], [3, 4, 5]]
    x[...] = 7
    assert np.all(source == -1)


def test_copy_of_an_own_array(device):
    backend = get_backend(device)
    x = backend.asarray([[1.0, 2.0]], copy=True)
    same, other = backend.asarray(x), backend.asarray(x, copy=True)
    x[...] = 5
    assert backend.to_numpy(same).tolist() == [[5, 5]]
    assert backend.to_numpy(other).tolist() == [[1, 2]]


@host_devices
def test_another_dtype_makes_a_copy(host):
    backend = get_backend(host)
    source = np.ones((2, 2), dtype="float32")
    x = backend.asarray(source, "float64")
    source[...] = 3
    assert backend.to_numpy(x).tolist() == [[1, 1], [1, 1]]


@wrappers
@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("copy", [None, True])
def test_fortran_order_is_kept(device, wrap, dtype, copy):
    backend = get_backend(device)
    source = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    x = backend.to_numpy(backend.asarray(wrap(source), dtype, copy=copy))
    assert x.flags.f_contiguous
    assert not x.flags.c_contiguous
    assert_array_equal(x, source)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ([1, 2], "int64"),
        ([1.5, 2], "float64"),
        ([[True], [False]], "bool"),
        (((1, 2), (3, 4)), "int64"),
        (3, "int64"),
        (2.5, "float64"),
        (np.float32(2.5), "float32"),
        ([], "float64"),
        ([np.arange(2.0), np.arange(2.0)], "float64"),
    ],
    ids=name_of,
)
def test_lists_and_numbers(device, value, want):
    backend = get_backend(device)
    x = backend.asarray(value)
    assert x.dtype == backend.dtype(want)
    assert_array_equal(backend.to_numpy(x), np.array(value))


def test_ranges_and_buffers():
    assert to_numpy(range(3)).tolist() == [0, 1, 2]
    assert to_numpy(memoryview(b"\x01\x02")).tolist() == [1, 2]


def test_read_only_memory_is_not_copied():
    source = np.arange(3.0)
    source.flags.writeable = False
    assert pointer(to_numpy(source)) == source.__array_interface__["data"][0]
    view = to_numpy(Exporter(source))
    assert view.__array_interface__["data"][0] == source.__array_interface__["data"][0]
    assert not view.flags.writeable


def test_a_tensor_that_requires_a_gradient_is_detached(device):
    values = np.arange(4.0)
    tensor = Tensor(values, requires_grad=True)
    with pytest.raises(BufferError):
        np.from_dlpack(tensor)
    backend = get_backend(device)
    assert backend.to_numpy(backend.asarray(tensor)).tolist() == [0, 1, 2, 3]
    assert tensor.requires_grad
    assert np.shares_memory(to_numpy(tensor), values)


def test_to_numpy_does_not_copy_what_is_on_the_host():
    values = np.arange(6.0).reshape(2, 3)
    assert to_numpy(values) is values
    assert get_backend("cpu").to_numpy(values) is values
    for wrap in (Exporter, Convertible, strict):
        assert np.shares_memory(to_numpy(wrap(values)), values)
    x = strict(values)
    assert np.shares_memory(get_backend("strict").to_numpy(x), values)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["a", "b"], "<U1"),
        ("text", "<U4"),
        (b"bytes", "|S5"),
        (np.array(["x"]), "<U1"),
        ([None, 1], "object"),
        (None, "object"),
        (object(), "object"),
        ({"a": 1}, "object"),
        (np.array([1, "a"], dtype=object), "object"),
        ([1 + 2j], "complex128"),
        (np.ones(2, dtype="complex64"), "complex64"),
        (Exporter(np.ones(2, dtype="complex64")), "complex64"),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), r"datetime64\[D\]"),
        (np.zeros(2, dtype=[("a", "f4")]), r"\[\('a', '<f4'\)\]"),
    ],
    ids=name_of,
)
def test_what_is_no_real_number_is_refused(device, value, found):
    with pytest.raises(DTypeError, match=rf"wanted real numbers, got .*{found}") as caught:
        get_backend(device).asarray(value)
    assert isinstance(caught.value, TypeError)


def test_own_complex_array_is_refused(device):
    backend = get_backend(device)
    x = backend.xp.asarray([1 + 2j, 0j])
    with pytest.raises(DTypeError, match=r"wanted real numbers, got .*complex128"):
        backend.asarray(x)


@pytest.mark.parametrize(
    "ragged", [[[1, 2], [3]], [[1.0], 2.0], [np.ones(2), np.ones(3)]], ids=name_of
)
def test_ragged_lists_are_refused(device, ragged):
    with pytest.raises(DTypeError, match="list is not a rectangular array of numbers") as caught:
        get_backend(device).asarray(ragged)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_array", "lil_matrix"])
def test_sparse_matrices_are_refused_with_what_to_do(device, kind):
    sparse = pytest.importorskip("scipy.sparse")
    x = getattr(sparse, kind)(np.eye(3))
    with pytest.raises(DTypeError, match=rf"{kind} is sparse.* pass x.toarray\(\)"):
        get_backend(device).asarray(x)
    assert get_backend(device).asarray(x.toarray()).shape == (3, 3)


@host_devices
def test_gpu_array_without_cupy_names_what_is_missing(host, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "cupy" else real(name, *a)
    )
    monkeypatch.setitem(sys.modules, "cupy", None)
    cuda.why_unusable.cache_clear()
    try:
        with pytest.raises(NnxError, match=r"nnx-learn\[cuda1"):
            get_backend(host).asarray(OnGpu(np.ones(2)))
    finally:
        cuda.why_unusable.cache_clear()


# -- back -----------------------------------------------------------------------------------------


@wrappers
def test_like_gives_the_kind_that_came_in(wrap):
    original = wrap(np.zeros(2, dtype="float32"))
    result = np.arange(6.0).reshape(2, 3)
    back = like(result, original)
    own = namespace_of(original)
    assert namespace_of(back) is (own or np)
    assert_array_equal(np.from_dlpack(back), result)
    if own is None or own is np:
        assert back is result


def test_like_from_strict():
    result = strict([1.0, 2.0])
    assert like(result, strict([0])) is result
    for original in (np.zeros(1), [1, 2], None, Exporter(np.zeros(1))):
        back = like(result, original)
        assert isinstance(back, np.ndarray)
        assert np.shares_memory(back, np.from_dlpack(result))


def test_like_keeps_the_original_s_device():
    other = get_backend("strict").xp.Device("device1")
    original = strict([1.0], device=other)
    back = like(np.array([2.0, 3.0]), original)
    assert back.device == other


def test_like_gives_a_tensor_where_torch_is_loaded(monkeypatch):
    torch = types.SimpleNamespace(Tensor=Tensor, from_dlpack=lambda x: Tensor(np.from_dlpack(x)))
    monkeypatch.setitem(sys.modules, "torch", torch)
    result = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    back = like(result, Tensor(np.zeros(1), device="elsewhere"))
    assert isinstance(back, Tensor)
    assert back.device == "elsewhere"
    assert back.array.flags.c_contiguous
    assert_array_equal(back.array, result)
    assert like(result, [1, 2]) is result


def test_like_round_trip(device):
    backend = get_backend(device)
    x = backend.asarray([[1.0, 2.0]])
    back = like(x, x)
    assert back is x
    assert isinstance(like(x, np.zeros(1)), np.ndarray)


# -- the small helpers ----------------------------------------------------------------------------


def test_kind_of():
    assert kind_of([]) == "list"
    assert kind_of(np.zeros(1)) == "numpy.ndarray"
    assert kind_of(Exporter(None)) == f"{__name__}.Exporter"


def test_namespace_of():
    assert namespace_of(np.zeros(1)) is np
    assert namespace_of(strict([1])) is get_backend("strict").xp
    assert namespace_of([1]) is None
    assert namespace_of(Exporter(np.zeros(1))) is None


def test_on_cuda():
    assert on_cuda(OnGpu(np.zeros(1)))
    managed = OnGpu(np.zeros(1))
    managed.__class__ = type("Managed", (Exporter,), {"__dlpack_device__": lambda self: (13, 0)})
    assert on_cuda(managed)
    assert not on_cuda(Exporter(np.zeros(1)))
    assert not on_cuda([1.0])


def test_owns():
    x, y = np.zeros(1), strict([0.0])
    cpu, other = get_backend("cpu"), get_backend("strict")
    assert (cpu.owns(x), cpu.owns(y)) == (True, False)
    assert (other.owns(x), other.owns(y)) == (False, True)
    assert not cpu.owns([1.0])
    assert not other.owns(None)


def test_a_subclass_of_ndarray_becomes_an_ndarray():
    matrix = np.ones((2, 2)).view(type("Labelled", (np.ndarray,), {}))
    assert type(get_backend("cpu").asarray(matrix)) is np.ndarray


def test_a_backend_of_numpy_s_own_namespace_works_through_the_reference():
    """A third party's backend needs no more than a namespace."""
    backend = Backend(np, "plain")
    x = backend.asarray([[1, 2], [3, 4]], "float32")
    assert backend.owns(x)
    assert backend.gather(x, backend.asarray([1])).tolist() == [[2], [4]]
