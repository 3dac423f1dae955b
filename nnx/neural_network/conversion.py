"""Fitted estimators from and to scikit-learn's own classes, exactly.

nnx's estimators hold what scikit-learn's hold, under the same names, so a conversion is a copy:
weights, state of the optimizer, `t_`, loss curve, label binarizer and the generator's state.
"""

from __future__ import annotations

import copy
import inspect
from functools import cache
from typing import Any

from nnx.backends.errors import DataError, DTypeError

# scikit-learn computes these; nnx has more.
ACTIVATIONS = ("identity", "logistic", "relu", "tanh")
# What a fit leaves of nnx's own: only the speed of the next fit depends on it.
PRIVATE = ("_binding", "_stepper")
# What only steers how nnx computes: results do not depend on it.
_NEUTRAL = ("device",)


def own_class(cls: type) -> type:
    """Return scikit-learn's class that `cls` extends."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("sklearn."))


@cache
def defaults(cls: type) -> dict[str, Any]:
    """Return the parameters of a class with their defaults."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]  # type: ignore[misc]
    return {parameter.name: parameter.default for parameter in parameters}


def added_parameters(cls: type) -> dict[str, Any]:
    """Return the parameters that scikit-learn's class lacks, with their defaults."""
    own = defaults(own_class(cls))
    return {name: value for name, value in defaults(cls).items() if name not in own}


def beyond_scikit_learn(estimator: Any) -> list[str]:
    """Return the settings, as `name=value`, with which scikit-learn could not have trained."""
    used = [
        f"{name}={getattr(estimator, name)!r}"
        for name, default in added_parameters(type(estimator)).items()
        if name not in _NEUTRAL and getattr(estimator, name) != default
    ]
    if estimator.activation not in ACTIVATIONS:
        used.append(f"activation={estimator.activation!r}")
    return used


def own_state(estimator: Any) -> dict[str, Any]:
    """Return the attributes that scikit-learn's class would hold; nothing is copied."""
    added = added_parameters(type(estimator))
    return {
        name: value
        for name, value in vars(estimator).items()
        if name not in added and name not in PRIVATE
    }


def as_own(estimator: Any) -> Any:
    """Return an object of scikit-learn's class that shares all that `estimator` holds."""
    own: Any = own_class(type(estimator))
    result = own.__new__(own)
    vars(result).update(own_state(estimator))
    return result


def take_state(estimator: Any, own: Any) -> None:
    """Give `estimator` what `own`, of scikit-learn's class, holds."""
    for name in own_state(estimator).keys() - vars(own).keys():
        delattr(estimator, name)
    vars(estimator).update(vars(own))


def to_sklearn(estimator: Any) -> Any:
    """Return a model of scikit-learn's class that predicts as `estimator` does, and trains on.

    Parameters that scikit-learn lacks are left out, such as `device` and `dropout`.

    Raises
    ------
    DataError
        Where the activation is none of scikit-learn's.
    """
    if estimator.activation not in ACTIVATIONS:
        raise DataError(
            f"activation={estimator.activation!r} is not one of scikit-learn's "
            f"({', '.join(ACTIVATIONS)}), so its {own_class(type(estimator)).__name__} could not "
            "predict with these weights"
        )
    return copy.deepcopy(as_own(estimator))


def from_sklearn(cls: Any, model: Any, **added: Any) -> Any:
    """Return an estimator of nnx's class `cls` with all that scikit-learn's `model` holds.

    Parameters
    ----------
    cls : type
    model : estimator
        Of scikit-learn's class, fitted or not. It is copied.
    **added
        Parameters that scikit-learn lacks, such as `device`.

    Raises
    ------
    DTypeError
        Where `model` is of another class.
    DataError
        For a parameter that is none of those that nnx adds.
    """
    own = own_class(cls)
    if not isinstance(model, own):
        raise DTypeError(
            f"{cls.__name__}.from_sklearn takes a scikit-learn {own.__name__}; "
            f"got {type(model).__module__}.{type(model).__qualname__}"
        )
    known = added_parameters(cls)
    for name in added:
        if name not in known:
            raise DataError(
                f"from_sklearn got {name!r}; beside the model it takes {', '.join(sorted(known))}"
            )
    result: Any = cls.__new__(cls)
    state = {name: value for name, value in vars(model).items() if name not in PRIVATE}
    vars(result).update({**known, **copy.deepcopy(state), **added})
    return result
