"""Arrays of libraries that may not be here, played by classes with the same methods."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import nnx
from nnx.backends import get_backend
from nnx.backends.exchange import exportable, native, on_cuda, to_numpy
from nnx.errors import DTypeError

Array = Any
X = np.random.default_rng(0).standard_normal((4, 30)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, 30)


class Tensor:
    """As a PyTorch tensor in host memory; NumPy reads it through DLPack."""

    def __init__(self, array: Array, dtype: str = "torch.float32", **state: Any) -> None:
        self.array, self.dtype = array, dtype
        self.layout = state.get("layout", "torch.strided")
        self.requires_grad, self.negative = state.get("grad", False), state.get("negative", False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def ndim(self) -> int:
        return int(self.array.ndim)

    def detach(self) -> "Tensor":
        state = {"layout": self.layout, "negative": self.negative}
        return Tensor(self.array, self.dtype, **state)

    def resolve_neg(self) -> "Tensor":
        if self.layout != "torch.strided":
            return self
        return Tensor(-self.array, self.dtype) if self.negative else self

    def float(self) -> "Tensor":
        assert not self.requires_grad
        return Tensor(self.array.astype(np.float32))

    def to_dense(self) -> "Tensor":
        return Tensor(self.array)

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: Any) -> Any:
        if self.requires_grad or self.layout != "torch.strided":
            raise BufferError("Can't export such tensors")
        return self.array.__dlpack__(**options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        raise TypeError(f"Got unsupported ScalarType {self.dtype}")


class JaxArray:
    """As a JAX array: NumPy reads it through DLPack, but for what DLPack lacks."""

    def __init__(self, array: Array) -> None:
        self.array, self.dtype = array, array.dtype

    def astype(self, dtype: str) -> "JaxArray":
        return JaxArray(self.array.astype(dtype))

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        return np.array(self.array, dtype=dtype, copy=copy)


class JaxSparse:
    """As JAX's BCOO: nothing can read it."""

    def todense(self) -> Array:
        return X


class OnMeta(Tensor):
    """As a PyTorch tensor without numbers."""

    def detach(self) -> "OnMeta":
        return self

    def resolve_neg(self) -> "OnMeta":
        return self

    def __dlpack_device__(self) -> tuple[int, int]:
        raise ValueError("Unknown device type meta for Dlpack")

    def __dlpack__(self, **options: Any) -> Any:
        raise ValueError("Unknown device type meta for Dlpack")


HALF = X.astype(ml_dtypes.bfloat16)
# How an array is passed, and the NumPy array that it stands for.
TAKEN: dict[str, tuple[Any, Array]] = {
    "a tensor": (Tensor(X), X),
    "a tensor with a gradient": (Tensor(X, grad=True), X),
    "a tensor whose sign is to be turned": (Tensor(-X, negative=True), X),
    "a tensor in bfloat16": (Tensor(HALF, "torch.bfloat16"), HALF.astype(np.float32)),
    "bfloat16 with a gradient": (
        Tensor(HALF, "torch.bfloat16", grad=True),
        HALF.astype(np.float32),
    ),
    "JAX": (JaxArray(X), X),
    "JAX in bfloat16": (JaxArray(HALF), HALF.astype(np.float32)),
    "JAX in int4": (JaxArray(X.astype(ml_dtypes.int4)), np.trunc(X)),
    "JAX in float8": (
        JaxArray(X.astype(ml_dtypes.float8_e5m2)),
        X.astype(ml_dtypes.float8_e5m2).astype(np.float32),
    ),
    "another byte order": (JaxArray(X.astype(">f4")), X),
    "long doubles": (JaxArray(X.astype(np.longdouble)), X),
}
REFUSED: dict[str, tuple[Any, str]] = {
    "COO": (Tensor(X, layout="torch.sparse_coo"), r"Tensor is sparse.* pass x.to_dense\(\)"),
    "CSR": (Tensor(X, layout="torch.sparse_csr"), r"Tensor is sparse.* pass x.to_dense\(\)"),
    "BCOO": (JaxSparse(), r"JaxSparse is sparse.* pass x.todense\(\)"),
    "no numbers": (OnMeta(X), r"OnMeta cannot be read through DLPack \(Unknown device type meta"),
    "complex": (JaxArray(X * 1j), "wanted real numbers, got an array of dtype complex64"),
    "quantized": (
        Tensor(X.astype("M8[s]")),
        r"Tensor cannot be read through DLPack \(DLPack only supports",
    ),
}


def network(device: str) -> nnx.Network:
    return nnx.MLP([4, 5, 3], device=device)


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_taken(kind: str, device: str) -> None:
    array, wanted = TAKEN[kind]
    backend = get_backend(device)
    found = backend.asarray(array)
    np.testing.assert_array_equal(backend.to_numpy(found), wanted)
    assert backend.to_numpy(backend.asarray(array, "float64")).dtype == np.float64
    net, other = network(device), network(device)
    for name in ("predict", "predict_proba"):
        np.testing.assert_array_equal(
            *(backend.to_numpy(getattr(n, name)(x)) for n, x in ((net, array), (other, wanted)))
        )
    for data in ("device", "stream"):
        for n, x in ((net, array), (other, wanted)):
            n.fit(x, LABELS, epochs=1, data=data, validation=(x, LABELS))  # type: ignore[call-overload]
        np.testing.assert_array_equal(backend.to_numpy(net.theta), backend.to_numpy(other.theta))


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named(kind: str, device: str) -> None:
    array, message = REFUSED[kind]
    net = network(device)
    with pytest.raises(DTypeError, match=message):
        get_backend(device).asarray(array)
    for name, call in {
        "X": lambda: net.fit(array, LABELS),
        "Y": lambda: net.fit(X, array),
        "sample_weight": lambda: net.fit(X, LABELS, sample_weight=array),
    }.items():
        with pytest.raises(DTypeError, match=f"^{name}: .*{message}"):
            call()
    for method in ("predict", "predict_proba", "forward"):
        with pytest.raises(DTypeError, match=f"^X: .*{message}"):
            getattr(net, method)(array)


def test_what_is_ready_stays_what_it_is() -> None:
    for x in (X, [1.0], 3, None, X[:, ::-2]):
        assert exportable(x) is x
    for array in (X, X.T, X[::-1], LABELS, np.array("text"), np.array([None]), X > 0):
        assert native(array) is array
    assert not on_cuda(OnMeta(X))
    assert np.shares_memory(to_numpy(Tensor(X)), X)
    labels = np.array(["no", "yes"], dtype=np.dtypes.StringDType())
    assert native(labels) is labels


def test_memory_order_and_strides_stay_where_bytes_are_turned() -> None:
    for array in (X, X.T, np.asfortranarray(X)):
        found = native(array.astype(array.dtype.newbyteorder(">"), order="K"))
        assert found.strides == array.strides
        np.testing.assert_array_equal(found, array)


def test_tensors_of_pytorch(device: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra peers, which CI lacks")
    wanted = network(device).predict_proba(HALF.astype(np.float32))
    half = torch.asarray(X).to(torch.bfloat16)
    found = network(device).predict_proba(half)
    assert isinstance(found, torch.Tensor)
    np.testing.assert_array_equal(found.numpy(), wanted)
    imaginary = torch.complex(torch.zeros(4, 30), torch.asarray(-X)).conj().imag
    assert imaginary.is_neg()
    np.testing.assert_array_equal(to_numpy(imaginary), X)
    for sparse in (torch.asarray(X).to_sparse(), torch.asarray(X).to_sparse_csr()):
        with pytest.raises(DTypeError, match=r"^X: torch.Tensor is sparse.* x.to_dense\(\)"):
            network(device).predict(sparse)


def test_arrays_of_jax(device: str) -> None:
    jax = pytest.importorskip("jax", reason="JAX is in the extra peers, which CI lacks")
    half = jax.numpy.asarray(X, jax.numpy.bfloat16)
    wanted = network(device).predict_proba(HALF.astype(np.float32))
    np.testing.assert_array_equal(np.asarray(network(device).predict_proba(half)), wanted)
