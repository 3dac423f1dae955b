"""cuBLASLt for the host: the functions of nvmath.bindings.cublasLt that nnx calls, on addresses.

Epilogues do what NVIDIA's documentation says; what it demands (leading dimensions, alignment, which
parts of a description an epilogue needs) is asserted.
"""

import ctypes

import numpy as np

from host_gpu.streams import Stream

FLOAT32, FLOAT64, FLOAT16, BFLOAT16 = 0, 1, 2, 14
HOLDERS = {FLOAT32: np.float32, FLOAT64: np.float64, FLOAT16: np.float16, BFLOAT16: np.uint16}
TRANSA, TRANSB, EPILOGUE, BIAS, AUX, AUX_LD = 3, 4, 7, 8, 11, 12
NAMES = {
    1: "DEFAULT", 4: "BIAS", 134: "RELU_AUX_BIAS", 136: "DRELU", 152: "DRELU_BGRAD",
    164: "GELU_AUX_BIAS", 192: "DGELU", 208: "DGELU_BGRAD", 512: "BGRADB",
}  # fmt: skip
RESULT_BYTES, STATE_OFFSET, NOT_SUPPORTED = 96, 72, 15
ALGORITHM = 0x616C676F  # what tells an algorithm from bytes that happen to lie there


def to_float(x, kind):
    """The numbers that an array of a storage type holds, in float32 or float64."""
    if kind == BFLOAT16:
        return (x.astype(np.uint32) << 16).view(np.float32)
    return x if kind == FLOAT64 else x.astype(np.float32)


def from_float(x, kind):
    """Round to a storage type, to nearest even."""
    if kind != BFLOAT16:
        with np.errstate(over="ignore"):
            return x.astype(HOLDERS[kind])
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(x), np.uint16(0x7FFF), rounded)


def matrix(address, rows, columns, ld, dtype):
    """A column-major matrix in memory."""
    assert address % 16 == 0
    size = ld * columns * np.dtype(dtype).itemsize
    buffer = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(buffer, dtype).reshape(columns, ld).T[:rows]


def gelu(Z):
    return 0.5 * Z * (1 + np.tanh(0.7978845608028654 * (Z + 0.044715 * Z**3)))


def gelu_derivative(Z):
    T = np.tanh(0.7978845608028654 * (Z + 0.044715 * Z**3))
    return 0.5 * (1 + T) + 0.5 * Z * (1 - T * T) * 0.7978845608028654 * (1 + 3 * 0.044715 * Z * Z)


class HostLt:
    """Stands in for the module.

    Attributes
    ----------
    algorithms : int
        How many the heuristic proposes.
    missing : callable (name of epilogue, operand type) -> bool
        For which products it has none.
    unusable : callable (number) -> bool
        Which proposals have a status other than success.
    refuses : callable (number) -> bool
        Which algorithms fail when they are to run, as NVIDIA's guide allows.
    mask_at_zero : bool
        The bit of an exact zero in ReLU's mask. NVIDIA's documentation does not say; CUTLASS, of
        which cuBLASLt is made, has `!(x < 0)`.
    used : list of tuple
        (epilogue, algorithm) of each product that ran.
    """

    def __init__(self):
        self._objects, self._count = {}, 0
        self.algorithms, self.missing, self.used = 1, lambda epilogue, kind: False, []
        self.unusable = self.refuses = lambda number: False
        self.mask_at_zero = True

    def _new(self, values):
        self._count += 1
        self._objects[self._count] = values
        return self._count

    def live(self, kind):
        """How many descriptions, layouts or preferences have not been destroyed."""
        return sum(values["is"] == kind for values in self._objects.values())

    def get_version(self):
        return 130000

    def create(self):
        return self._new({"is": "handle"})

    def matmul_desc_create(self, compute, scale):
        assert (compute, scale) in ((68, FLOAT32), (77, FLOAT32), (70, FLOAT64))
        return self._new({"is": "description", "compute": compute, TRANSA: 0, TRANSB: 0})

    def matmul_desc_set_attribute(self, description, attribute, buffer, size):
        assert size == (4 if attribute in (TRANSA, TRANSB, EPILOGUE) else 8)
        value = int.from_bytes(ctypes.string_at(buffer, size), "little")
        self._objects[description][attribute] = value

    def matmul_desc_destroy(self, description):
        assert self._objects.pop(description)["is"] == "description"

    def matrix_layout_create(self, kind, rows, columns, ld):
        assert ld >= rows
        assert ld * np.dtype(HOLDERS[kind]).itemsize % 16 == 0, "tensor cores want 16 bytes"
        return self._new({"is": "layout", "kind": kind, "shape": (rows, columns), "ld": ld})

    def matrix_layout_destroy(self, layout):
        assert self._objects.pop(layout)["is"] == "layout"

    def matmul_preference_create(self):
        return self._new({"is": "preference"})

    def matmul_preference_set_attribute(self, preference, attribute, buffer, size):
        assert self._objects[preference]["is"] == "preference"
        assert size == (8 if attribute == 1 else 4)

    def matmul_preference_destroy(self, preference):
        assert self._objects.pop(preference)["is"] == "preference"

    def matmul_algo_get_heuristic(
        self, handle, description, a, b, c, d, preference, wanted, results, found
    ):
        assert self._objects[handle]["is"] == "handle"
        assert self._objects[preference]["is"] == "preference"
        kind = self._objects[a]["kind"]
        epilogue = NAMES[self._objects[description][EPILOGUE]]
        count = 0 if self.missing(epilogue, kind) else min(self.algorithms, wanted)
        for number in range(count):
            row = results + number * RESULT_BYTES
            (ctypes.c_uint64 * 2).from_address(row)[:] = (number, ALGORITHM)
            state = NOT_SUPPORTED if self.unusable(number) else 0
            ctypes.c_int32.from_address(row + STATE_OFFSET).value = state
        ctypes.c_int32.from_address(found).value = count

    def matmul(
        self, handle, description, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
        algorithm, workspace, workspace_bytes, stream,
    ):  # fmt: skip
        assert workspace % 256 == 0
        assert workspace_bytes
        number, mark = (ctypes.c_uint64 * 2).from_address(algorithm)
        if mark != ALGORITHM:
            raise RuntimeError("CUBLAS_STATUS_INVALID_VALUE")
        if self.unusable(number) or self.refuses(number):
            raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")
        settings = dict(self._objects[description])
        layouts = [dict(self._objects[x]) for x in (a_layout, b_layout, d_layout)]
        name = NAMES[settings[EPILOGUE]]

        def work():
            assert description in self._objects, "a description was destroyed before its graph"
            self.used.append((name, number))
            self._compute(settings, layouts, (alpha, beta), (a, b, d))

        Stream.known[stream].submit(f"matmul {name} {number}", work)

    def _compute(self, settings, layouts, scalars, addresses):
        A, B, D = (
            matrix(address, *layout["shape"], layout["ld"], HOLDERS[layout["kind"]])
            for address, layout in zip(addresses, layouts, strict=True)
        )
        kind, result = layouts[0]["kind"], layouts[2]["kind"]
        assert layouts[1]["kind"] == kind
        number = ctypes.c_double if kind == FLOAT64 else ctypes.c_float
        assert [number.from_address(x).value for x in scalars] == [1, 0]
        X, Y = to_float(A, kind), to_float(B, kind)
        X, Y = X.T if settings[TRANSA] else X, Y.T if settings[TRANSB] else Y
        with np.errstate(all="ignore"):
            out = self._epilogue(settings, X, Y, result)
        assert out.shape == D.shape
        D[...] = from_float(out, result)

    def _epilogue(self, settings, X, Y, result):
        out, name = X @ Y, NAMES[settings[EPILOGUE]]
        (m, n), holder = out.shape, HOLDERS[result]
        size = np.dtype(holder).itemsize

        def vector(length):
            return matrix(settings[BIAS], length, 1, -(-length * size // 16) * 16 // size, holder)

        def mask():
            bits = settings[AUX_LD]
            assert bits % 128 == 0
            assert bits >= m
            return matrix(settings[AUX], bits // 8, n, bits // 8, np.uint8)

        def aux():
            assert settings[AUX_LD] % 8 == 0
            return matrix(settings[AUX], m, n, settings[AUX_LD], holder)

        if name.endswith("BIAS"):
            out = out + to_float(vector(m), result)
        if name == "RELU_AUX_BIAS":
            kept = ~(out < 0) if self.mask_at_zero else out > 0
            packed = np.packbits(kept, axis=0, bitorder="little")
            mask()[: packed.shape[0]] = packed
            out = np.fmax(out, 0)  # NaN becomes zero, as users of the library report
        elif name == "GELU_AUX_BIAS":
            aux()[...] = from_float(out, result)
            out = gelu(out)
        elif name.startswith("DRELU"):
            assert X.shape[1] > 1, "no DRELU for an inner size of 1"
            out = out * np.unpackbits(mask(), axis=0, bitorder="little")[:m].astype(out.dtype)
        elif name.startswith("DGELU"):
            assert X.shape[1] > 1, "no DGELU for an inner size of 1"
            out = out * gelu_derivative(to_float(aux(), result))
        if name in ("DRELU_BGRAD", "DGELU_BGRAD"):
            vector(m)[:, 0] = from_float(out.sum(axis=1), result)
        if name == "BGRADB":
            assert n > 1, "no BGRADB for one column"
            vector(n)[:, 0] = from_float(Y.sum(axis=0), result)
        return out
