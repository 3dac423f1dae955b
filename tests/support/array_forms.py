"""The ways in which an array can lie in memory, and the dtypes that its numbers can have.

Each form holds the same values as the plain array that it is made of, but for the broadcast one,
which repeats the first of each row; `plain` gives what an answer is compared with.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Array = Any


def plain(x: Array) -> Array:
    """The same values in an ndarray of their own: contiguous, in this machine's byte order."""
    x = np.asarray(x)
    return np.array(x, x.dtype.newbyteorder("="), order="C")


def laid(
    x: Array, steps: tuple[int, ...] | None = None, offset: int = 0, order: str = "="
) -> Array:
    """The values of x in a view of bytes.

    steps : tuple of int, optional
        Which elements of a larger array it takes along each axis; backwards where negative.
    offset : int
        Bytes from an address at which any number may begin.
    order : str
        Of the bytes.
    """
    steps = (1,) * x.ndim if steps is None else steps
    dtype = x.dtype.newbyteorder(order)
    shape = [n * abs(step) for n, step in zip(x.shape, steps, strict=True)]
    size = int(np.prod(shape, dtype=int)) * dtype.itemsize
    buffer = np.zeros(size + 64 + offset, np.uint8)
    start = -buffer.__array_interface__["data"][0] % 64 + offset
    around = buffer[start : start + size].view(dtype).reshape(shape)
    view = around[tuple(slice(None, None, step) for step in steps)]
    view[...] = x
    return view


def field(x: Array) -> Array:
    """A field of records whose other fields make its addresses odd."""
    records = np.zeros(x.shape, np.dtype([("a", "i1"), ("x", x.dtype), ("b", "i2")]))
    records["x"] = x
    return records["x"]


def read_only(x: Array) -> Array:
    x = x.copy()
    x.flags.writeable = False
    return x


def memory_mapped(x: Array) -> Array:
    with tempfile.TemporaryDirectory() as folder:  # a mapped file may be removed
        np.save(Path(folder) / "x.npy", x)
        return np.load(Path(folder) / "x.npy", mmap_mode="r")


def big_endian(x: Array) -> Array:
    return x.astype(x.dtype.newbyteorder(">"))


FORMS: dict[str, Callable[[Array], Array]] = {
    "big-endian": big_endian,
    "at an odd address": lambda x: laid(x, offset=1),
    "big-endian at an odd address": lambda x: laid(x, offset=3, order=">"),
    "in strides": lambda x: laid(x, (2,) * x.ndim),
    "backwards": lambda x: laid(x, (-1,) * x.ndim),
    "every second, backwards": lambda x: laid(x, (-2,) * x.ndim),
    "broadcast": lambda x: np.broadcast_to(x[..., :1], x.shape),
    "read-only": read_only,
    "field of records": field,
    "big-endian field": lambda x: field(big_endian(x)),
    "memory-mapped": memory_mapped,
    "big-endian file": lambda x: memory_mapped(big_endian(x)),
    "masked nowhere": lambda x: np.ma.masked_array(x, mask=np.zeros(x.shape, bool)),
    "labelled": lambda x: x.view(type("Labelled", (np.ndarray,), {})),
}
INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES = ["bool", *INTEGERS, "float16", "float32", "float64", "longdouble"]
# What holds no real numbers, and what an error may call it.
NOT_REAL: dict[str, Callable[[Array], Array]] = {
    "complex": lambda x: x * 1j,
    "object": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "bytes": lambda x: x.astype("S32"),
    "StringDType": lambda x: x.astype(str).astype(np.dtypes.StringDType()),
    "dates": lambda x: x.astype("i8").view("M8[s]"),
    "durations": lambda x: x.astype("i8").view("m8[s]"),
    "records": lambda x: x.astype([("a", "f4")]),
}
