"""Arrays at the estimators' border: any library's come in, and the kind that came in goes out.

Frames, lists and sparse matrices pass through: scikit-learn reads them, with their column names,
and NumPy goes out for them.

`AnyArrays` and its two heirs stand before the estimators' other bases: all arrays that users pass
go through `take_in` there, and all that they get through `give_back`.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.metaestimators import available_if

from nnx.backends import exchange


def take_in(x: Any) -> Any:
    """Return an array of another library as NumPy's; everything else as it is.

    Arrays are those of the Array API and of PyTorch, in host memory (then nothing is copied, where
    the library allows it) or on a GPU.
    """
    return exchange.to_numpy(x) if _is_foreign(x) else x


def give_back(result: np.ndarray[Any, Any], x: Any, *, as_scikit_learn: bool = False) -> Any:
    """Return `result` as the kind of array that `x` is, on its device.

    Labels that are no numbers stay NumPy's: other libraries have none.

    Parameters
    ----------
    result : ndarray
    x : array
        What the caller passed in.
    as_scikit_learn : bool
        Whether an array in host memory gives NumPy unless scikit-learn's `array_api_dispatch` is
        set, as it would there.
    """
    if not _is_foreign(x) or result.dtype.kind not in "fiub":
        return result
    if as_scikit_learn and not _dispatches() and not _on_device(x):
        return result
    return exchange.like(result, x)


def _is_foreign(x: Any) -> bool:
    """Whether `x` is an array, and not NumPy's."""
    if isinstance(x, np.ndarray) or x is None:
        return False
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return True
    return exchange.namespace_of(x) is not None


def _on_device(x: Any) -> bool:
    return exchange.on_cuda(x)


def _dispatches() -> bool:
    from sklearn import get_config

    return bool(get_config()["array_api_dispatch"])


class AnyArrays:
    """Estimators whose methods take the arrays of any library, and give the kind they took."""

    # Where scikit-learn's classes are replaced, what comes out is what comes out there.
    _as_scikit_learn: ClassVar[bool] = False

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to examples X (m, n_x) and targets y (m,) or (m, n_y)."""
        super().fit(take_in(X), take_in(y), take_in(sample_weight))  # type: ignore[misc]
        return self

    def predict(self, X: Any) -> Any:
        """Return the class, the labels or the values of each example of X (m, n_x)."""
        return self._give_back(super().predict(take_in(X)), X)  # type: ignore[misc]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, or R^2 for regression."""
        result: float = super().score(take_in(X), take_in(y), take_in(sample_weight))  # type: ignore[misc]
        return result

    def _give_back(self, result: np.ndarray[Any, Any], X: Any) -> Any:
        return give_back(result, X, as_scikit_learn=self._as_scikit_learn)


class ClassifierArrays(AnyArrays):
    """The methods that only a classifier has."""

    @available_if(lambda self: self._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Go once over the examples X (m, n_x); the first call needs all `classes`."""
        arrays = map(take_in, (X, y, sample_weight, classes))
        super().partial_fit(*arrays)  # type: ignore[misc]
        return self

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class for each example of X: (m, n_y)."""
        return self._give_back(super().predict_proba(take_in(X)), X)  # type: ignore[misc]

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of `predict_proba`."""
        return self._give_back(super().predict_log_proba(take_in(X)), X)  # type: ignore[misc]


class RegressorArrays(AnyArrays):
    """The methods whose signature is a regressor's."""

    @available_if(lambda self: self._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once over the examples X (m, n_x)."""
        super().partial_fit(take_in(X), take_in(y), take_in(sample_weight))  # type: ignore[misc]
        return self
