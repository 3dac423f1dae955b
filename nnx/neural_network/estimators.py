"""The estimators as users hold them: scikit-learn's signatures, and what nnx adds to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from sklearn.neural_network._multilayer_perceptron import MLPClassifier as _Classifier
from sklearn.neural_network._multilayer_perceptron import MLPRegressor as _Regressor
from sklearn.utils._param_validation import StrOptions

from nnx.neural_network.base import Perceptron
from nnx.neural_network.border import ClassifierArrays, RegressorArrays
from nnx.neural_network.plain import binarize, is_plain
from nnx.neural_network.settings import CONSTRAINTS


class MLPClassifier(ClassifierArrays, Perceptron, _Classifier):
    """Multi-layer perceptron classifier: `sklearn.neural_network.MLPClassifier`, trained by nnx.

    All parameters, attributes and methods are scikit-learn's, and so are the results: the same
    `random_state` gives the same initial weights, order of examples, held-out examples, stopping
    and messages, and the same numbers up to rounding. `activation` may also be any of nnx's, by
    name or as an object, or a sequence of one for each hidden layer; `verbose="progress"` shows a
    progress bar.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
    precision : str, optional
        None computes in the dtype of X, float32 or float64.
    class_weight : dict or "balanced", optional
        Multiplies the weights of the examples of a class, as elsewhere in scikit-learn.
    dropout : float
        The share of a hidden layer's units that each training step leaves out (not for lbfgs).
    callbacks : sequence of nnx.Callback or callable (net, history) -> bool, optional
        Called after each iteration with the `nnx.Network` and its `nnx.History`; True stops.
    validation : tuple (X, y) or (X, y, sample_weight), optional
        Data that are scored after each iteration, into `validation_scores_`. With
        `early_stopping=True` they take the place of the examples that would be held out.

    Notes
    -----
    `coefs_[l]` is the lecture's W[l+1] transposed, `intercepts_[l]` is b[l+1]. On the CPU they are
    views of the network's parameters; what is assigned to them is honoured.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from nnx.neural_network import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((20,), solver="lbfgs", random_state=0).fit(X / 16, y)
    >>> round(model.score(X / 16, y), 2)
    1.0
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Classifier._parameter_constraints,
        **CONSTRAINTS,
        "class_weight": [dict, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int | str = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        device: str = "auto",
        precision: str | None = None,
        class_weight: Mapping[Any, float] | str | None = None,
        dropout: float = 0.0,
        callbacks: Sequence[Any] | None = None,
        validation: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.device = device
        self.precision = precision
        self.class_weight = class_weight
        self.dropout = dropout
        self.callbacks = callbacks
        self.validation = validation

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        if not incremental and not self.warm_start and is_plain(self, X):
            found = binarize(y, X.shape[0])
            if found is not None:
                self.n_features_in_ = X.shape[1]
                self._label_binarizer, y = found
                self.classes_ = self._label_binarizer.classes_
                return X, y
        checked: tuple[Any, Any] = super()._validate_input(X, y, incremental, reset)
        return checked


class MLPRegressor(RegressorArrays, Perceptron, _Regressor):
    """Multi-layer perceptron regressor: `sklearn.neural_network.MLPRegressor`, trained by nnx.

    All parameters, attributes and methods are scikit-learn's, and so are the results: the same
    `random_state` gives the same initial weights, order of examples, held-out examples, stopping
    and messages, and the same numbers up to rounding. `activation` may also be any of nnx's, by
    name or as an object, or a sequence of one for each hidden layer; `verbose="progress"` shows a
    progress bar.

    Parameters
    ----------
    device : str
        "cpu", "cuda", "cuda:1", or "auto": a GPU where there is one.
    precision : str, optional
        None computes in the dtype of X, float32 or float64.
    dropout : float
        The share of a hidden layer's units that each training step leaves out (not for lbfgs).
    callbacks : sequence of nnx.Callback or callable (net, history) -> bool, optional
        Called after each iteration with the `nnx.Network` and its `nnx.History`; True stops.
    validation : tuple (X, y) or (X, y, sample_weight), optional
        Data that are scored after each iteration, into `validation_scores_`. With
        `early_stopping=True` they take the place of the examples that would be held out.

    Notes
    -----
    `coefs_[l]` is the lecture's W[l+1] transposed, `intercepts_[l]` is b[l+1]. On the CPU they are
    views of the network's parameters; what is assigned to them is honoured.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from nnx.neural_network import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(solver="lbfgs", tol=10, random_state=0).fit(X * 20, y)
    >>> model.score(X * 20, y) > 0.5
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Regressor._parameter_constraints,
        **CONSTRAINTS,
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int | str = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        device: str = "auto",
        precision: str | None = None,
        dropout: float = 0.0,
        callbacks: Sequence[Any] | None = None,
        validation: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(
            loss=loss,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
        )
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.callbacks = callbacks
        self.validation = validation
