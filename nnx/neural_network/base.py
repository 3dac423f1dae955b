"""What the two estimators share: how scikit-learn's `fit` and `predict` come to nnx's engine."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

from sklearn.utils._param_validation import Interval, StrOptions

from nnx.backends.reference.activations import ACTIVATIONS, Activation
from nnx.neural_network.portable import Portable

# scikit-learn's names first; softmax mixes the units of a layer and belongs to the output.
ACTIVATION_NAMES = {"logistic", *ACTIVATIONS} - {"softmax"}


class Perceptron(Portable):
    """The part of both estimators that is nnx's; mixed in before scikit-learn's own class."""

    # What the parameters beyond scikit-learn's may be, and its own that may be more here.
    _added_constraints: ClassVar[dict[str, list[Any]]] = {
        "activation": [StrOptions(ACTIVATION_NAMES), Activation, list, tuple],
        "verbose": ["verbose", StrOptions({"progress"})],
        "device": [str],
        "precision": [str, None],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "callbacks": [list, tuple, None],
        "validation": [list, tuple, None],
    }
