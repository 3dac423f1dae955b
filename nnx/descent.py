"""The steps of an epoch: one for each size of batch; a batch of blocks adds up its gradient.

The gradient of a batch of m examples is the mean over its blocks, each counted by its share b/m:
the same sum in another order. Penalties count once, dropout masks are those of the whole batch,
and the optimizer takes one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from nnx.batching import Batching
from nnx.feed import Examples
from nnx.model import Model
from nnx.optimizers import Optimizer
from nnx.step import OptimizerState, TrainingStep, add_penalties

Array = Any


class Steps:
    """Training steps that share an optimizer's state.

    Parameters
    ----------
    model : Network
    optimizer : Optimizer
    state : OptimizerState
    batching : Batching
    compiled : bool, optional
        As for `TrainingStep`.
    """

    def __init__(
        self,
        model: Model,
        optimizer: Optimizer,
        state: OptimizerState,
        batching: Batching,
        compiled: bool | None = None,
    ) -> None:
        self._model, self._state = model, state
        self._steps = {
            m: TrainingStep(model, m, optimizer, state=state, compiled=compiled)
            for m in batching.sizes()
        }
        self._sum: Array = model.zero_vector("d").flat if batching.blocked else None
        self._J: Array = 0.0

    def alone(self) -> AbstractContextManager[None]:
        """Keep other users of the cores quiet while many steps are taken."""
        return next(iter(self._steps.values())).alone()

    def epoch(self, pieces: Iterable[Examples], rates: Array) -> Array:
        """Take the steps of one epoch; return the sum over its batches of m J.

        rates : float64 array (steps,)
            The learning rate of each batch, on the host.
        """
        total: Array = 0.0
        done = 0
        for examples in pieces:
            piece = examples.piece
            step = self._steps[piece.size]
            if piece.size == piece.batch:
                few = rates[done : done + piece.batches]
                cost = step.run(examples.X, examples.Y, examples.weights, few, order=examples.order)
                total = total + piece.size * cost
                done += piece.batches
                continue
            self._add(step, examples)
            if piece.ends:
                total = total + piece.batch * self._finish(piece.batch)
                step.update(float(rates[done]))
                done += 1
        return total

    def gradients(self, pieces: Iterable[Examples]) -> Array:
        """Compute the gradient of one batch, all examples, and return J."""
        J: Array = 0.0
        for examples in pieces:
            piece = examples.piece
            step = self._steps[piece.size]
            if piece.size == piece.batch:
                return step.gradients(examples.X, examples.Y, examples.weights)
            self._add(step, examples)
            if piece.ends:
                J = self._finish(piece.batch)
        return J

    def _add(self, step: TrainingStep, examples: Examples) -> None:
        """Add the block's share of the gradient and of J."""
        piece, g = examples.piece, self._state.gradient.flat
        J = step.block_gradients(examples.X, examples.Y, examples.weights, first=piece.first)
        share = piece.size / piece.batch
        g *= share
        if piece.first:
            self._sum += g
            self._J = self._J + share * J
        else:
            self._sum[...] = g
            self._J = share * J

    def _finish(self, m: int) -> Array:
        """Put the batch's gradient, with penalties, where the update finds it; return J."""
        self._state.gradient.flat[...] = self._sum
        return add_penalties(self._model, self._state.gradient, self._J, m)


def take_epoch(
    steps: Sequence[TrainingStep],
    X: Array,
    Y: Array,
    weights: Array | None,
    rates: Array,
    order: Array | None = None,
    penalty_m: Array | None = None,
) -> Array:
    """Take a step for each rate: all but the last of steps[0].m examples, the rest of steps[-1].m.

    The other arguments are those of `TrainingStep.run`; returns the sum over the batches of m J.
    """
    size, total, first = steps[0].m, 0.0, 0
    for step in steps:
        number = len(rates) - (len(steps) - 1 if step is not steps[-1] else first)
        part = slice(first * size, first * size + number * step.m)
        x, y = (X, Y) if order is not None else (X[:, part], Y[..., part])
        taken = slice(first, first + number)
        total = total + step.m * step.run(
            x,
            y,
            None if weights is None else weights[part],
            rates[taken],
            order=None if order is None else order[part],
            penalty_m=None if penalty_m is None else penalty_m[taken],
        )
        first += number
    return total
