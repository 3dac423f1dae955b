"""One training step as a program: buffers are allocated once, primitives write into them."""

from __future__ import annotations

from typing import Any

from nnx.backends.errors import DataError, ShapeError
from nnx.backends.reference.activations import IDENTITY, Activation
from nnx.backends.reference.dropout import make_key
from nnx.backends.reference.updates import clip_norm
from nnx.layers import Dense
from nnx.model import Model, on_its_device
from nnx.optimizers import Optimizer, get_optimizer
from nnx.parameters import FlatVector

Array = Any


class OptimizerState:
    """What an optimizer remembers from step to step.

    Attributes
    ----------
    gradient : FlatVector
        The last gradient.
    slots : dict
        The rule's state vectors, of the shape of theta.
    t : int
        Steps done.
    """

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self.gradient: FlatVector = model.zero_vector("d")
        self.slots = {name: model.zero_vector().flat for name in optimizer.rule.slots}
        self.t = 0


class TrainingStep:
    """Forward, cost, backward and update for batches of m examples.

    Equal to `forward`, `cost`, `backward` and the optimizer's update, without their checks and
    without allocation: X and Y must be arrays of the network's device and dtype, in the form
    that `forward` and `backward` accept (labels as int64).

    Parameters
    ----------
    model : Network
    m : int
        Examples in a batch.
    optimizer : str or Optimizer, optional
    state : OptimizerState, optional
        Shared by programs of different m.

    Examples
    --------
    >>> import numpy as np, nnx
    >>> net = nnx.MLP([2, 4, 3], device="cpu")
    >>> step = nnx.TrainingStep(net, 5, nnx.Adam(0.01))
    >>> X, Y = np.ones((2, 5), np.float32, order="F"), np.zeros(5, np.int64)
    >>> first = float(step(X, Y))
    >>> float(step(X, Y)) < first
    True
    """

    def __init__(
        self,
        model: Model,
        m: int,
        optimizer: str | Optimizer | None = None,
        *,
        state: OptimizerState | None = None,
    ) -> None:
        self.model, self.m, self.backend = model, m, model.backend
        self.optimizer = _stepwise(optimizer)
        self.state = OptimizerState(model, self.optimizer) if state is None else state
        dense = [layer for layer in model.layers if isinstance(layer, Dense)]
        self._program = _DenseProgram(model, dense, m) if len(dense) == model.L else None

    @on_its_device
    def __call__(
        self,
        X: Array,
        Y: Array,
        weights: Array | None = None,
        *,
        learning_rate: float | None = None,
    ) -> Array:
        """Take one step and return the cost J of the batch before it.

        Parameters
        ----------
        X : array (n_x, m)
        Y : array (m,) or (n_y, m)
        weights : array (m,), optional
            Example weights of mean one.
        learning_rate : float, optional
            By default that of the optimizer's schedule at its start.

        Returns
        -------
        J : array ()
            On the device; reading it waits for the device.
        """
        J = self.gradients(X, Y, weights)
        self.update(self.optimizer.schedule(0.0) if learning_rate is None else learning_rate)
        return J

    @on_its_device
    def gradients(self, X: Array, Y: Array, weights: Array | None = None) -> Array:
        """Compute `state.gradient` and return J, leaving the parameters as they are."""
        if tuple(X.shape) != (self.model.n_x, self.m):
            raise ShapeError(
                f"this step is for X of shape ({self.model.n_x}, {self.m}); got {tuple(X.shape)}"
            )
        model, gradient, t = self.model, self.state.gradient, self.state.t + 1
        if self._program is not None:
            J = self._program.gradients(X, Y, weights, gradient, t)
        else:
            J = _layer_by_layer(model, X, Y, weights, gradient, t)
        if model.penalty:
            part, xp = slice(gradient.penalised), model.backend.xp
            J = J + model.penalty.cost(xp, model.theta[part], self.m)
            model.penalty.add_gradient(xp, model.theta[part], gradient.flat[part], self.m)
        return J

    @on_its_device
    def update(self, learning_rate: float) -> None:
        """Move the parameters along the last gradient."""
        model, state = self.model, self.state
        if self.optimizer.clip_norm is not None:
            clip_norm(model.backend.xp, state.gradient.flat, self.optimizer.clip_norm)
        state.t += 1
        model.backend.update(
            self.optimizer.rule,
            model.theta,
            state.gradient.flat,
            state.slots,
            learning_rate,
            state.t,
        )


def _stepwise(optimizer: str | Optimizer | None) -> Optimizer:
    found = get_optimizer(optimizer)
    if isinstance(found, Optimizer):
        return found
    raise DataError(f"{found} takes no single steps; pass it to Network.fit")


class _DenseProgram:
    """Forward and backward of a network whose layers are all dense, through the primitives."""

    def __init__(self, model: Model, layers: list[Dense], m: int) -> None:
        self.model, self.layers = model, layers
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

    def gradients(
        self, X: Array, Y: Array, weights: Array | None, gradient: FlatVector, t: int
    ) -> Array:
        """Write all dW[l] and db[l] and return J without the penalties."""
        model, backend = self.model, self.model.backend
        theta, L = model.vector.layers, model.L
        inputs = [X, *self.dropped[:-1]]
        keys = [make_key(model.seed, t, number) for number in range(1, L + 1)]
        for i, layer in enumerate(self.layers):
            W, b = theta[i]["W"], theta[i]["b"]
            backend.dense_forward(W, b, inputs[i], self.g[i], A=self.A[i], Z=self.Z[i])
            if layer.keep_prob < 1:
                backend.dropout(self.A[i], keys[i], layer.keep_prob, out=self.dropped[i])
        J, _ = backend.loss_with_gradient(
            model.loss, self.g[-1], self.Z[-1], self.A[-1], Y, weights, dZ=self.dZ[-1]
        )
        for i in range(L - 1, -1, -1):
            d = gradient.layers[i]
            backend.weight_gradient(self.dZ[i], inputs[i], dW=d["W"], db=d["b"])
            if i:
                self._back(i, keys[i - 1])
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


def _layer_by_layer(
    model: Model, X: Array, Y: Array, weights: Array | None, gradient: FlatVector, t: int
) -> Array:
    """The same for a network with layers of one's own."""
    _, caches = model.forward(X, train=True, t=t, check=False)
    return model.backward_into(gradient, Y, caches, weights)
