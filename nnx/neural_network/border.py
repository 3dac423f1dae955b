"""Arrays at the estimators' border: any library's come in, and the kind that came in goes out.

Frames, lists and sparse matrices pass through: scikit-learn reads them, with their column names,
and NumPy goes out for them.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

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
