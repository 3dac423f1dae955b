"""A fitted estimator as an ONNX model, with the output names of scikit-learn's own converter."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from nnx.neural_network.settings import hidden_activations, nnx_activation
from nnx.onnx_graph import Graph


def export(estimator: Any, path: str | PathLike[str] | None = None) -> Any:
    """Return the ONNX model of a fitted estimator; write it to `path` if one is given.

    Raises
    ------
    NotFittedError
    DataError
        For an activation of one's own.
    MissingDependencyError
        Without the package `onnx`.
    """
    check_is_fitted(estimator)
    functions = [
        *hidden_activations(estimator.activation, len(estimator.coefs_) - 1),
        nnx_activation(estimator.out_activation_),
    ]
    graph = Graph(estimator.coefs_[0].dtype)
    A = "X"
    layers = zip(estimator.coefs_, estimator.intercepts_, functions, strict=True)
    for W, b, activation in layers:
        A = graph.dense(A, W.T, b, activation)
    if is_classifier(estimator):
        _classes(graph, estimator, A)
    else:
        graph.output("variable", A, graph.dtype, ["m", estimator.n_outputs_])
    return graph.model(type(estimator).__name__, estimator.n_features_in_, path)


def _classes(graph: Graph, estimator: Any, A: str) -> None:
    """Add the outputs "label" and "probabilities", as `predict` and `predict_proba` give them."""
    kind = estimator._label_binarizer.y_type_
    classes = np.asarray(estimator.classes_)
    if kind.startswith("multilabel"):
        label = graph.add("Cast", _above_half(graph, A), to=graph.onnx.TensorProto.INT64)
        graph.output("label", label, np.int64, ["m", estimator.n_outputs_])
        graph.output("probabilities", A, graph.dtype, ["m", estimator.n_outputs_])
        return
    if estimator.n_outputs_ == 1:
        if len(classes) == 1:  # scikit-learn answers with the only class it has seen
            classes = np.repeat(classes, 2)
        rest = graph.add("Sub", graph.constant(1), A)
        probabilities = graph.add("Concat", rest, A, axis=1)
        above = graph.add("Cast", _above_half(graph, A), to=graph.onnx.TensorProto.INT64)
        index = graph.add("Squeeze", above, graph.constant([1], np.int64))
    else:
        probabilities = A
        index = graph.add("ArgMax", A, axis=1, keepdims=0)
    text = classes.dtype.kind in "OUS"
    label = graph.add("Gather", graph.constant(classes, object if text else classes.dtype), index)
    graph.output("label", label, str if text else classes.dtype, ["m"])
    columns = 2 if estimator.n_outputs_ == 1 else estimator.n_outputs_
    graph.output("probabilities", probabilities, graph.dtype, ["m", columns])


def _above_half(graph: Graph, A: str) -> str:
    return graph.add("Greater", A, graph.constant(0.5))
