"""Matrix products through cuBLASLt with fixed addresses: planned once, then only launched.

The library is reached through the functions of `nvmath.bindings.cublasLt`, or of anything else that
has them (`api`): tests pass one that computes on the host. Their numbers stand here, so that
planning imports nothing; a test holds them against the bindings.
"""

from __future__ import annotations

import importlib.util
import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

Address = int

# cudaDataType and cublasComputeType_t
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}
COMPUTE = {"float32": 68, "tf32": 77, "float64": 70}
# cublasLtEpilogue_t
EPILOGUES = {
    "DEFAULT": 1,
    "BIAS": 4,
    "RELU_AUX_BIAS": 134,
    "DRELU": 136,
    "DRELU_BGRAD": 152,
    "GELU_AUX_BIAS": 164,
    "DGELU": 192,
    "DGELU_BGRAD": 208,
    "BGRADB": 512,
}
# cublasLtMatmulDescAttributes_t and cublasLtMatmulPreferenceAttributes_t: number and type
DESCRIPTION = {
    "TRANSA": (3, np.int32),
    "TRANSB": (4, np.int32),
    "EPILOGUE": (7, np.uint32),
    "BIAS_POINTER": (8, np.uint64),
    "EPILOGUE_AUX_POINTER": (11, np.uint64),
    "EPILOGUE_AUX_LD": (12, np.int64),
}
PREFERENCE = {
    "MAX_WORKSPACE_BYTES": (1, np.uint64),
    "REDUCTION_SCHEME_MASK": (3, np.uint32),
    "MIN_ALIGNMENT_A_BYTES": (5, np.uint32),
    "MIN_ALIGNMENT_B_BYTES": (6, np.uint32),
    "MIN_ALIGNMENT_C_BYTES": (7, np.uint32),
    "MIN_ALIGNMENT_D_BYTES": (8, np.uint32),
}
# cublasLtMatmulHeuristicResult_t: its size, the algorithm at its start, and where the status lies
# that says whether this algorithm can be used.
RESULT_BYTES, ALGORITHM_BYTES, STATE_OFFSET = 96, 64, 72
# Partial sums of a split product in the compute type, added in a fixed order: no atomics.
_REDUCTION_COMPUTE_TYPE = 2
ALGORITHMS = 8  # that are asked for and compared


@cache
def why_no_cublaslt() -> str | None:
    """Return what keeps cuBLASLt from being called here; None where nothing does."""
    install = 'pip install "nnx-learn[cuda13]" (CUDA 13 drivers) or "nnx-learn[cuda12]" (CUDA 12)'
    if importlib.util.find_spec("nvmath") is None:
        return f"nvmath-python is not installed: {install}"
    try:
        cublaslt().get_version()
    except Exception as error:  # each missing library has an error of its own
        return f"nvmath-python is installed, but cuBLASLt cannot be used ({error}); {install}"
    return None


def cublaslt() -> Any:
    """Return the bindings."""
    import nvmath.bindings.cublasLt

    return nvmath.bindings.cublasLt


class NoAlgorithmError(Exception):
    """No algorithm of cuBLASLt runs a product; a plain product and a kernel may take its place."""


@dataclass(frozen=True)
class Product:
    """D (rows, columns) = epilogue(op(A) op(B)), all matrices column-major and without gaps.

    Attributes
    ----------
    rows, columns, inner : int
        op(A) is (rows, inner), op(B) (inner, columns).
    a, b, d : int
        Addresses on the device.
    transpose_a, transpose_b : bool
    operands, result, compute : str
        Dtypes of A and B, of D, and a key of `COMPUTE`.
    epilogue : str
        A key of `EPILOGUES`.
    bias : int
        Address of the bias vector, of D's dtype: an input, or the output of *BGRAD*.
    aux, aux_ld : int
        Address and leading dimension of what the epilogue keeps for the way back: ReLU's mask (in
        bits), or Z for GELU.
    """

    rows: int
    columns: int
    inner: int
    a: Address
    b: Address
    d: Address
    transpose_a: bool
    transpose_b: bool
    operands: str
    result: str
    compute: str
    epilogue: str = "DEFAULT"
    bias: Address = 0
    aux: Address = 0
    aux_ld: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        """All that the choice of an algorithm may depend on."""
        alignments = tuple(_alignment(x) for x in (self.a, self.b, self.d, self.bias, self.aux))
        return (
            self.rows, self.columns, self.inner, self.transpose_a, self.transpose_b, self.operands,
            self.result, self.compute, self.epilogue, self.aux_ld, alignments,
        )  # fmt: skip


def _alignment(address: Address) -> int:
    return min(256, address & -address) if address else 256


def _destroy_all(things: list[tuple[Any, int]]) -> None:
    for destroy, thing in things:
        destroy(thing)


class Workspace(NamedTuple):
    """Memory that products of one stream may use while they run."""

    address: Address
    bytes: int


class Planned:
    """A product with its descriptors and the algorithms that the library proposes.

    Parameters
    ----------
    product : Product
    api : module or object
        The functions of `nvmath.bindings.cublasLt`.
    handle : int
        From `api.create`.
    workspace : Workspace
    stream : int
        The CUDA stream on which it runs.
    algorithm : bytes, optional
        One that was proposed for a product of the same key; then the library is not asked.

    Attributes
    ----------
    proposals : list of bytes
        The algorithms themselves, the library's first choice first. Numbers would not do: what is
        proposed may change with the memory that is free. The first is in use.

    Raises
    ------
    NoAlgorithmError
    """

    def __init__(
        self,
        product: Product,
        api: Any,
        handle: int,
        workspace: Workspace,
        stream: int,
        algorithm: bytes | None = None,
    ) -> None:
        self.product, self._api = product, api
        self._destroy: list[tuple[Any, int]] = []
        weakref.finalize(self, _destroy_all, self._destroy)
        scale = "float64" if product.operands == "float64" else "float32"
        # Read by the library at each call: one and zero, on the host.
        self._one, self._zero = np.ones(1, scale), np.zeros(1, scale)
        self._description = api.matmul_desc_create(COMPUTE[product.compute], TYPES[scale])
        self._destroy.append((api.matmul_desc_destroy, self._description))
        for name, value in self._attributes().items():
            number, dtype = DESCRIPTION[name]
            cell = np.array([value], dtype)
            api.matmul_desc_set_attribute(
                self._description, number, cell.ctypes.data, cell.itemsize
            )
        rows, columns, inner = product.rows, product.columns, product.inner
        A = (inner, rows) if product.transpose_a else (rows, inner)
        B = (columns, inner) if product.transpose_b else (inner, columns)
        layouts = [
            self._layout(product.operands, *A),
            self._layout(product.operands, *B),
            self._layout(product.result, rows, columns),
        ]
        if algorithm is None:
            self.proposals = self._propose(handle, workspace, layouts)
        else:
            self.proposals = [algorithm]
        if not self.proposals:
            raise NoAlgorithmError(f"cuBLASLt has no algorithm for {product}")
        self._before = (
            handle, self._description, self._one.ctypes.data, product.a, layouts[0], product.b,
            layouts[1], self._zero.ctypes.data, product.d, layouts[2], product.d, layouts[2],
        )  # fmt: skip
        self._after = (workspace.address, workspace.bytes, stream)
        self._matmul = api.matmul
        self.use(self.proposals[0])

    def use(self, algorithm: bytes) -> None:
        """Take one of the proposals."""
        self._algorithm = np.frombuffer(algorithm, np.uint8).copy()  # read at each launch
        self._arguments = (*self._before, self._algorithm.ctypes.data, *self._after)

    def __call__(self) -> None:
        """Launch the product on its stream."""
        self._matmul(*self._arguments)

    def _attributes(self) -> dict[str, int]:
        product = self.product
        values = {
            "TRANSA": int(product.transpose_a),
            "TRANSB": int(product.transpose_b),
            "EPILOGUE": EPILOGUES[product.epilogue],
        }
        # Set before algorithms are asked for, since their alignment counts.
        if product.bias:
            values["BIAS_POINTER"] = product.bias
        if product.aux:
            values |= {"EPILOGUE_AUX_POINTER": product.aux, "EPILOGUE_AUX_LD": product.aux_ld}
        return values

    def _layout(self, dtype: str, rows: int, columns: int) -> int:
        layout: int = self._api.matrix_layout_create(TYPES[dtype], rows, columns, rows)
        self._destroy.append((self._api.matrix_layout_destroy, layout))
        return layout

    def _propose(self, handle: int, workspace: Workspace, layouts: list[int]) -> list[bytes]:
        api, product, (A, B, D) = self._api, self.product, layouts
        preference = api.matmul_preference_create()
        values = {
            "MAX_WORKSPACE_BYTES": workspace.bytes,
            "REDUCTION_SCHEME_MASK": _REDUCTION_COMPUTE_TYPE,
            "MIN_ALIGNMENT_A_BYTES": _alignment(product.a),
            "MIN_ALIGNMENT_B_BYTES": _alignment(product.b),
            "MIN_ALIGNMENT_C_BYTES": _alignment(product.d),
            "MIN_ALIGNMENT_D_BYTES": _alignment(product.d),
        }
        results, found = np.zeros((ALGORITHMS, RESULT_BYTES), np.uint8), np.zeros(1, np.int32)
        try:
            for name, value in values.items():
                number, dtype = PREFERENCE[name]
                cell = np.array([value], dtype)
                api.matmul_preference_set_attribute(
                    preference, number, cell.ctypes.data, cell.itemsize
                )
            api.matmul_algo_get_heuristic(
                handle, self._description, A, B, D, D, preference, ALGORITHMS,
                results.ctypes.data, found.ctypes.data,
            )  # fmt: skip
        except Exception as error:
            # The bindings raise for NOT_SUPPORTED; what is broken fails for plain products too.
            if product.epilogue == "DEFAULT":
                raise
            raise NoAlgorithmError(f"cuBLASLt refuses {product}: {error}") from None
        finally:
            api.matmul_preference_destroy(preference)
        states = results[:, STATE_OFFSET : STATE_OFFSET + 4].copy().view(np.int32)[:, 0]
        return [
            row[:ALGORITHM_BYTES].tobytes()
            for row, state in zip(results[: found[0]], states, strict=False)
            if state == 0
        ]
