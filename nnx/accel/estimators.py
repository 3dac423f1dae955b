"""What stands in the place of scikit-learn's classes: nnx's, with their own to fall back on."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from itertools import chain
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils.metaestimators import available_if

from nnx import neural_network
from nnx.accel import log, patching
from nnx.backends.errors import NnxError
from nnx.neural_network.conversion import (
    added_parameters,
    as_own,
    beyond_scikit_learn,
    own_class,
    take_state,
)

__all__ = ["OWN", "MLPClassifier", "MLPRegressor"]


def _algorithm(own: type) -> frozenset[str]:
    """Return the private methods of scikit-learn's class: how it trains, and nobody's interface."""
    return frozenset(
        name
        for base in own.__mro__
        if base.__module__ == own.__module__
        for name, value in vars(base).items()
        if name.startswith("_") and not name.startswith("__") and inspect.isfunction(value)
    )


class Accelerated:
    """Mixed in before nnx's estimator: decides for each class and call who computes it."""

    _ours: ClassVar[Any]
    _own: ClassVar[type]
    _as_scikit_learn = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Give a subclass that changes scikit-learn's algorithm the class that it was written for.

        nnx would train without ever calling what it overrides.
        """
        super().__init_subclass__(**options)
        if cls.__module__ == __name__:
            return
        stand_in = next(base for base in cls.__mro__ if base.__module__ == __name__)
        own = vars(stand_in)["_own"]
        theirs = cls.__mro__[: cls.__mro__.index(stand_in)]
        changed = sorted(_algorithm(own).intersection(chain(*map(vars, theirs))))
        if not changed:
            return
        for heir in theirs:  # cls itself, or what stands between
            if stand_in in heir.__bases__:
                heir.__bases__ = tuple(own if base is stand_in else base for base in heir.__bases__)
        log.once(
            log.LEVELS["warning"],
            f"class {cls.__qualname__} runs in scikit-learn: it overrides {', '.join(changed)}",
        )

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take the state of a pickle, also one of scikit-learn's own class."""
        import sklearn

        state = dict(state)
        version = state.pop("_sklearn_version", None)
        if version is not None and version != sklearn.__version__:
            warnings.warn(
                InconsistentVersionWarning(
                    estimator_name=type(self).__name__,
                    current_sklearn_version=sklearn.__version__,
                    original_sklearn_version=version,
                ),
                stacklevel=2,
            )
        super().__setstate__({**added_parameters(type(self)), **state})  # type: ignore[misc]

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> Any:
        """Predict, in scikit-learn where nnx refuses: weights and states are the same."""
        try:
            return super()._forward_pass_fast(X, check_input)  # type: ignore[misc]
        except NnxError as error:
            if _asks_for_nnx(self):
                raise
            name = type(self).__name__
            log.once(log.LEVELS["warning"], f"{name}.predict runs in scikit-learn: {error}")
            return self._own._forward_pass_fast(self, X, check_input)  # type: ignore[attr-defined]


def _asks_for_nnx(estimator: Any) -> bool:
    """Whether it has settings that only nnx has, so that scikit-learn cannot take its place."""
    return bool(beyond_scikit_learn(estimator)) or estimator.device != "auto"


def _compute(estimator: Any, method: str, *arguments: Any) -> None:
    """Call nnx's `fit` or `partial_fit`; where nnx refuses, scikit-learn does it from there."""
    random = _Random(estimator.random_state)
    before = dict(vars(estimator))
    try:
        getattr(type(estimator)._ours, method)(estimator, *arguments)
    except NnxError as error:
        if _asks_for_nnx(estimator):
            raise
        random.restore()
        vars(estimator).clear()
        vars(estimator).update(before)
        log.once(
            log.LEVELS["warning"],
            f"{type(estimator).__name__}.{method} runs in scikit-learn: {error}",
        )
        own = as_own(estimator)
        getattr(own, method)(*arguments)
        take_state(estimator, own)
    else:
        log.once(log.LEVELS["info"], f"{type(estimator).__name__}.{method} runs in nnx")


class _Random:
    """The state of the generator that a fit will draw from, to draw the same again."""

    def __init__(self, random_state: Any) -> None:
        generator = np.random.mtrand._rand if random_state is None else random_state
        self.generator = generator if isinstance(generator, np.random.RandomState) else None
        self.state = None if self.generator is None else self.generator.get_state()

    def restore(self) -> None:
        if self.generator is not None and self.state is not None:
            self.generator.set_state(self.state)


class MLPClassifier(Accelerated, neural_network.MLPClassifier):
    """nnx's classifier in the place of scikit-learn's."""

    _ours = neural_network.MLPClassifier
    _own = own_class(neural_network.MLPClassifier)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n_samples, n_features) and y."""
        _compute(self, "fit", X, y, sample_weight)
        return self

    @available_if(lambda est: est._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """Update the model with one pass over the data."""
        _compute(self, "partial_fit", X, y, sample_weight, classes)
        return self


class MLPRegressor(Accelerated, neural_network.MLPRegressor):
    """nnx's regressor in the place of scikit-learn's."""

    _ours = neural_network.MLPRegressor
    _own = own_class(neural_network.MLPRegressor)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n_samples, n_features) and y."""
        _compute(self, "fit", X, y, sample_weight)
        return self

    @available_if(lambda est: est._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Update the model with one pass over the data."""
        _compute(self, "partial_fit", X, y, sample_weight)
        return self


OWN: dict[type, type] = {cls._own: cls for cls in (MLPClassifier, MLPRegressor)}


def reduce_own(model: Any) -> tuple[Any, ...]:
    """Return how pickle and copy take apart an object of scikit-learn's class."""
    return _new_own, (type(model).__name__,), model.__getstate__()


def _new_own(name: str) -> Any:
    own: Any = next(own for own in OWN if own.__name__ == name)
    return own.__new__(own)


patching.register(OWN, reduce_own)
