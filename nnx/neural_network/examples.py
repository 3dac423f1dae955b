"""The training examples of an estimator on its network's device, and epochs over them.

Dense rows go there once. Sparse rows that would need much memory stay as they are on the host, and
become dense a few batches at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import issparse

from nnx.descent import take_epoch
from nnx.network import Network
from nnx.neural_network.device_cache import CACHE
from nnx.step import TrainingStep

Array = Any
_DENSE_BYTES = 1 << 28  # sparse X up to this size is made dense as a whole
_PIECE_BYTES = 1 << 26  # and else in pieces of this size


class Examples:
    """Rows X (m, n_x), targets y (m, n_y) and weights (m,), as scikit-learn has checked them.

    Parameters
    ----------
    net : Network
    X : ndarray or CSR or CSC matrix
    y : ndarray
        Yes or no for each class, or values.
    weights : ndarray, optional
    """

    def __init__(self, net: Network, X: Any, y: Array, weights: Array | None) -> None:
        self._net, self.m = net, int(X.shape[0])
        self._weights: Any = weights
        size = np.dtype(net.dtype).itemsize * self.m * int(X.shape[1])
        self._sparse: Any = None
        if issparse(X):
            if size <= _DENSE_BYTES:
                X = X.toarray()
            else:
                self._sparse = X.tocsr()
        if self._sparse is None:
            self._X = self._kept_columns(X)
        if net.loss.target == "classes":
            self._Y = CACHE.columns(net.backend, np.argmax(y, axis=1))
        else:
            self._Y = self._kept_columns(y)

    def _kept_columns(self, rows: Array) -> Array:
        """As `_columns`, for data that another fit may bring again."""
        rows = np.ascontiguousarray(rows, dtype=self._net.dtype)
        return CACHE.columns(self._net.backend, rows)

    def _columns(self, rows: Array) -> Array:
        """Rows (m, n) as columns (n, m) of the network's device and dtype."""
        rows = np.ascontiguousarray(rows, dtype=self._net.dtype)
        return self._net.backend.asarray(rows.T)

    def epoch(
        self, steps: Sequence[TrainingStep], count: int, rate: float, order: Array | None
    ) -> float:
        """Take a step for each of `count` batches; return the mean cost over the examples.

        order : int64 array (m,), optional
            Positions of the examples, batch after batch.
        """
        rates = np.full(count, rate)
        weights = penalty_m = None
        if self._weights is not None:
            weights, penalty_m = self._batch_weights(steps[0].m, order)
        backend = self._net.backend
        if self._sparse is not None:
            total = self._sparse_epoch(steps, rates, order, weights, penalty_m)
        else:
            order = None if order is None else backend.asarray(order)
            weights = None if weights is None else backend.asarray(weights)
            total = take_epoch(steps, self._X, self._Y, weights, rates, order, penalty_m)
        return float(total) / self.m  # waits for the device

    def _batch_weights(self, size: int, order: Array | None) -> tuple[Array, Array]:
        """The weights in the order of the batches, of mean one in each, and each batch's sum."""
        weights = self._weights if order is None else self._weights[order]
        starts = np.arange(0, self.m, size)
        sums = np.add.reduceat(weights, starts, dtype=np.float64)
        if not sums.all():
            # As numpy.average, which scikit-learn calls.
            raise ZeroDivisionError("Weights sum to zero, can't be normalized")
        counts = np.diff([*starts, self.m])
        scaled = weights * np.repeat(counts / sums, counts)
        return scaled.astype(self._net.dtype), sums

    def _sparse_epoch(
        self,
        steps: Sequence[TrainingStep],
        rates: Array,
        order: Array | None,
        weights: Array | None,
        penalty_m: Array | None,
    ) -> Array:
        size, backend, total = steps[0].m, self._net.backend, 0.0
        order = np.arange(self.m) if order is None else order
        for rows in self._pieces(size):
            part = order[rows]
            X = self._columns(self._sparse[part].toarray())
            Y = backend.gather(self._Y, backend.asarray(part))
            batches = slice(rows.start // size, -(-rows.stop // size))
            whole, rest = divmod(len(part), size)
            needed = [*steps[: 1 if whole else 0], *(steps[-1:] if rest else ())]
            total = total + take_epoch(
                needed,
                X,
                Y,
                None if weights is None else backend.asarray(weights[rows]),
                rates[batches],
                penalty_m=None if penalty_m is None else penalty_m[batches],
            )
        return total

    def whole(self) -> Iterator[tuple[Array, Array, Array | None]]:
        """X, Y and weights (of mean one over all) on the device, in one piece or in several."""
        backend, weights = self._net.backend, None
        if self._weights is not None:
            weights = backend.asarray(self._batch_weights(self.m, None)[0])
        if self._sparse is None:
            yield self._X, self._Y, weights
            return
        for rows in self._pieces(1):
            X = self._columns(self._sparse[rows].toarray())
            yield X, self._Y[..., rows], None if weights is None else weights[rows]

    @property
    def whole_sizes(self) -> list[int]:
        """The numbers of examples in the pieces of `whole`."""
        if self._sparse is None:
            return [self.m]
        return sorted({rows.stop - rows.start for rows in self._pieces(1)})

    @property
    def weight(self) -> float:
        """The sum of the weights; m without weights."""
        return float(self.m if self._weights is None else self._weights.sum(dtype=np.float64))

    def _pieces(self, size: int) -> Iterator[slice]:
        """Parts of the epoch of whole batches, of which the dense rows are not too large."""
        row_bytes = np.dtype(self._net.dtype).itemsize * self._net.n_x
        rows = max(1, _PIECE_BYTES // (row_bytes * size)) * size
        for start in range(0, self.m, rows):
            yield slice(start, min(start + rows, self.m))
