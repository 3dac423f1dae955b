"""In which numbers a network computes its training steps; parameters stay in its dtype."""

from __future__ import annotations

from typing import NamedTuple

from nnx.backends import Backend
from nnx.backends.errors import DataError, unknown_name

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
SIXTEEN_BITS = ("bfloat16", "float16")


class Numbers(NamedTuple):
    """How a step computes.

    Attributes
    ----------
    storage : str
        Of activations, their gradients, and the weights that products read.
    compute : str
        "float32", "tf32" or "float64": how products add up.
    """

    storage: str
    compute: str


def check_precision(precision: str | None, dtype: str) -> str | None:
    """Return `precision` where it is one that a network of this dtype can have.

    Raises
    ------
    UnknownNameError, DataError
    """
    if precision is None:
        return None
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if dtype != "float32":
        raise DataError(
            f"precision={precision!r} is for networks of dtype float32; leave it out for {dtype}"
        )
    return precision


def check_device(precision: str | None, backend: Backend) -> None:
    """Refuse 16-bit training on a device that has none.

    Raises
    ------
    DataError
    """
    if precision in SIXTEEN_BITS and not backend.trains_16_bit:
        raise DataError(
            f"precision={precision!r} needs an NVIDIA GPU, and this network is on "
            f"{backend.device!r}: leave precision out, or use 'tf32', which computes in float32 "
            "where there is none (net.copy(precision=None) for a network that has it)"
        )


def numbers(precision: str | None, dtype: str) -> Numbers:
    """Return what a precision means for matrices and products."""
    if precision in SIXTEEN_BITS:
        return Numbers(str(precision), "float32")
    return Numbers(dtype, precision or dtype)
