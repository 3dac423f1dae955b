"""One training step as a program: everything that can be settled before is settled once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nnx.backends import engine
from nnx.backends.cpu import CpuBackend
from nnx.backends.engine.blas import find_blas
from nnx.backends.errors import DataError, DTypeError, ShapeError
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
    clip_norm,
)
from nnx.layers import Dense
from nnx.model import Model, on_its_device
from nnx.optimizers import Optimizer, get_optimizer
from nnx.parameters import FlatVector
from nnx.primitive_step import PrimitiveStep, layer_by_layer

if TYPE_CHECKING:
    from nnx.compiled import Program

Array = Any
# What NumPy does on an everyday machine, to foresee how long a run takes.
_FLOP_PER_SECOND, _STEP_SECONDS = 1e11, 2e-4
_PROGRAM_SECONDS = 1e-3  # to write a program, once Numba is there
_foreseen = [0.0]  # seconds of the runs of this process so far
_COMPILED_RULES = (GradientDescentRule, MomentumRule, RMSpropRule, AdamRule)
# A call of a compiled program cannot be interrupted: this many FLOP are well below a second.
_FLOP_PER_CALL, _STEPS_PER_CALL = 2e10, 5_000


class OptimizerState:
    """What an optimizer remembers from step to step.

    Attributes
    ----------
    gradient : FlatVector
        The last gradient, where `TrainingStep.gradients` computed it alone; a whole step may
        leave out what it does not need.
    vectors : dict
        The rule's state vectors, laid out as theta is.
    slots : dict
        The same as flat arrays.
    t : int
        Steps done.
    """

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self.gradient: FlatVector = model.zero_vector("d")
        self.vectors = {name: model.zero_vector() for name in optimizer.rule.slots}
        self.slots = {name: vector.flat for name, vector in self.vectors.items()}
        self.t = 0


class TrainingStep:
    """Forward, cost, backward and update for batches of m examples.

    Equal to `forward`, `cost`, `backward` and the optimizer's update, without their checks and
    without allocation: X and Y must be arrays of the network's device and dtype, in the form
    that `forward` and `backward` accept (labels as int64). On the CPU it is compiled where Numba
    is installed (extra `fast`) and all parts of the network are nnx's own.

    Parameters
    ----------
    model : Network
    m : int
        Examples in a batch.
    optimizer : str or Optimizer, optional
    state : OptimizerState, optional
        Shared by programs of different m.
    compiled : bool, optional
        True asks for the compiled program, False for the primitives; by default the compiled one
        where there is one.

    Raises
    ------
    DataError
        Where `compiled=True` cannot be had; the message says why.

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
        compiled: bool | None = None,
    ) -> None:
        self.model, self.m, self.backend = model, m, model.backend
        self.optimizer = _stepwise(optimizer)
        self.state = OptimizerState(model, self.optimizer) if state is None else state
        reason = "compiled=False" if compiled is False else why_not_compiled(model)
        if compiled and reason is not None:
            raise DataError(f"this step cannot be compiled: {reason}")
        self.compiled = reason is None
        self._workers = engine.count_workers() if self.compiled else 1
        self._programs: dict[tuple[bool, ...], Program] = {}
        dense = all(isinstance(layer, Dense) for layer in model.layers)
        self._primitives = PrimitiveStep(model, m) if dense and not self.compiled else None
        rule = self.optimizer.rule
        # The compiled update knows nnx's own rules, and does not wait for the gradient's norm.
        self._whole = (
            self.compiled and type(rule) in _COMPILED_RULES and self.optimizer.clip_norm is None
        )

    @on_its_device
    def __call__(
        self,
        X: Array,
        Y: Array,
        weights: Array | None = None,
        *,
        learning_rate: float | None = None,
        penalty_m: float | None = None,
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
        penalty_m : float, optional
            What the penalties are divided by, instead of m.

        Returns
        -------
        J : array ()
            On the device; reading it waits for the device.
        """
        rate = self.optimizer.schedule(0.0) if learning_rate is None else learning_rate
        if self._whole:
            self._check(X, Y, weights)
            rates = np.array([rate], np.float64)
            shares = None if penalty_m is None else np.array([self.m / penalty_m])
            return self._launch(X, Y, weights, None, rates, shares, update=True)
        J = self.gradients(X, Y, weights, penalty_m=penalty_m)
        self.update(rate)
        return J

    @on_its_device
    def run(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        rates: Array,
        *,
        order: Array | None = None,
        penalty_m: Array | None = None,
    ) -> Array:
        """Take a step for each learning rate, over one batch of m examples after the other.

        Parameters
        ----------
        X : array (n_x, m')
        Y : array (m',) or (n_y, m')
        weights : array, optional
            In the order of the batches, of mean one in each.
        rates : float64 array (steps,)
            The learning rates, on the host.
        order : int64 array, optional
            Positions of the examples, batch after batch; by default 0, 1, 2, ...
        penalty_m : float64 array (steps,), optional
            What the penalties of each batch are divided by, on the host; by default m. With the
            sums of the batches' example weights the cost is that of repeated examples.

        Returns
        -------
        total : array ()
            The sum of the batches' costs, each before its step.
        """
        total: Array = 0.0
        if self._whole:
            self._check(X, Y, weights, whole=False)
            flop = self._program(X, Y, weights, order is not None, True).plan.flop
            count = int(max(1, min(_FLOP_PER_CALL / max(flop, 1), _STEPS_PER_CALL)))
            for first in range(0, len(rates), count):
                few = rates[first : first + count]
                shares = None if penalty_m is None else self.m / penalty_m[first : first + count]
                part = slice(first * self.m, (first + len(few)) * self.m)
                x, y = (X, Y) if order is not None else (X[:, part], Y[..., part])
                total = total + self._launch(
                    x, y, _part(weights, part), _part(order, part), few, shares, update=True
                )
            return total
        gather = self.backend.gather
        for number, rate in enumerate(rates):
            part = slice(number * self.m, (number + 1) * self.m)
            x, y = X[:, part], Y[..., part]
            if order is not None:
                x, y = gather(X, order[part]), gather(Y, order[part])
            total = total + self(
                x,
                y,
                _part(weights, part),
                learning_rate=float(rate),
                penalty_m=None if penalty_m is None else float(penalty_m[number]),
            )
        return total

    @on_its_device
    def gradients(
        self,
        X: Array,
        Y: Array,
        weights: Array | None = None,
        *,
        penalty_m: float | None = None,
    ) -> Array:
        """Compute `state.gradient` and return J, leaving the parameters as they are."""
        self._check(X, Y, weights)
        model, gradient, t = self.model, self.state.gradient, self.state.t + 1
        if self.compiled:
            J = self._launch(X, Y, weights, None, np.zeros(1), None, update=False)
        elif self._primitives is not None:
            J = self._primitives.gradients(X, Y, weights, gradient, t)
        else:
            J = layer_by_layer(model, X, Y, weights, gradient, t)
        if model.penalty:
            part, xp = slice(gradient.penalised), model.backend.xp
            m = self.m if penalty_m is None else penalty_m
            J = J + model.penalty.cost(xp, model.theta[part], m)
            model.penalty.add_gradient(xp, model.theta[part], gradient.flat[part], m)
        return J

    @on_its_device
    def update(self, learning_rate: float) -> None:
        """Move the parameters along the last gradient of `gradients`."""
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

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other users of the cores quiet while many steps are taken."""
        blas = find_blas() if self.compiled else None
        if blas is None:
            yield
            return
        with blas.single_thread():
            yield

    def _check(self, X: Array, Y: Array, weights: Array | None, *, whole: bool = True) -> None:
        if X.shape[0] != self.model.n_x or (whole and X.shape[1] != self.m):
            raise ShapeError(
                f"this step is for X of shape ({self.model.n_x}, {self.m}); got {tuple(X.shape)}"
            )
        if not self.compiled:
            return
        # Compiled code reads memory as it was told to.
        m, dtype = X.shape[1], self.model.theta.dtype
        if Y.shape not in ((m,), (self.model.n_y, m)):
            raise ShapeError(f"Y must be for the {m} examples of X; got {tuple(Y.shape)}")
        if X.dtype != dtype or Y.dtype != (np.int64 if Y.ndim == 1 else dtype):
            raise DTypeError(
                f"this step is for {dtype} (labels: int64); got X {X.dtype} and Y {Y.dtype}"
            )
        if weights is not None and (weights.dtype != dtype or not weights.flags.c_contiguous):
            raise DTypeError(f"example weights must be contiguous {dtype}, got {weights.dtype}")

    def _program(
        self, X: Array, Y: Array, weights: Array | None, gathered: bool, update: bool
    ) -> Program:
        """The compiled program for arrays of this kind, made at its first use."""
        key = (Y.ndim == 1, weights is not None, gathered, update)
        if key not in self._programs:
            from nnx.compiled import Program

            rule: UpdateRule | None = self.optimizer.rule if update else None
            self._programs[key] = Program(
                self.model,
                self.m,
                self._workers,
                self.state.gradient,
                self.state.slots,
                rule,
                labels=key[0],
                weighted=key[1],
                gathered=gathered,
            )
        return self._programs[key]

    def _launch(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        order: Array | None,
        rates: Array,
        shares: Array | None,
        *,
        update: bool,
    ) -> Array:
        program = self._program(X, Y, weights, order is not None, update)
        X, Y = np.asfortranarray(X), np.asfortranarray(Y)
        losses, penalties = program.launch(
            X, Y, weights, order, rates, self.state.t + 1, shares=shares
        )
        if update:
            self.state.t += len(rates)
        return np.float64(losses / self.m + penalties)


def why_not_compiled(model: Model) -> str | None:
    """Return what keeps the steps of this network from being compiled; None where nothing does."""
    if type(model.backend) is not CpuBackend:
        return f"device {model.device!r} is not nnx's own CPU backend"
    reason = engine.why_unusable()
    if reason is not None:
        return reason
    from nnx.compiled import unsupported

    return unsupported(model)


def worth_compiling(model: Model, m: int, steps: int) -> bool | None:
    """Return what to pass as `compiled` for so many steps: False where Numba would load longer."""
    flop = 6 * m * sum(n * n_prev for n_prev, n in pairwise(model.n))
    seconds = steps * (flop / _FLOP_PER_SECOND + _STEP_SECONDS)
    loaded = worth_loading(seconds)
    return None if loaded and seconds >= _PROGRAM_SECONDS else False


def worth_loading(seconds: float) -> bool:
    """Return whether Numba is there or should be, where NumPy would take so long for a run."""
    # Many short runs in one process are worth it as much as a long one.
    _foreseen.append(_foreseen.pop() + seconds)
    return _foreseen[0] >= engine.seconds_to_load()


def _part(array: Array | None, part: slice) -> Array | None:
    return None if array is None else array[part]


def _stepwise(optimizer: str | Optimizer | None) -> Optimizer:
    found = get_optimizer(optimizer)
    if isinstance(found, Optimizer):
        return found
    raise DataError(f"{found} takes no single steps; pass it to Network.fit")
