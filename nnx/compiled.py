"""A training step for the CPU as one compiled program; the plan says which worker does what.

Two ways to share the work, whichever suits the shapes: by examples (`compiled_examples`) and by
units (`compiled_units`). Here is what both begin and end with, and what has a compiled form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nnx.backends.engine import elementwise, kernels
from nnx.backends.engine.launch import Launch
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
)
from nnx.compiled_examples import ByExamples
from nnx.compiled_units import ByUnits
from nnx.compiled_writer import LOSSES
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import FlatVector
from nnx.plan import Plan
from nnx.sharing import Sharing

Array = Any


def unsupported(model: Model) -> str | None:
    """Return what keeps this network from being compiled; None where nothing does."""
    for number, layer in enumerate(model.layers, 1):
        if not isinstance(layer, Dense):
            return f"layer {number} is a {type(layer).__name__}"
        if number < model.L and layer.g.builtin not in elementwise.CODES:
            return f"the activation {layer.g.name} of layer {number} has no compiled form"
    loss, g = model.loss, model.layers[-1].g  # type: ignore[attr-defined]
    kind = type(loss).__name__
    if kind not in LOSSES or not type(loss).__module__.startswith("nnx."):
        return f"the loss {loss.name} has no compiled form"
    if loss.link != "identity" and g.builtin != loss.link:
        return f"{loss.name} has no compiled form with the output {g.name}"
    if loss.link == "identity" and (g.builtin not in elementwise.CODES or g.derivative_from == "Z"):
        return f"{loss.name} has no compiled form with the output {g.name}"
    return None


def rule_numbers(rule: UpdateRule) -> tuple[float, ...] | None:
    """The rule's number and its constants c0 ... c3; None where it has no compiled form."""
    if type(rule) is GradientDescentRule:
        return kernels.DESCENT, 0.0, 0.0, 0.0, 0.0
    if type(rule) is MomentumRule:
        kind = kernels.NESTEROV if rule.nesterov else kernels.MOMENTUM
        return kind, rule.beta, 0.0, 0.0, 0.0
    if type(rule) is RMSpropRule:
        return kernels.RMSPROP, rule.beta, rule.epsilon, 0.0, 0.0
    if type(rule) is AdamRule:
        kind = kernels.ADAM_HAT if rule.epsilon_hat else kernels.ADAM
        return kind, rule.beta1, rule.beta2, rule.epsilon, rule.weight_decay
    return None


class Program:
    """The instructions of all workers for one step over m examples, and the buffers they use.

    Parameters
    ----------
    model : Network
        Of dense layers that `unsupported` has nothing against.
    m : int
        Examples in a batch.
    workers : int
    gradient : FlatVector
        Receives the gradient; not that of W[1] where the update is part of its product.
    slots : mapping of str to array
        The optimizer's state vectors.
    rule : UpdateRule or None
        None leaves the parameters as they are.
    labels, weighted : bool
        Whether Y holds labels (m,), and whether the examples have weights.
    gathered : bool
        Whether each batch is picked out of the data by positions.
    """

    def __init__(
        self,
        model: Model,
        m: int,
        workers: int,
        gradient: FlatVector,
        slots: dict[str, Array],
        rule: UpdateRule | None,
        *,
        labels: bool,
        weighted: bool,
        gathered: bool,
    ) -> None:
        self.m = m
        self.plan = Plan(model, m, gathered=gathered, update=rule is not None, slots=len(slots))
        self.sharing = Sharing(model.n, m, workers, model.theta.size)
        self.workers, self.by_examples = self.sharing.workers, self.sharing.by_examples
        self._writer = (ByExamples if self.by_examples else ByUnits)(
            model, m, self.plan, self.sharing, gradient, slots, rule,
            labels=labels, weighted=weighted, gathered=gathered,
        )  # fmt: skip
        codes = [assembler.code() for assembler in self._writer.write()]
        penalties = (model.penalty.l2 / m, model.penalty.l1 / m) if rule is not None else (0, 0)
        numbers = (rule_numbers(rule) if rule is not None else None) or (0.0,) * 5
        size = np.dtype(model.dtype).itemsize
        self.launch = Launch(
            codes,
            self._writer.constants or [0.0],
            (*numbers, *penalties),
            m=m,
            dtype=model.dtype,
            seed=model.seed,
            row_bytes=(model.n[0] * size, self._writer.y_bytes, size),
            gathered=gathered,
        )

    @property
    def bytes(self) -> int:
        """Memory of the buffers beside parameters, gradient and optimizer state."""
        return self._writer.bytes
