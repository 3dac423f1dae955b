"""What goes into a network: X, Y and weights are checked here, before any work is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np

from nnx.backends import Backend, exchange, get_backend
from nnx.backends.errors import DataError, DTypeError, ShapeError
from nnx.backends.reference.losses import Loss
from nnx.sources import Source, chunks

Array = Any


def _named(name: str, convert: Callable[..., Array], *arguments: Any) -> Array:
    """Convert an array; an error about what it holds names it."""
    try:
        return convert(*arguments)
    except DTypeError as error:
        raise DTypeError(f"{name}: {error}") from None


def bring_in(name: str, x: Any, backend: Backend, dtype: str | None = None) -> Array:
    """Return `x` as an array of the backend, by default of its own dtype.

    Raises
    ------
    DTypeError
        Names `x` where it holds no real numbers.
    """
    return _named(name, lambda: backend.asarray(exchange.exportable(x), dtype))


def check_X(X: Any, n_x: int, backend: Backend, dtype: str, *, finite: bool = True) -> Array:
    """Return X as an array (n_x, m) of the backend.

    Raises
    ------
    ShapeError, DTypeError, DataError
        Where X has another shape, holds no real numbers, is empty, or holds NaN or infinity.
    """
    A = bring(open_X(X, n_x, backend, dtype), backend)
    if finite:
        check_finite("X", A, backend)
    return A


def open_X(X: Any, n_x: int, backend: Backend, dtype: str) -> Array | Source:
    """Return X (n_x, m) where it lies: a `Source` in host memory, else an array of the backend.

    Its shape is checked; `check_finite` looks at its values.
    """
    A: Any
    if (backend.owns(X) and not isinstance(X, np.ndarray)) or exchange.on_cuda(X):
        A = bring_in("X", X, backend, dtype)
    else:
        A = Source(_named("X", exchange.host_array, X), dtype)
    if A.ndim != 2 or A.shape[0] != n_x:
        hint = ""
        if A.ndim == 2 and A.shape[1] == n_x:
            hint = "; one example is one column, so pass X.T"
        elif A.ndim == 1 and A.shape[0] == n_x:
            hint = "; one example is one column, so pass X[:, None]"
        raise ShapeError(f"X = A[0] must be of shape ({n_x}, m); got {tuple(A.shape)}{hint}")
    if A.shape[1] == 0:
        raise DataError(f"X is empty: its shape is ({n_x}, 0), and m must be 1 or more")
    return A


def bring(A: Array | Source, backend: Backend, *, contiguous: bool = False) -> Array:
    """Return an array of the backend; a source is copied in parts where it is no such array.

    contiguous : bool
        Whether each example must be, one after the other.
    """
    if not isinstance(A, Source):
        return A
    if backend.owns(A.array) and (A.ready if contiguous else A.readable):
        return A.read(slice(None))
    parts = list(A.chunks())
    if len(parts) == 1:
        out = np.empty(A.shape[::-1], A.dtype).T if contiguous else None
        return backend.asarray(A.read(parts[0], out))
    copied = backend.empty(A.shape, A.dtype.name)
    for part in parts:
        copied[..., part] = backend.asarray(A.read(part))
    return copied


def check_finite(name: str, A: Array | Source, backend: Backend) -> None:
    """Raise DataError where A (n, m) or (m,) holds NaN or infinity; read in parts."""
    xp = backend.xp
    if isinstance(A, Source):
        if A.array.dtype.kind not in "iub":  # integers are finite, and so are they as float32
            for part in A.chunks():
                _check_part(name, A.read(part), part.start, np)
        return
    parts = list(chunks(A.shape, 8))
    good = xp.all(xp.isfinite(A[..., parts[0]]))
    for part in parts[1:]:
        good = good & xp.all(xp.isfinite(A[..., part]))
    if not bool(good):  # the device is waited for once
        for part in parts:
            _check_part(name, A[..., part], part.start, xp)


def _check_part(name: str, A: Array, first: int, xp: Any) -> None:
    if bool(xp.all(xp.isfinite(A))):
        return
    found = "NaN" if bool(xp.any(xp.isnan(A))) else "infinity"
    if A.ndim == 2:
        bad = int(xp.argmax(xp.astype(xp.any(~xp.isfinite(A), axis=0), xp.int64)))
        raise DataError(f"{name} contains {found}, first in example (column) {first + bad}")
    raise DataError(f"{name} contains {found}")


def check_Y(Y: Any, loss: Loss, n_y: int, m: int, backend: Backend, dtype: str) -> Array:
    """Return the targets of m examples in the form that the loss reads.

    For "classes": labels (m,), int64, or columns of class probabilities (n_y, m). For "binary" and
    "values": (n_y, m). With n_y = 1, (m,) stands for (1, m), and the reverse for labels.

    Raises
    ------
    ShapeError, DTypeError, DataError
        Where Y has another shape, a label is out of range, or a value is NaN, infinite or
        outside what the loss allows.
    """
    A = _formed(bring_in("Y", Y, backend), loss, n_y, m)
    if A.ndim == 1:
        return _labels(A, n_y, backend)
    A = backend.asarray(A, dtype)
    check_finite("Y", A, backend)
    if loss.target != "values":
        _check_probabilities(A, loss, backend)
    return A


def open_Y(Y: Any, loss: Loss, n_y: int, m: int, dtype: str) -> Source:
    """The same for targets that stay in host memory; they are read, but not converted, as a whole.

    Labels alone are: 8 bytes for each example.
    """
    A = _formed(_named("Y", exchange.host_array, Y), loss, n_y, m)
    host = get_backend("cpu")
    if A.ndim == 1:
        return Source(_labels(exchange.native(A), n_y, host), "int64")
    source = Source(A, dtype)
    check_finite("Y", source, host)
    if loss.target != "values":
        for part in source.chunks():
            _check_probabilities(source.read(part), loss, host)
    return source


def _formed(A: Array, loss: Loss, n_y: int, m: int) -> Array:
    """Labels (m,), or (n_y, m)."""
    if loss.target == "classes":
        if A.ndim == 2 and A.shape[0] == 1 and n_y > 1:
            A = A[0, :]
        if tuple(A.shape) == (m,):
            return A
        wanted = f"({m},) with labels from 0 to {n_y - 1}, or ({n_y}, {m}) with one-hot columns"
    else:
        if A.ndim == 1 and n_y == 1:
            A = A[None, :]
        wanted = f"({n_y}, {m})" + (f" or ({m},)" if n_y == 1 else "")
    if tuple(A.shape) != (n_y, m):
        hint = "; one example is one column, so pass Y.T" if A.shape == (m, n_y) else ""
        raise ShapeError(f"Y must be of shape {wanted}; got {tuple(A.shape)}{hint}")
    return A


def _labels(A: Array, n_y: int, backend: Backend) -> Array:
    xp = backend.xp
    if xp.isdtype(A.dtype, "real floating"):
        check_finite("Y", A, backend)
        if not bool(xp.all(xp.floor(A) == A)):
            raise DataError("labels in Y must be whole numbers")
    whole = xp.astype(A, xp.int64)
    low, high = int(xp.min(whole)), int(xp.max(whole))
    if low < 0 or high >= n_y:
        wrong = low if low < 0 else high
        raise DataError(
            f"label {wrong} in Y is out of range: the output layer has n_y = {n_y} units, so "
            f"labels go from 0 to {n_y - 1}"
        )
    return whole


def _check_probabilities(A: Array, loss: Loss, backend: Backend) -> None:
    xp = backend.xp
    low, high = float(xp.min(A)), float(xp.max(A))
    if low < 0 or high > 1:
        wrong = low if low < 0 else high
        raise DataError(f"{loss.name} needs targets in [0, 1]; Y contains {wrong:g}")
    if loss.target == "classes":
        off = float(xp.max(xp.abs(xp.sum(A, axis=0) - 1)))
        if off > 1e-3:
            raise DataError(
                f"each column of Y must sum to one (one-hot or class probabilities); "
                f"the worst is off by {off:.3g}"
            )


def check_weights(
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
    Y: Array,
    loss: Loss,
    m: int,
    backend: Backend,
    dtype: str,
) -> Array | None:
    """Return the weight of each example, (m,): sample weight times the weight of its class.

    Raises
    ------
    ShapeError, DataError
        Where a weight is negative or not finite, all are zero, or a class is missing.
    """
    if sample_weight is None and class_weight is None:
        return None
    xp = backend.xp
    weights = None
    if sample_weight is not None:
        weights = bring_in("sample_weight", sample_weight, backend, dtype)
        if tuple(weights.shape) != (m,):
            raise ShapeError(f"sample_weight must be of shape ({m},); got {tuple(weights.shape)}")
        check_finite("sample_weight", weights, backend)
    if class_weight is not None:
        by_example = _class_weights(class_weight, Y, loss, backend, dtype)
        weights = by_example if weights is None else weights * by_example
    if float(xp.min(weights)) < 0 or float(xp.max(weights)) == 0:
        raise DataError("example weights must not be negative, and not all zero")
    return weights


def _class_weights(
    class_weight: Mapping[int, float], Y: Array, loss: Loss, backend: Backend, dtype: str
) -> Array:
    labels = labels_of(Y, loss, backend)
    if labels is None or labels.ndim != 1:
        raise DataError(f"class_weight needs one class per example; {loss.name} has none")
    host = backend.to_numpy(labels)
    present = np.unique(host)
    missing = [int(label) for label in present if label not in class_weight]
    if missing:
        raise DataError(f"class_weight has no weight for class {missing[0]}, which Y contains")
    table = np.zeros(int(present[-1]) + 1)
    for label in present:
        table[label] = class_weight[int(label)]
    return backend.asarray(table[host], dtype)


def labels_of(Y: Array, loss: Loss, backend: Backend) -> Array | None:
    """Return the class of each example from targets or outputs (n_y, m): int64.

    (m,) for classes and for one yes/no answer, (n_y, m) for several; None for real values.
    """
    xp = backend.xp
    if loss.target == "values":
        return None
    if Y.ndim == 1:
        return Y
    if loss.target == "classes":
        return xp.argmax(Y, axis=0)
    answers = xp.astype(Y > 0.5, xp.int64)
    return answers[0, :] if Y.shape[0] == 1 else answers


def check_number(
    name: str, value: Any, low: float, *, whole: bool = False, strict: bool = False
) -> None:
    """Raise DataError unless `value` is a finite number of at least (strict: above) `low`."""
    kind = Integral if whole else Real
    good = not isinstance(value, bool) and isinstance(value, kind)
    if good and (value > low if strict else value >= low) and value < float("inf"):
        return
    raise DataError(
        f"{name} must be {'a whole number' if whole else 'a finite number'} "
        f"{'above' if strict else 'of at least'} {low:g}, got {value!r}"
    )
