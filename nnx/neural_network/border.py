"""Arrays at the estimators' border: any library's come in, and the kind that came in goes out.

Frames, lists and sparse matrices pass through: scikit-learn reads them, with their column names,
and NumPy goes out for them.

`AnyArrays` and its two heirs stand before the estimators' other bases: all arrays that users pass
go through `take_in` there, and all that they get through `give_back`. NumPy's own come out of it in
this machine's byte order and aligned, since compiled code reads memory as it lies.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.metaestimators import available_if

from nnx.backends import exchange
from nnx.backends.errors import DTypeError
from nnx.backends.floating import as_by_default


def take_in(x: Any, name: str = "X", *, as_scikit_learn: bool = False) -> Any:
    """Return an array of another library as NumPy's, and NumPy's as it can be computed with.

    Arrays are those of the Array API and of PyTorch, in host memory (then nothing is copied, where
    the library allows it) or on a GPU. Everything else is returned as it is.

    Parameters
    ----------
    x : array
    name : str
        What an error calls it.
    as_scikit_learn : bool
        Whether masked entries count, as in scikit-learn, as what lies beneath the mask.

    Raises
    ------
    DTypeError
        Where `x` has masked entries, is sparse in another way than SciPy's, or holds no real
        numbers.
    """
    if type(x) is np.ndarray:
        return exchange.native(x)
    try:
        if isinstance(x, np.ma.MaskedArray):
            return exchange.native(np.asarray(x) if as_scikit_learn else exchange.plain(x))
        if isinstance(x, np.ndarray):  # scikit-learn refuses np.matrix by name
            return x if isinstance(x, np.matrix) else exchange.native(x)
        return exchange.to_numpy(x) if _is_foreign(x) else x
    except DTypeError as error:
        raise DTypeError(f"{name}: {error}") from None


def computable(x: Any) -> Any:
    """Return what scikit-learn made of a frame, a list or a sparse matrix as `take_in` would."""
    if isinstance(x, np.ndarray):
        return exchange.native(x)
    if issparse(x) and not x.dtype.isnative:
        return x.astype(x.dtype.newbyteorder("="))
    return x


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
    if isinstance(x, np.ndarray | np.generic) or x is None:
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

    @as_by_default
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to examples X (m, n_x) and targets y (m,) or (m, n_y)."""
        super().fit(*self._take_in(X=X, y=y, sample_weight=sample_weight))  # type: ignore[misc]
        return self

    @as_by_default
    def predict(self, X: Any) -> Any:
        """Return the class, the labels or the values of each example of X (m, n_x)."""
        return self._give_back(super().predict(self._take_X(X)), X)  # type: ignore[misc]

    @as_by_default
    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy, or R^2 for regression."""
        arrays = self._take_in(X=X, y=y, sample_weight=sample_weight)
        result: float = super().score(*arrays)  # type: ignore[misc]
        return result

    def _take_X(self, X: Any) -> Any:
        return take_in(X, "X", as_scikit_learn=self._as_scikit_learn)

    def _take_in(self, **arrays: Any) -> list[Any]:
        """The arrays, by the names that errors give them, as `take_in` returns them."""
        return [
            take_in(x, name, as_scikit_learn=self._as_scikit_learn) for name, x in arrays.items()
        ]

    def _give_back(self, result: np.ndarray[Any, Any], X: Any) -> Any:
        return give_back(result, X, as_scikit_learn=self._as_scikit_learn)


class ClassifierArrays(AnyArrays):
    """The methods that only a classifier has."""

    @available_if(lambda self: self._check_solver())
    @as_by_default
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Go once over the examples X (m, n_x); the first call needs all `classes`."""
        arrays = self._take_in(X=X, y=y, sample_weight=sample_weight, classes=classes)
        super().partial_fit(*arrays)  # type: ignore[misc]
        return self

    @as_by_default
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class for each example of X: (m, n_y)."""
        return self._give_back(super().predict_proba(self._take_X(X)), X)  # type: ignore[misc]

    @as_by_default
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithm of `predict_proba`."""
        found = super().predict_log_proba(self._take_X(X))  # type: ignore[misc]
        return self._give_back(found, X)


class RegressorArrays(AnyArrays):
    """The methods whose signature is a regressor's."""

    @available_if(lambda self: self._check_solver())
    @as_by_default
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Go once over the examples X (m, n_x)."""
        arrays = self._take_in(X=X, y=y, sample_weight=sample_weight)
        super().partial_fit(*arrays)  # type: ignore[misc]
        return self
