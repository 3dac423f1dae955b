"""Networks as ONNX graphs, built from standard operators only; needs the extra `onnx`.

Rows of X are examples here, as in all ONNX models: X (m, n_x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nnx.backends.errors import DataError, MissingDependencyError
from nnx.backends.reference import activations
from nnx.backends.reference.activations import Activation
from nnx.checkpoint import write_whole
from nnx.layers import Dense
from nnx.model import Model

# The newest that every ONNX Runtime since 1.12 (2022) reads.
OPSET, IR_VERSION = 17, 8


class Graph:
    """An ONNX graph in the making: every method adds nodes and returns the name of their result.

    Parameters
    ----------
    dtype : dtype
        float32 or float64: that of X, of the weights and of all that is computed.
    """

    def __init__(self, dtype: Any) -> None:
        try:
            import onnx
        except ImportError:
            raise MissingDependencyError("onnx", "onnx", "ONNX export") from None
        self.onnx = onnx
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str | None = None, **settings: Any) -> str:
        """Add a node with one result."""
        result = name or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(operator, inputs, [result], **settings))
        return result

    def constant(self, value: Any, dtype: Any = None) -> str:
        """Add a constant: numbers, or text."""
        array = np.asarray(value, self.dtype if dtype is None else dtype)
        name = f"constant_{len(self.constants)}"
        helper = self.onnx.helper
        if array.dtype.kind in "OUS":
            text = [str(each).encode() for each in array.ravel()]
            tensor = helper.make_tensor(name, self.onnx.TensorProto.STRING, array.shape, text)
        else:
            tensor = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        self.constants.append(tensor)
        return name

    def dense(self, A_prev: str, W: Any, b: Any, activation: Activation) -> str:
        """A[l] = g(A[l-1] W[l]^T + b[l]) for rows of examples; W (n, n_prev), b (n,)."""
        Z = self.add("Gemm", A_prev, self.constant(W), self.constant(b), transB=1)
        return self.activation(activation, Z)

    def activation(self, activation: Activation, Z: str) -> str:
        """A = g(Z).

        Raises
        ------
        DataError
            For an activation of one's own: ONNX has no operator for it.
        """
        if activation.builtin not in _FORMULAS:
            raise DataError(f"ONNX has no operator for the activation {activation.name!r}")
        return _FORMULAS[activation.builtin](self, Z, activation)

    def output(self, name: str, result: str, dtype: Any, shape: Sequence[Any]) -> None:
        """Make a result an output of the model."""
        helper = self.onnx.helper
        self.add("Identity", result, name=name)
        kind = helper.np_dtype_to_tensor_dtype(np.dtype("O" if dtype is str else dtype))
        self.outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def model(self, name: str, n_x: int, path: str | PathLike[str] | None) -> Any:
        """Return the checked model; write it to `path`, whole or not at all, if one is given."""
        helper = self.onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        X = helper.make_tensor_value_info("X", kind, ["m", n_x])
        graph = helper.make_graph(self.nodes, name, [X], self.outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="nnx",
        )
        self.onnx.checker.check_model(model, full_check=True)
        if path is not None:
            write_whole(Path(path), model.SerializeToString())
        return model


def network_model(net: Model, path: str | PathLike[str] | None) -> Any:
    """Return a network as an ONNX model: X (m, n_x) -> "A" (m, n_y), one example per row.

    Raises
    ------
    DataError
        For a layer or an activation of one's own.
    """
    graph, A = Graph(net.dtype), "X"
    parameters = {name: net.backend.to_numpy(view) for name, view in net.parameters.items()}
    for number, layer in enumerate(net.layers, 1):
        if not isinstance(layer, Dense):
            raise DataError(f"layer {number} is a {type(layer).__name__}; ONNX export knows Dense")
        W, b = parameters[f"W{number}"], parameters[f"b{number}"]
        A = graph.dense(A, W, b[:, 0], layer.g)
    graph.output("A", A, graph.dtype, ["m", net.n_y])
    return graph.model("Network", net.n_x, path)


Formula = Callable[[Graph, str, Any], str]


def _operator(name: str, **settings: Any) -> Formula:
    return lambda graph, Z, _: graph.add(name, Z, **settings)


def _elu(graph: Graph, Z: str, alpha: float) -> str:
    """max(Z, 0) + alpha (exp(min(Z, 0)) - 1), since Elu itself lacks float64 in ONNX Runtime."""
    zero, one = graph.constant(0), graph.constant(1)
    below = graph.add("Sub", graph.add("Exp", graph.add("Min", Z, zero)), one)
    return graph.add("Add", graph.add("Relu", Z), graph.add("Mul", below, graph.constant(alpha)))


def _leaky_relu(graph: Graph, Z: str, g: Any) -> str:
    """max(Z, alpha Z), for 0 < alpha < 1."""
    return graph.add("Max", Z, graph.add("Mul", Z, graph.constant(g.alpha)))


def _selu(graph: Graph, Z: str, _: Any) -> str:
    inner = _elu(graph, Z, activations._SELU_ALPHA)
    return graph.add("Mul", inner, graph.constant(activations._SELU_SCALE))


def _gelu(graph: Graph, Z: str, _: Any) -> str:
    """0.5 Z (1 + tanh(c (Z + k Z^3)))."""
    cube = graph.add("Mul", graph.add("Mul", Z, Z), Z)
    sum_ = graph.add("Add", Z, graph.add("Mul", cube, graph.constant(activations._GELU_K)))
    T = graph.add("Tanh", graph.add("Mul", sum_, graph.constant(activations._GELU_C)))
    half = graph.add("Mul", Z, graph.constant(0.5))
    return graph.add("Mul", half, graph.add("Add", T, graph.constant(1)))


def _softplus(graph: Graph, Z: str, _: Any) -> str:
    """max(Z, 0) + log(1 + exp(-|Z|))."""
    E = graph.add("Exp", graph.add("Neg", graph.add("Abs", Z)))
    return graph.add(
        "Add", graph.add("Relu", Z), graph.add("Log", graph.add("Add", E, graph.constant(1)))
    )


_FORMULAS: dict[str | None, Formula] = {
    "identity": lambda graph, Z, _: Z,
    "sigmoid": _operator("Sigmoid"),
    "tanh": _operator("Tanh"),
    "relu": _operator("Relu"),
    "exponential": _operator("Exp"),
    "softmax": _operator("Softmax", axis=1),
    "leaky_relu": _leaky_relu,
    "elu": lambda graph, Z, g: _elu(graph, Z, g.alpha),
    "selu": _selu,
    "gelu": _gelu,
    "silu": lambda graph, Z, _: graph.add("Mul", Z, graph.add("Sigmoid", Z)),
    "softplus": _softplus,
}
