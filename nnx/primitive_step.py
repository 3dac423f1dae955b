"""A training step through the backend's primitives, on any device: one call for each formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnx.backends.floating import as_by_default
from nnx.backends.reference.activations import IDENTITY, Activation
from nnx.backends.reference.dropout import at_example, make_key
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import FlatVector

Array = Any


class PrimitiveStep:
    """Forward and backward of a network whose layers are all dense, through the primitives."""

    def __init__(self, model: Model, m: int) -> None:
        self.model = model
        self.layers = [layer for layer in model.layers if isinstance(layer, Dense)]
        layers = self.layers
        self.g: list[Activation] = [layer.g for layer in layers]
        empty = model.backend.empty
        shapes = [(layer.units, m) for layer in layers]
        self.A = [empty(shape, model.dtype) for shape in shapes]
        self.dZ = [empty(shape, model.dtype) for shape in shapes]
        # The output layer keeps Z for the cost, a hidden one only where g' is written from Z.
        needs_Z = [g.derivative_from == "Z" for g in self.g[:-1]] + [True]
        self.Z = [
            empty(shape, model.dtype) if needed else None
            for shape, needed in zip(shapes, needs_Z, strict=True)
        ]
        # The activations after dropout, which the next layer takes; g' still needs those before.
        self.dropped = [
            empty(shape, model.dtype) if layer.keep_prob < 1 else A
            for layer, shape, A in zip(layers, shapes, self.A, strict=True)
        ]

    @as_by_default
    def gradients(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        gradient: FlatVector,
        t: int,
        first: int = 0,
        lap: Callable[[str], None] | None = None,
    ) -> Array:
        """Write all dW[l] and db[l] and return J without the penalties.

        first : int
            The position of the first example in its batch.
        lap : called with the plan's key of each operation that has just been asked for.
        """
        model, backend = self.model, self.model.backend
        theta, L = model.vector.layers, model.L
        inputs = [X, *self.dropped[:-1]]
        keys = [
            at_example(make_key(model.seed, t, number), first, layer.units)
            if layer.keep_prob < 1
            else 0
            for number, layer in enumerate(self.layers, 1)
        ]
        for i, layer in enumerate(self.layers):
            W, b = theta[i]["W"], theta[i]["b"]
            backend.dense_forward(W, b, inputs[i], self.g[i], A=self.A[i], Z=self.Z[i])
            if layer.keep_prob < 1:
                backend.dropout(self.A[i], keys[i], layer.keep_prob, out=self.dropped[i])
            if lap:
                lap(f"Z{i + 1}")
        J, _ = backend.loss_with_gradient(
            model.loss, self.g[-1], self.Z[-1], self.A[-1], Y, weights, dZ=self.dZ[-1]
        )
        if lap:
            lap("loss")
        for i in range(L - 1, -1, -1):
            d = gradient.layers[i]
            backend.weight_gradient(self.dZ[i], inputs[i], dW=d["W"], db=d["b"])
            if lap:
                lap(f"dW{i + 1}")
            if i:
                self._back(i, keys[i - 1])
                if lap:
                    lap(f"dA{i}")
        return J

    def _back(self, i: int, key: int) -> None:
        """dZ[l-1] = W[l]^T dZ[l] * D / keep_prob * g[l-1]'; D is the dropout mask."""
        backend, W = self.model.backend, self.model.vector.layers[i]["W"]
        g, out = self.g[i - 1], self.dZ[i - 1]
        cache = self.A[i - 1] if g.derivative_from == "A" else self.Z[i - 1]
        if self.layers[i - 1].keep_prob == 1:
            backend.dense_backward(W, self.dZ[i], g, cache, out=out)
            return
        backend.dense_backward(W, self.dZ[i], IDENTITY, cache, out=out)
        backend.dropout(out, key, self.layers[i - 1].keep_prob, out=out)
        backend.activation_backward(g, out, cache, out=out)


@as_by_default
def layer_by_layer(
    model: Model,
    X: Array,
    Y: Array,
    weights: Array | None,
    gradient: FlatVector,
    t: int,
    first: int = 0,
) -> Array:
    """The same for a network with layers of one's own."""
    _, caches = model.forward(X, train=True, t=t, first=first, check=False)
    return model.backward_into(gradient, Y, caches, weights)
