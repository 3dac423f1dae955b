"""cuBLASLt as nnx calls it: its numbers and signatures against the bindings, products on NumPy."""

import inspect

import numpy as np
import pytest

from host_gpu import HostLt
from host_gpu.cublaslt import from_float, to_float
from nnx.backends.cuda import products
from nnx.backends.cuda.products import Product
from nnx.backends.errors import DeviceError

lt = pytest.importorskip("nvmath.bindings.cublasLt", reason="nvmath-python brings the bindings")


def test_the_numbers_are_those_of_the_bindings():
    import nvmath
    from nvmath.bindings import cublas

    for name, number in products.EPILOGUES.items():
        assert lt.Epilogue[name] == number
    for names, numbers, dtype_of in (
        (lt.MatmulDescAttribute, products.DESCRIPTION, lt.get_matmul_desc_attribute_dtype),
        (
            lt.MatmulPreferenceAttribute,
            products.PREFERENCE,
            lt.get_matmul_preference_attribute_dtype,
        ),
    ):
        for name, (number, dtype) in numbers.items():
            assert names[name] == number
            assert np.dtype(dtype).itemsize == np.dtype(dtype_of(names[name])).itemsize, name
    assert lt.matmul_heuristic_result_dtype.itemsize == products.RESULT_BYTES
    fields = lt.matmul_heuristic_result_dtype.fields
    assert [fields[name][1] for name in ("algo", "state")] == [0, products.STATE_OFFSET]
    assert fields["algo"][0].itemsize == products.ALGORITHM_BYTES
    assert lt.ReductionScheme.COMPUTE_TYPE == products._REDUCTION_COMPUTE_TYPE
    kinds = {"float32": "32F", "float64": "64F", "float16": "16F", "bfloat16": "16BF"}
    for name, short in kinds.items():
        assert nvmath.CudaDataType[f"CUDA_R_{short}"] == products.TYPES[name]
    kinds = {"float32": "32F", "float64": "64F", "tf32": "32F_FAST_TF32"}
    for name, short in kinds.items():
        assert cublas.ComputeType[f"COMPUTE_{short}"] == products.COMPUTE[name]


@pytest.mark.parametrize(
    "name", [name for name in vars(HostLt) if not name.startswith("_") and name != "live"]
)
def test_the_host_takes_what_the_bindings_take(name):
    first = getattr(lt, name).__doc__.splitlines()[0]
    inside = first[first.index("(") + 1 : first.rindex(")")]
    wanted = [part for part in inside.split(",") if part.strip()]
    found = list(inspect.signature(getattr(HostLt, name)).parameters)[1:]
    assert len(found) == len(wanted), first


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64"])
def test_numbers_of_16_bits_on_the_host(kind):
    """Round to nearest, ties to even; values that fit come back as they are."""
    number = products.TYPES[kind]
    x = np.array([0, 1, -2.5, 1 + 2**-9, 1 + 3 * 2**-9, 3e38, np.inf, np.nan], np.float32)
    x = x.astype(np.float64) if kind == "float64" else x
    back = to_float(from_float(x, number), number)
    expected = {
        "bfloat16": [0, 1, -2.5, 1, 1 + 2**-7, 3.0041236e38, np.inf, np.nan],
        "float16": [0, 1, -2.5, 1 + 2**-9, 1 + 3 * 2**-9, np.inf, np.inf, np.nan],
    }.get(kind, x)
    np.testing.assert_allclose(back, expected, rtol=1e-4)


CASES = [
    (kind, epilogue, shape, transposes)
    for kind in ("float64", "float32", "tf32", "bfloat16", "float16")
    for epilogue in ("DEFAULT", "RELU_AUX_BIAS", "GELU_AUX_BIAS", "BGRADB")
    for shape in ((16, 24, 40), (128, 8, 264))
    for transposes in ((True, False), (False, False), (False, True))
]


def settled(stream, product, on_gpu):
    """The launch of a product; its test is skipped where a GPU's cuBLASLt has no such epilogue."""
    try:
        (launch,) = stream.settle([[product]])
    except DeviceError as error:
        if on_gpu and product.epilogue != "DEFAULT":
            pytest.skip(str(error))
        raise
    return launch


@pytest.mark.parametrize(
    ("epilogue", "on_gpu", "raised"),
    [
        ("RELU_AUX_BIAS", True, pytest.skip.Exception),
        ("RELU_AUX_BIAS", False, DeviceError),
        ("DEFAULT", True, DeviceError),
    ],
)
def test_only_a_gpu_may_lack_an_epilogue(host_backend, epilogue, on_gpu, raised):
    api = HostLt()
    api.missing = lambda epilogue, kind: True
    host_backend.use_cublaslt(api)
    product = Product(8, 8, 8, 256, 256, 256, True, False, *["float32"] * 3, epilogue)
    try:
        with pytest.raises(raised, match="cuBLASLt has no algorithm"):
            settled(host_backend.graphs(), product, on_gpu)
    finally:
        host_backend.use_cublaslt(HostLt())


@pytest.mark.parametrize(("kind", "epilogue", "shape", "transposes"), CASES)
def test_products(backend, request, kind, epilogue, shape, transposes):
    """Against NumPy in float64, in the three layouts of a training step."""
    from nnx.backends.cuda.step_kernels import HOLDERS
    from nnx.precision import numbers

    storage, compute = numbers(
        None if kind == "float64" else kind, "float64" if kind == "float64" else "float32"
    )
    master = "float64" if kind == "float64" else "float32"
    result = master if epilogue in ("DEFAULT", "BGRADB") else storage
    rows, columns, inner = shape
    rng = np.random.default_rng(0)

    def upload(x, dtype):
        number = products.TYPES[dtype]
        low = np.asarray(from_float(x.astype(master), number), order="F")
        return to_float(low, number).astype(np.float64), backend.asarray(low)

    A, a = upload(rng.standard_normal((rows, inner)), storage)
    B, b = upload(rng.standard_normal((inner, columns)), storage)
    if transposes[0]:
        a = backend.asarray(np.asfortranarray(backend.to_numpy(a).T))
    if transposes[1]:
        b = backend.asarray(np.asfortranarray(backend.to_numpy(b).T))
    d = backend.empty((rows, columns), HOLDERS[result])
    bias_size = columns if epilogue == "BGRADB" else rows
    bias, vector = upload(rng.standard_normal(bias_size), result)
    aux_ld = -(-rows // 128) * 128 if epilogue == "RELU_AUX_BIAS" else rows
    aux = backend.zeros((aux_ld * columns,), HOLDERS[result])
    keeps = epilogue.endswith("AUX_BIAS")
    product = Product(
        rows, columns, inner, a.data.ptr, b.data.ptr, d.data.ptr, *transposes, storage, result,
        compute, epilogue, 0 if epilogue == "DEFAULT" else vector.data.ptr,
        aux.data.ptr if keeps else 0, aux_ld if keeps else 0,
    )  # fmt: skip
    stream = backend.graphs()
    with backend.active(), stream.ordered():
        settled(stream, product, request.node.callspec.params["gpu_backend"] == "gpu").run()
    wanted = A @ B
    if keeps:
        wanted = wanted + bias[:, None]
    if epilogue == "RELU_AUX_BIAS":
        wanted = np.maximum(wanted, 0)
    if epilogue == "GELU_AUX_BIAS":
        Z = wanted
        wanted = 0.5 * Z * (1 + np.tanh(np.sqrt(2 / np.pi) * (Z + 0.044715 * Z**3)))
    number = products.TYPES[result]
    found = to_float(backend.to_numpy(d), number)
    epsilon = {"float64": 1e-14, "float32": 1e-6, "tf32": 1e-3}.get(kind, 1e-6)
    rounding = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(result, 0)
    np.testing.assert_allclose(
        found, wanted, rtol=2 * rounding + 10 * epsilon, atol=10 * epsilon * inner**0.5
    )
    if epilogue == "BGRADB":
        found = backend.to_numpy(vector)
        np.testing.assert_allclose(found, B.sum(axis=0), rtol=1e-4, atol=1e-3)
