"""The data sets that scikit-learn carries with it, so that nothing is downloaded."""

from typing import Any

import numpy as np

from nnx.datasets._dataset import Dataset
from nnx.errors import MissingDependencyError


def digits() -> Dataset:
    """Return 1797 handwritten digits of 8 x 8 pixels.

    Returns
    -------
    Dataset
        X (64, 1797), pixels from 0 (white) to 1 (black), row by row; Y (1797,) in 0 … 9.
    """
    table = _load("digits")
    return _dataset("digits", table.data / 16, table.target.astype(np.int64), table)


def breast_cancer() -> Dataset:
    """Return 569 tumours described by 30 measurements of their cell nuclei.

    Returns
    -------
    Dataset
        X (30, 569) in the table's own units (see `standardize`); Y (569,): 0 malignant, 1 benign.
    """
    table = _load("breast_cancer")
    return _dataset("breast_cancer", table.data, table.target.astype(np.int64), table)


def diabetes() -> Dataset:
    """Return 442 patients and how far their diabetes had progressed a year later.

    Returns
    -------
    Dataset
        X (10, 442), each input centred and scaled to length 1 over all patients; Y (1, 442), the
        measure of progression, 25 … 346.
    """
    table = _load("diabetes")
    return _dataset("diabetes", table.data, table.target[None, :].astype(np.float32), table)


def _load(name: str) -> Any:
    try:
        from sklearn import datasets
    except ImportError:
        raise MissingDependencyError("scikit-learn", "sklearn", f"nnx.datasets.{name}()") from None
    return getattr(datasets, f"load_{name}")()


def _dataset(name: str, rows: Any, Y: Any, table: Any) -> Dataset:
    targets = [str(target) for target in table.get("target_names", ["progression"])]
    features = [str(feature) for feature in table.feature_names]
    # A copy with contiguous rows: its transpose has contiguous examples, and can be written to.
    X = rows.astype(np.float32, order="C").T
    return Dataset(X, np.asfortranarray(Y), name, tuple(features), tuple(targets))
