"""What the two estimators share: how scikit-learn's `fit` and `predict` come to nnx's steps.

`Perceptron` stands before scikit-learn's own class among the bases and replaces three of its
methods: `_fit`, `_forward_pass_fast` and `_loss_grad_lbfgs`. All that is about scikit-learn and not
about arithmetic (validation, labels, messages, tags) stays scikit-learn's.
"""

from __future__ import annotations

import warnings
from itertools import chain
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.fixes import _get_additional_lbfgs_options_dict
from sklearn.utils.optimize import _check_optimize_result
from sklearn.utils.validation import _check_sample_weight, validate_data

from nnx.backends import get_backend
from nnx.backends.errors import DTypeError
from nnx.layers import Dense
from nnx.network import Network
from nnx.neural_network import settings
from nnx.neural_network.binding import Binding
from nnx.neural_network.border import computable
from nnx.neural_network.examples import Examples
from nnx.neural_network.lbfgs import WholeBatch
from nnx.neural_network.outputs import fitted, outputs_of
from nnx.neural_network.plain import is_plain
from nnx.neural_network.portable import Portable
from nnx.neural_network.stochastic import Stepper, new_optimizer, train
from nnx.neural_network.watching import Watcher

Array = Any
_STOCHASTIC = ("sgd", "adam")
_VALIDATION = ("X of validation", "y of validation", "sample_weight of validation")


class Perceptron(Portable):
    """The part of both estimators that is nnx's."""

    # What a fit leaves for the next one (conversion.PRIVATE); nothing that is lost with a pickle.
    _binding: Binding | None = None
    _stepper: Stepper | None = None

    def _fit(
        self: Any, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False
    ) -> Any:
        hidden = settings.sizes_of(self.hidden_layer_sizes)
        settings.check_added(self, incremental=incremental)
        settings.hidden_activations(self.activation, len(hidden))
        get_backend(self.device)
        first_pass = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = map(computable, self._validate_input(X, y, incremental, reset=first_pass))
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        if y.ndim == 1:
            y = y.reshape((-1, 1))
        sample_weight = self._with_class_weight(y, sample_weight, X.dtype)
        self.n_outputs_ = y.shape[1]
        units = settings.layer_units(X.shape[1], hidden, self.n_outputs_)
        self._random_state = check_random_state(self.random_state)
        if first_pass:
            self._initialize(y, units, X.dtype)
            self._binding = self._stepper = None
        binding = self._bind(units)
        if self.solver in _STOCHASTIC:
            self._fit_with_steps(binding, X, y, sample_weight, incremental)
        else:
            self._fit_with_lbfgs(binding, X, y, sample_weight)
        if not all(np.isfinite(w).all() for w in chain(self.coefs_, self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _bind(self: Any, units: list[int]) -> Binding:
        """The network that these parameters ask for, made anew where they have changed."""
        g = settings.hidden_activations(self.activation, len(units) - 2)
        # Weights keep their dtype when they are trained on with data of another.
        dtype = np.dtype(np.float32 if self.coefs_[0].dtype.char == "f" else np.float64)
        key = (units, g, self.loss, self.out_activation_, self.alpha, self.dropout, str(dtype),
               self.device, self.precision)  # fmt: skip
        binding: Binding | None = self._binding
        if binding is None or binding.key != key:
            seed = int(self._random_state.randint(2**31 - 1)) if self.dropout > 0 else 0
            layers = [
                Dense(n, each, 1.0 - self.dropout, "zeros")
                for n, each in zip(units[1:-1], g, strict=True)
            ]
            output = settings.nnx_activation(self.out_activation_)
            net = Network(
                [*layers, Dense(units[-1], output, 1.0, "zeros")],
                n_x=units[0],
                loss=settings.nnx_loss(self.loss, self.out_activation_),
                device=self.device,
                dtype=str(dtype),
                precision=self.precision,
                l2=float(self.alpha),
                seed=seed,
            )
            binding, self._stepper = Binding(net, key), None
        best_is_current = getattr(self, "_best_coefs", None) is self.coefs_
        binding.theta.load([*self.coefs_, *self.intercepts_])
        self.coefs_, self.intercepts_ = binding.coefs, binding.intercepts
        if best_is_current:
            # After early stopping scikit-learn trains on in the best weights' own arrays.
            self._best_coefs, self._best_intercepts = self.coefs_, self.intercepts_
        self._binding = binding
        return binding

    def _with_class_weight(self: Any, y: Array, sample_weight: Any, dtype: Any) -> Any:
        class_weight = getattr(self, "class_weight", None)
        if class_weight is None:
            return sample_weight
        if self._label_binarizer.y_type_.startswith("multilabel"):
            raise ValueError("class_weight needs one class for each example, not several labels")
        labels = y[:, 0].astype(np.int64) if y.shape[1] == 1 else np.argmax(y, axis=1)
        return settings.weigh_classes(class_weight, self.classes_, labels, sample_weight, dtype)

    # -- minibatches ------------------------------------------------------------------------------

    def _fit_with_steps(
        self: Any, binding: Binding, X: Any, y: Array, sample_weight: Any, incremental: bool
    ) -> None:
        if not incremental or not hasattr(self, "_optimizer"):
            self._optimizer = new_optimizer(self)
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        validation = self._validation_given()
        if self.early_stopping and validation is None:
            X, y, sample_weight, validation = self._split(X, y, sample_weight)
        if validation is not None and getattr(self, "validation_scores_", None) is None:
            self.validation_scores_: list[float] = []
        size = self._batch_size(X.shape[0])
        stepper: Stepper | None = self._stepper
        if stepper is None or stepper.optimizer is not self._optimizer:
            stepper = Stepper(binding, self._optimizer)
        stepper.load()
        watcher = Watcher(
            self,
            binding,
            validation,
            early_stopping=self.early_stopping,
            epochs=1 if incremental else self.max_iter,
        )
        examples = Examples(binding.net, X, y, sample_weight)
        try:
            train(self, stepper, examples, watcher, size, incremental=incremental)
        finally:
            binding.theta.download()
            stepper.store()
            # The steps of a whole fit hold memory that nothing will use again.
            self._stepper = stepper if incremental else None
        if self.early_stopping:
            self.coefs_, self.intercepts_ = self._best_coefs, self._best_intercepts

    def _batch_size(self: Any, m: int) -> int:
        if self.batch_size == "auto":
            return min(200, m)
        if self.batch_size > m:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=2,
            )
        return int(np.clip(self.batch_size, 1, m))

    def _split(self: Any, X: Any, y: Array, sample_weight: Any) -> tuple[Any, ...]:
        """Hold examples out as scikit-learn does: X, y, sample_weight, and the validation data."""
        # Several labels at once are not stratified.
        stratify = y if is_classifier(self) and self.n_outputs_ == 1 else None
        weights = () if sample_weight is None else (sample_weight,)
        parts = train_test_split(
            X,
            y,
            *weights,
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=stratify,
        )
        X, X_val, y, y_val = parts[:4]
        sample_weight, weight_val = parts[4:] or (None, None)
        if X_val.shape[0] < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        if is_classifier(self):
            y_val = self._label_binarizer.inverse_transform(y_val)
        return X, y, sample_weight, (X_val, y_val, weight_val)

    def _validation_given(self: Any) -> tuple[Any, Any, Any] | None:
        """The user's validation data, checked."""
        if self.validation is None:
            return None
        X, y, *weights = self._take_in(**dict(zip(_VALIDATION, self.validation, strict=False)))
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            y_numeric=not is_classifier(self),
            dtype=(np.float64, np.float32),
            reset=False,
        )
        X = computable(X)
        return X, y, _check_sample_weight(weights[0], X) if weights else None

    # -- L-BFGS -----------------------------------------------------------------------------------

    def _fit_with_lbfgs(self: Any, binding: Binding, X: Any, y: Array, sample_weight: Any) -> None:
        examples = Examples(binding.net, X, y, sample_weight)
        batch = WholeBatch(binding, examples, min(self.max_iter, self.max_fun))
        fitted(self, compiled=batch.compiled is not False)
        packing = batch.packing
        self._coef_indptr, self._intercept_indptr = packing.coef_indptr, packing.intercept_indptr
        watcher = Watcher(self, binding, None, early_stopping=False, epochs=self.max_iter)
        start = packing.pack(
            [*self.coefs_, *self.intercepts_], np.empty(packing.size, binding.net.dtype)
        )
        options = {
            "maxfun": self.max_fun,
            "maxiter": self.max_iter,
            "gtol": self.tol,
            **_get_additional_lbfgs_options_dict("iprint", 1 if watcher.prints else -1),
        }
        with watcher:
            result = batch.minimise(start, options, watcher.after_iteration)
        self.n_iter_ = _check_optimize_result("lbfgs", result, self.max_iter)
        self.loss_ = result.fun
        self._unpack(result.x)

    def _loss_grad_lbfgs(
        self: Any, packed_coef_inter: Array, X: Any, y: Array, sample_weight: Any, *_: Any
    ) -> tuple[float, Array]:
        """The cost and its gradient; the lists that scikit-learn works in are not needed."""
        units = [X.shape[1], *(b.shape[0] for b in self.intercepts_)]
        binding = self._bind(units)
        batch = WholeBatch(binding, Examples(binding.net, X, y, sample_weight), 1)
        return batch(packed_coef_inter)

    # -- prediction -------------------------------------------------------------------------------

    def _forward_pass_fast(self: Any, X: Any, check_input: bool = True) -> Array:
        if check_input and not is_plain(self, X, getattr(self, "n_features_in_", 0)):
            X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
            X = computable(X)
            if X.dtype.kind not in "fiub":
                raise DTypeError(f"X: wanted real numbers, got an array of dtype {X.dtype}")
        return outputs_of(self, X.dtype)(X)
