"""What the parameters of an estimator mean to nnx, checked before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from operator import index
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight

from nnx.backends.errors import DataError, DTypeError
from nnx.backends.reference.activations import ACTIVATIONS, Activation, get_activation
from nnx.backends.reference.losses import Loss
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)

Array = Any

# scikit-learn's names for what nnx calls otherwise.
_NAMES = {"logistic": "sigmoid", "exp": "exponential"}
# Softmax mixes the units of a layer, and belongs to the output.
_HIDDEN = {"logistic", *ACTIVATIONS} - {"softmax"}
_LOSSES: dict[tuple[str, str], Loss] = {
    ("log_loss", "softmax"): ClippedCategoricalCrossEntropy(),
    ("log_loss", "logistic"): ClippedBinaryCrossEntropy(),
    ("squared_error", "identity"): HalfSquaredError(),
    ("poisson", "exp"): PoissonDeviance(),
}

# What the parameters beyond scikit-learn's may be, and those of its own that may be more here.
CONSTRAINTS: dict[str, list[Any]] = {
    "activation": [StrOptions(_HIDDEN), Activation, list, tuple],
    "verbose": ["verbose", StrOptions({"progress"})],
    "device": [str],
    "precision": [str, None],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "callbacks": [list, tuple, None],
    "validation": [list, tuple, None],
}


def sizes_of(hidden_layer_sizes: Any) -> list[int]:
    """The units of the hidden layers as a list, checked as scikit-learn does."""
    sizes = hidden_layer_sizes
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if any(isinstance(size, Real) and size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [_whole(f"hidden_layer_sizes[{i}]", size) for i, size in enumerate(sizes)]


def _whole(name: str, size: Any) -> int:
    """The number of units as int; 5.0 is none to scikit-learn, nor is True."""
    try:
        if isinstance(size, bool | np.bool):
            raise TypeError
        return index(size)
    except TypeError:
        raise DTypeError(f"{name} must be a whole number, got {size!r}") from None


def hidden_activations(activation: Any, layers: int) -> list[Activation]:
    """The activation of each hidden layer: the same for all, or one for each."""
    given = [activation] * layers if isinstance(activation, str | Activation) else list(activation)
    if len(given) != layers:
        raise DataError(f"activation has {len(given)} entries for {layers} hidden layers")
    found = [nnx_activation(g) for g in given]
    for g in found:
        if g.builtin == "softmax":
            raise DataError("softmax is for the output layer, not for a hidden one")
    return found


def nnx_activation(activation: str | Activation) -> Activation:
    """The activation of that name, scikit-learn's or nnx's."""
    if isinstance(activation, str):
        return get_activation(_NAMES.get(activation, activation))
    return get_activation(activation)


def nnx_loss(loss: str, out_activation: str) -> Loss:
    """nnx's form of scikit-learn's loss, which goes with the output activation."""
    return _LOSSES[loss, out_activation]


def check_added(estimator: Any, *, incremental: bool) -> None:
    """Raise where the parameters that nnx adds cannot be had, or not together."""
    for callback in estimator.callbacks or ():
        if not callable(callback):
            raise DataError(f"a callback must be callable, got {callback!r}")
    stochastic = estimator.solver != "lbfgs"
    if not stochastic and estimator.dropout > 0:
        raise DataError(
            "dropout needs solver='sgd' or 'adam': lbfgs wants the same cost at the same parameters"
        )
    validation = estimator.validation
    if validation is not None:
        if len(validation) not in (2, 3):
            raise DataError("validation must be (X, y) or (X, y, sample_weight)")
        if not stochastic:
            raise DataError("validation needs solver='sgd' or 'adam'")
    if incremental and getattr(estimator, "class_weight", None) == "balanced":
        raise DataError(
            "class_weight='balanced' cannot be had in partial_fit, which never sees all examples; "
            "pass the weights: compute_class_weight('balanced', classes=classes, y=y)"
        )


def weigh_classes(
    class_weight: Any, classes: Array, labels: Array, sample_weight: Array | None, dtype: Any
) -> Array:
    """Multiply each example's weight by that of its class; labels (m,) number the classes."""
    table = compute_class_weight(class_weight, classes=classes, y=classes[labels])
    weights = table[labels].astype(dtype)
    return weights if sample_weight is None else weights * sample_weight


def layer_units(n_x: int, hidden: Sequence[int], n_y: int) -> list[int]:
    """[n_x, n[1], ..., n_y]."""
    return [n_x, *(int(n) for n in hidden), n_y]
