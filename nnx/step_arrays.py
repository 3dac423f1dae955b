"""What a training step is called with on the CPU: compiled code reads memory as it was told to.

So arrays of other numbers are refused, and those that lie otherwise (in strides, at odd addresses)
are copied; plain arrays are passed on as they are.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx.backends import exchange
from nnx.backends.errors import DTypeError, ShapeError

Array = Any
_INT64, _FLOAT64 = np.dtype(np.int64), np.dtype(np.float64)


def plain(X: Array, Y: Array, weights: Array | None) -> tuple[Array, Array, Array | None]:
    """The arrays of a step, where need be without NumPy's subclasses whose arithmetic is another.

    Raises
    ------
    DTypeError
        Names the array that has masked entries.
    """
    if type(X) is type(Y) is np.ndarray and weights is None:
        return X, Y, weights
    return plain_array("X", X), plain_array("Y", Y), plain_array("weights", weights)


def plain_array(name: str, x: Array) -> Array:
    """The same for one array."""
    if type(x) is np.ndarray or not isinstance(x, np.matrix | np.ma.MaskedArray):
        return x
    try:
        return exchange.plain(x)
    except DTypeError as error:
        raise DTypeError(f"{name}: {error}") from None


def check(X: Array, Y: Array, weights: Array | None, n_y: int, dtype: Any) -> None:
    """Raise where arrays are not for the same m' examples, or not of the step's dtype.

    Byte orders count: "float32" in another one is another dtype.

    Raises
    ------
    ShapeError, DTypeError
    """
    m = X.shape[1]
    if Y.shape not in ((m,), (n_y, m)):
        raise ShapeError(f"Y must be for the {m} examples of X; got {tuple(Y.shape)}")
    if X.dtype != dtype or Y.dtype != (_INT64 if Y.ndim == 1 else dtype):
        raise DTypeError(
            f"this step is for {dtype} (labels: int64); got X {X.dtype} and Y {Y.dtype}"
        )
    if weights is not None and (weights.dtype != dtype or not weights.flags.c_contiguous):
        raise DTypeError(f"example weights must be contiguous {dtype}, got {weights.dtype}")


def check_lengths(needed: int, X: Array, weights: Array | None, order: Array | None) -> None:
    """Raise ShapeError where there is less than the steps read, one batch after the other."""
    if order is None and X.shape[1] < needed:
        raise ShapeError(f"X must have the {needed} examples of all steps; got {tuple(X.shape)}")
    for name, x in (("weights", weights), ("order", order)):
        if x is not None and (x.ndim != 1 or x.shape[0] < needed):
            raise ShapeError(
                f"{name} must have a number for each of {needed} examples; got {tuple(x.shape)}"
            )


def in_columns(x: Array) -> Array:
    """The array with each example contiguous, where its numbers can be read."""
    flags = x.flags
    return x if flags.f_contiguous and flags.aligned else np.array(x, order="F")


def in_row(x: Array | None) -> Array | None:
    """The same for one number per example."""
    return x if x is None or x.flags.aligned else x.copy()


def positions(order: Array) -> Array:
    """Positions of examples as int64, contiguous."""
    if order.dtype.kind not in "iu":
        raise DTypeError(f"order must hold whole numbers, such as int64; got {order.dtype}")
    return _contiguous(plain_array("order", order), _INT64)


def numbers(values: Array) -> Array:
    """Numbers of the steps, such as learning rates, as float64, contiguous."""
    return _contiguous(np.asarray(values), _FLOAT64)


def _contiguous(x: Array, dtype: np.dtype[Any]) -> Array:
    good = x.dtype == dtype and x.flags.c_contiguous and x.flags.aligned
    return x if good else np.array(x, dtype, order="C")
