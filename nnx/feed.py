"""The examples of an epoch in its order, piece by piece, as the training steps take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnx.backends.stream import Field, Fill
from nnx.batching import Batching, Piece
from nnx.data import Data
from nnx.memory import bytes_of_example
from nnx.model import Model
from nnx.sources import Source

Array = Any

_SHUFFLE = 2  # the stream of random numbers that shuffles


class Examples(NamedTuple):
    """A piece of an epoch on the device.

    Attributes
    ----------
    piece : Piece
    X, Y : array
        Its examples in order; or all examples, where `order` says which are meant.
    weights : array, optional
        Of its examples, in order, of mean one in each batch.
    order : int64 array, optional
    """

    piece: Piece
    X: Array
    Y: Array
    weights: Array | None
    order: Array | None


class Feed:
    """Hands out the examples of one epoch after the other.

    Parameters
    ----------
    model : Network
    data : Data
        Streamed data is gathered on the host, the next slab while the device works on the last;
        what lies on the device is gathered there.
    batching : Batching
    shuffle : bool
        Whether each epoch has an order of its own.
    """

    def __init__(self, model: Model, data: Data, batching: Batching, shuffle: bool) -> None:
        self._model, self._data, self._batching = model, data, batching
        self._shuffle = shuffle and batching.size < batching.m
        row = bytes_of_example(model, data.labels)
        self._pieces = list(batching.pieces(row))
        self._stream = None
        if isinstance(data.X, Source) and isinstance(data.Y, Source):
            fields = [
                Field(None if array.ndim == 1 else array.shape[0], array.dtype.name)
                for array in (data.X, data.Y)
            ]
            self._stream = model.backend.stream(fields, batching.longest(row))

    def epoch(self, number: int) -> Iterator[Examples]:
        """The pieces of this epoch."""
        backend, weights = self._model.backend, self._data.weights
        on_host: Array | None = None
        order: Array | None = None
        if self._shuffle:
            rng = np.random.default_rng([self._model.seed, _SHUFFLE, number])
            on_host = rng.permutation(self._batching.m)
            if self._stream is None or weights is not None:
                order = backend.asarray(on_host)
        if weights is not None:
            weights = weights if order is None else backend.gather(weights, order)
            weights = self._mean_one(weights)
        if self._stream is None:
            yield from self._resident(order, weights)
            return
        slabs = self._stream.feed(self._fill(piece, on_host) for piece in self._pieces)
        for piece, (X, Y) in zip(self._pieces, slabs, strict=True):
            part = slice(piece.start, piece.stop)
            yield Examples(piece, X, Y, None if weights is None else weights[part], None)

    def _resident(self, order: Array | None, weights: Array | None) -> Iterator[Examples]:
        X: Array = self._data.X
        Y: Array = self._data.Y
        gather = self._model.backend.gather
        for piece in self._pieces:
            part = slice(piece.start, piece.stop)
            w = None if weights is None else weights[part]
            if order is None:
                yield Examples(piece, X[:, part], Y[..., part], w, None)
            elif self._batching.blocked:
                index = order[part]
                yield Examples(piece, gather(X, index), gather(Y, index), w, None)
            else:
                yield Examples(piece, X, Y, w, order[part])

    def _fill(self, piece: Piece, order: Array | None) -> Fill:
        part = slice(piece.start, piece.stop)
        index = part if order is None else order[part]

        def write(buffers: Sequence[Array]) -> int:
            count = piece.stop - piece.start
            for source, buffer in zip((self._data.X, self._data.Y), buffers, strict=True):
                source.read(index, out=buffer[..., :count])
            return count

        return write

    def _mean_one(self, weights: Array) -> Array:
        """Scale the weights so that their mean is one in each batch; zeros stay zeros."""
        xp, size, parts = self._model.backend.xp, self._batching.size, []
        for start in range(0, weights.shape[0], size):
            part = weights[start : min(start + size, weights.shape[0])]
            mean = xp.mean(part)
            parts.append(part / xp.where(mean > 0, mean, xp.ones_like(mean)))
        return xp.concat(parts)
