"""A[L] of an estimator: what `predict` and its kin ask the network for, kept between calls."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import issparse

from nnx.backends import get_backend
from nnx.backends.reference.activations import Activation
from nnx.inference import DenseOutputs
from nnx.neural_network import settings

Array = Any

# Beside the estimators: a prediction leaves no attribute.
_kept: WeakKeyDictionary[Any, Outputs] = WeakKeyDictionary()
# Which estimators were fitted by compiled steps; Numba is there, so all predictions may use it.
_compiled: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def fitted(estimator: Any, *, compiled: bool) -> None:
    """Take in how an estimator is being fitted, which decides how it predicts."""
    if _compiled.get(estimator, False) is not compiled:
        _compiled[estimator] = compiled
        _kept.pop(estimator, None)


def outputs_of(estimator: Any, dtype: Any) -> Outputs:
    """The outputs for examples of this dtype, those of the last call where they still serve."""
    outputs = _kept.get(estimator)
    if outputs is None or not outputs.serve(estimator, dtype):
        outputs = _kept[estimator] = Outputs(estimator, dtype)
    return outputs


class Outputs:
    """A[L] for the parameters that an estimator holds now.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    dtype : numpy.dtype
        Of the examples to come.
    """

    def __init__(self, estimator: Any, dtype: Any) -> None:
        self._key, self._arrays = _key(estimator, dtype), _arrays(estimator)
        self._backend, _, self._g = self._key
        # What NumPy would compute in: whole numbers and float64 weights make float64.
        kind = np.result_type(dtype, estimator.coefs_[0].dtype)
        self._dtype = "float32" if kind.itemsize <= 4 and kind.kind == "f" else "float64"
        self._coef, self._intercept = estimator.coefs_[0], estimator.intercepts_[0]
        layers = [
            (
                self._backend.asarray(W.T, self._dtype),
                self._backend.asarray(b[:, None], self._dtype),
                g,
            )
            for W, b, g in zip(estimator.coefs_, estimator.intercepts_, self._g, strict=True)
        ]
        compiled = _compiled.get(estimator, False)
        self._outputs = DenseOutputs(self._backend, layers, self._dtype, compiled=compiled)
        # The rest of the network, for a Z[1] that was computed from sparse rows.
        rest = DenseOutputs(self._backend, layers[1:], self._dtype, compiled=compiled)
        self._after_first = rest
        # What was copied, for another dtype or device, would not follow changes in place.
        self._are_views = isinstance(layers[0][0], np.ndarray) and all(
            np.may_share_memory(mine, array)
            for mine, array in zip(_in_order(layers), self._arrays, strict=True)
        )

    def serve(self, estimator: Any, dtype: Any) -> bool:
        """Whether they are still those of the estimator, for examples of this dtype."""
        arrays = _arrays(estimator)
        return (
            self._are_views
            and len(arrays) == len(self._arrays)
            and all(mine is other for mine, other in zip(self._arrays, arrays, strict=True))
            and self._key == _key(estimator, dtype)
        )

    def __call__(self, X: Any) -> Array:
        """A[L].T (m, n_y) on the host for rows X (m, n_x): an array or a sparse matrix."""
        if not issparse(X):
            return self._backend.to_numpy(self._outputs(X)).T
        # What is sparse lies on the host, and its product is the smaller part to bring over.
        Z = (X @ self._coef + self._intercept).astype(self._dtype, copy=False)
        g = self._g[0]
        A = self._backend.to_numpy(g.forward(self._backend.xp, self._backend.asarray(Z.T))).T
        if len(self._g) == 1:
            return A
        return self._backend.to_numpy(self._after_first(A)).T


def _in_order(layers: list[tuple[Array, Array, Activation]]) -> list[Array]:
    """The layers' arrays in the order of `_arrays`."""
    return [W for W, _, _ in layers] + [b for _, b, _ in layers]


def _arrays(estimator: Any) -> list[Array]:
    return [*estimator.coefs_, *estimator.intercepts_]


def _key(estimator: Any, dtype: Any) -> tuple[Any, ...]:
    """What the outputs depend on beside the parameters and X."""
    g = settings.hidden_activations(estimator.activation, estimator.n_layers_ - 2)
    output = settings.nnx_activation(estimator.out_activation_)
    return get_backend(estimator.device), np.dtype(dtype), [*g, output]
