"""What every data set function returns: the examples, their labels, and how to split them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnx.errors import DataError, ShapeError
from nnx.inputs import check_number


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples and what is known about them.

    Attributes
    ----------
    X : float32 array (n_x, m)
        One column per example, each example contiguous (Fortran order).
    Y : int64 array (m,) or float32 array (n_y, m)
        Class labels 0 … n_classes - 1, or the values of a regression.
    name : str
    feature_names : tuple of str
        One name for each of the n_x inputs.
    target_names : tuple of str
        One name for each class, or for each of the n_y values.

    Examples
    --------
    >>> from nnx import datasets
    >>> data = datasets.flower()
    >>> data
    Dataset('flower', X (2, 400), Y (400,))
    >>> train, test = data.split(test=0.25, seed=0)
    >>> train.m, test.m
    (300, 100)
    """

    X: NDArray[np.float32]
    Y: NDArray[Any]
    name: str
    feature_names: tuple[str, ...]
    target_names: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, X {self.X.shape}, Y {self.Y.shape})"

    @property
    def m(self) -> int:
        """The number of examples."""
        return int(self.X.shape[1])

    @property
    def n_x(self) -> int:
        """The number of inputs."""
        return int(self.X.shape[0])

    def split(self, test: float = 0.25, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Shuffle the examples and split them in two.

        Integer labels are split class by class, so both parts, and any beginning of either, have
        nearly the same mix of classes.

        Parameters
        ----------
        test : float
            The fraction of the examples in the second part, between 0 and 1.
        seed : int

        Returns
        -------
        train, test : Dataset
            Neither is empty.
        """
        if not (isinstance(test, Real) and 0 < test < 1):
            raise DataError(
                f"split: test must be a fraction of the examples, above 0 and below 1, got {test!r}"
            )
        check_number("split: seed", seed, 0, whole=True)
        if self.m < 2:
            raise DataError(f"split: {self.name} must have 2 examples or more, got m = {self.m}")
        m_test = min(max(round(test * self.m), 1), self.m - 1)
        order = np.random.default_rng(seed).permutation(self.m)
        if np.issubdtype(self.Y.dtype, np.integer):
            order = order[_spread_classes(self.Y[order])]
        return self._take(order[m_test:]), self._take(order[:m_test])

    def _take(self, examples: NDArray[np.intp]) -> Dataset:
        X, Y = (np.asfortranarray(array[..., examples]) for array in (self.X, self.Y))
        return replace(self, X=X, Y=Y)


def standardize(train: Dataset, *others: Dataset) -> tuple[Dataset, ...]:
    """Give every input mean 0 and standard deviation 1 over ``train``.

    The ``others`` are moved and scaled by the same amounts, so nothing of a test set leaks into
    the training set. An input that is constant over ``train`` is only moved.

    Returns
    -------
    tuple of Dataset
        ``train`` and each of the ``others``, with new X.
    """
    for data in others:
        if data.n_x != train.n_x:
            raise ShapeError(
                f"standardize: every data set must have the n_x = {train.n_x} inputs of "
                f"{train.name}, got {data.name} with n_x = {data.n_x}"
            )
    mean = train.X.mean(axis=1, keepdims=True, dtype=np.float64)
    deviation = train.X.std(axis=1, keepdims=True, dtype=np.float64)
    # The mean of equal numbers can miss them by a rounding, which must not be blown up to 1.
    constant = train.X.min(axis=1, keepdims=True) == train.X.max(axis=1, keepdims=True)
    deviation[constant] = 1.0
    return tuple(
        replace(data, X=((data.X - mean) / deviation).astype(np.float32, order="F"))
        for data in (train, *others)
    )


def _spread_classes(labels: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Order the examples so that every beginning of the order has nearly the whole's class mix.

    The k-th of a class's n examples goes to position (k + 1/2) / n of the way.
    """
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_class = np.argsort(inverse, kind="stable")
    starts = np.cumsum(counts) - counts
    k = np.empty(labels.size)
    k[by_class] = np.arange(labels.size) - np.repeat(starts, counts)
    return np.argsort((k + 0.5) / counts[inverse], kind="stable")
