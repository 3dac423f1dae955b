"""The outputs of a network for many examples, in blocks that bound the memory; cost and score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnx.backends.stream import Field, Fill
from nnx.data import Data, Opened
from nnx.inputs import bring, check_finite, labels_of, open_X
from nnx.model import Model
from nnx.sources import Source

Array = Any
_BLOCK = 1 << 22  # elements of the widest layer, X included, in one block


def blocks(model: Model, m: int) -> Iterator[slice]:
    """Split m examples so that the widest matrix of a block stays within a few MiB."""
    width = max(1, _BLOCK // max(model.n))
    for start in range(0, m, width):
        yield slice(start, min(start + width, m))


def opened(model: Model, X: Any) -> Array | Source:
    """X (n_x, m), checked; in host memory where it is many blocks and the device has no copy."""
    A = open_X(X, model.n_x, model.backend, model.dtype)
    if isinstance(A, Source) and _at_once(model, A.shape[1], A):
        A = bring(A, model.backend)
    check_finite("X", A, model.backend)
    return A


def data_for(model: Model, X: Any, Y: Any) -> Data:
    """The same for X and Y."""
    data = Opened(model, X, Y)
    in_parts = data.on_host and data.needed and not _at_once(model, data.m, None)
    return data.streamed() if in_parts else data.on_device()


def _at_once(model: Model, m: int, A: Source | None) -> bool:
    there = A is not None and A.readable and model.backend.owns(A.array)
    return there or len(list(blocks(model, m))) == 1


def _parts(model: Model, *arrays: Any) -> Iterator[tuple[slice, tuple[Array, ...]]]:
    """Each block of the examples, and its part of each array (or of each source) on the device."""
    parts = list(blocks(model, arrays[0].shape[-1]))
    if not isinstance(arrays[0], Source):
        for part in parts:
            yield part, tuple(array[..., part] for array in arrays)
        return
    fields = [Field(None if a.ndim == 1 else a.shape[0], a.dtype.name) for a in arrays]
    stream = model.backend.stream(fields, parts[0].stop)

    def fill(part: slice) -> Fill:
        def write(buffers: Sequence[Array]) -> int:
            count = int(part.stop - part.start)
            for source, buffer in zip(arrays, buffers, strict=True):
                source.read(part, out=buffer[..., :count])
            return count

        return write

    yield from zip(parts, stream.feed(fill(part) for part in parts), strict=True)


def outputs(model: Model, X: Array | Source, *, labels: bool = False) -> Array:
    """A[L] (n_y, m), or the classes where there are any, for X from `opened`.

    On the device, or for a source in host memory.
    """
    backend = model.backend
    host, found = isinstance(X, Source), None
    for part, (x,) in _parts(model, X):
        A = model.forward(x, check=False)[0]
        classes = labels_of(A, model.loss, backend) if labels else None
        A = A if classes is None else classes
        if found is None:
            shape = (*A.shape[:-1], X.shape[1])
            if host:
                kind = np.int64 if classes is not None else np.dtype(model.dtype)
                found = np.empty(shape, kind, order="F")
            else:
                found = backend.empty(shape, "int64" if classes is not None else model.dtype)
        found[..., part] = backend.to_numpy(A) if host else A
    return found


def evaluate(model: Model, data: Data) -> tuple[float, float]:
    """The cost without penalties, and the score, for examples that were checked."""
    xp, total = model.backend.xp, 0.0
    scorer = _scorer(model, data.Y)
    for _, (x, y) in _parts(model, data.X, data.Y):
        A, caches = model.forward(x, check=False)
        total = total + xp.sum(model.losses(A, y, caches))
        scorer.add(A, y)
    return float(total) / data.m, scorer.value()


def score(model: Model, data: Data) -> float:
    """Accuracy; for values R^2."""
    scorer = _scorer(model, data.Y)
    for _, (x, y) in _parts(model, data.X, data.Y):
        scorer.add(model.forward(x, check=False)[0], y)
    return scorer.value()


def _scorer(model: Model, Y: Array | Source) -> _Accuracy | _R2:
    """What takes in A[L] and Y of one block after the other, and then gives the score."""
    return _R2(model, Y) if model.loss.target == "values" else _Accuracy(model)


class _Accuracy:
    """The share of the answers that are right."""

    def __init__(self, model: Model) -> None:
        self._model, self._right, self._count = model, 0, 0

    def add(self, A_L: Array, Y: Array) -> None:
        loss, backend = self._model.loss, self._model.backend
        right: Array = labels_of(A_L, loss, backend) == labels_of(Y, loss, backend)
        self._right = self._right + backend.xp.sum(backend.xp.astype(right, backend.xp.int64))
        self._count += math.prod(right.shape)

    def value(self) -> float:
        return int(self._right) / self._count


class _R2:
    """R^2 = 1 - sum (y - a)^2 / sum (y - mean y)^2, averaged over outputs.

    A constant output that is met exactly counts 1, one that is not 0, as in scikit-learn.
    """

    def __init__(self, model: Model, Y: Array | Source) -> None:
        self._backend, total = model.backend, 0.0
        for _, (y,) in _parts(model, Y):
            y = self._backend.asarray(y, "float64")
            total = total + self._backend.xp.sum(y, axis=1, keepdims=True)
        self._mean: Array = total / Y.shape[-1]
        self._residual: Array = 0.0
        self._spread: Array = 0.0

    def add(self, A_L: Array, Y: Array) -> None:
        xp = self._backend.xp
        A_L, Y = (self._backend.asarray(values, "float64") for values in (A_L, Y))
        self._residual = self._residual + xp.sum((Y - A_L) ** 2, axis=1)
        self._spread = self._spread + xp.sum((Y - self._mean) ** 2, axis=1)

    def value(self) -> float:
        xp, one = self._backend.xp, self._backend.xp.ones_like(self._spread)
        r2 = 1 - self._residual / xp.where(self._spread > 0, self._spread, one)
        constant = xp.where(self._residual > 0, xp.zeros_like(one), one)
        return float(xp.mean(xp.where(self._spread > 0, r2, constant)))
