"""Data that needs no more checks: scikit-learn's take longer than a small network takes.

What is not plain goes through scikit-learn, and so does all that deserves a message.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer

Array = Any
_FLOATS = np.dtype(np.float32), np.dtype(np.float64)


def is_plain(estimator: Any, X: Any, n_features: int | None = None) -> bool:
    """Whether X is a NumPy array of finite floats (m, n_x) that no earlier fit has named.

    n_features : int, optional
        The n_x that it must have.
    """
    if (
        type(X) is not np.ndarray
        or X.dtype not in _FLOATS  # in this machine's byte order
        or not X.flags.aligned
        or X.ndim != 2
        or 0 in X.shape
        or (n_features is not None and X.shape[1] != n_features)
        or hasattr(estimator, "feature_names_in_")
    ):
        return False
    return bool(np.isfinite(_sum(X)))


@np.errstate(over="ignore")  # a function is entered sooner than a block
def _sum(X: Array) -> Any:
    return np.add.reduce(X, axis=None)


def binarize(y: Any, m: int) -> tuple[LabelBinarizer, Array] | None:
    """A fitted binarizer for labels (m,), and what it makes of them; None where y is not plain.

    Plain are whole numbers and booleans in which classes recur (scikit-learn warns otherwise).
    """
    if type(y) is not np.ndarray or y.dtype.kind not in "iub" or y.shape != (m,):
        return None
    classes = np.unique(y)
    if 2 * len(classes) > m:
        return None
    binarizer = LabelBinarizer()
    binarizer.classes_ = classes
    binarizer.y_type_ = "binary" if len(classes) <= 2 else "multiclass"
    binarizer.sparse_input_ = False
    number = np.searchsorted(classes, y)
    if len(classes) <= 2:
        return binarizer, number[:, None] == 1
    return binarizer, number[:, None] == np.arange(len(classes))
