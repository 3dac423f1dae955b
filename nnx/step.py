"""One training step as a program: everything that can be settled before is settled once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nnx import step_arrays
from nnx.backends import engine
from nnx.backends.cpu import CpuBackend
from nnx.backends.engine.blas import find_blas
from nnx.backends.errors import DataError, ShapeError
from nnx.backends.floating import as_by_default
from nnx.backends.reference.updates import (
    AdamRule,
    GradientDescentRule,
    MomentumRule,
    RMSpropRule,
    UpdateRule,
    clip_norm,
)
from nnx.graph_step import GraphSteps, Shared, check_rule, is_whole, why_no_graph
from nnx.layers import Dense
from nnx.model import Model, on_its_device
from nnx.optimizers import Optimizer, get_optimizer
from nnx.parameters import FlatVector
from nnx.plan import Plan
from nnx.precision import SIXTEEN_BITS, check_device
from nnx.primitive_step import PrimitiveStep, layer_by_layer

if TYPE_CHECKING:
    from nnx.compiled import Program

Array = Any
# What NumPy does on an everyday machine, to foresee how long a run takes.
_FLOP_PER_SECOND, _STEP_SECONDS = 1e11, 2e-4
_WORTH_SECONDS = 0.5  # of a run through NumPy, for which Numba is loaded
_COMPILED_RULES = (GradientDescentRule, MomentumRule, RMSpropRule, AdamRule)
# A call of a compiled program cannot be interrupted: this many FLOP are well below a second.
_FLOP_PER_CALL, _STEPS_PER_CALL = 2e10, 5_000
_clip_norm = as_by_default(clip_norm)


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
    shared : Shared
        What the programs of a GPU have in common.
    """

    def __init__(self, model: Model, optimizer: Optimizer) -> None:
        self.gradient: FlatVector = model.zero_vector("d")
        self.vectors = {name: model.zero_vector() for name in optimizer.rule.slots}
        self.slots = {name: vector.flat for name, vector in self.vectors.items()}
        self.t = 0
        self.shared = Shared()


class TrainingStep:
    """Forward, cost, backward and update for batches of m examples.

    Equal to `forward`, `cost`, `backward` and the optimizer's update, without their checks and
    without allocation: X and Y must be arrays of the network's device and dtype, in the form
    that `forward` and `backward` accept (labels as int64). Where all parts of the network are
    nnx's own, it is compiled: for the CPU by Numba (extra `fast`), for a GPU into CUDA graphs
    whose products cuBLASLt computes (nvmath-python, in the extras `cuda12` and `cuda13`).

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
        Where `compiled=True`, or the network's precision, cannot be had; the message says why.

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
        check_device(model.precision, self.backend)
        if model.precision in SIXTEEN_BITS and reason is not None:
            raise DataError(f"precision={model.precision!r} needs a compiled step: {reason}")
        rule = self.optimizer.rule
        check_rule(model, rule)
        self.compiled = reason is None
        self._rate = np.zeros(1)  # of a step alone
        self._sizes = model.n_x, model.n_y, model.theta.dtype
        self._graphs: GraphSteps | None = None
        if self.compiled and not _on_cpu(model):
            self._graphs = GraphSteps(model, m, self.state, rule, self.optimizer.clip_norm)
        self._workers = engine.count_workers() if self.compiled and _on_cpu(model) else 1
        self._programs: dict[tuple[bool, ...], Program] = {}
        dense = all(isinstance(layer, Dense) for layer in model.layers)
        self._primitives = PrimitiveStep(model, m) if dense and not self.compiled else None
        # The compiled update knows nnx's own rules; on the CPU it has no norm of the gradient.
        if self._graphs is not None:
            self._whole = is_whole(rule)
        else:
            own = type(rule) in _COMPILED_RULES and self.optimizer.clip_norm is None
            self._whole = self.compiled and own

    @cached_property
    def _first_rate(self) -> float:
        return self.optimizer.schedule(0.0)

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
        rate = self._first_rate if learning_rate is None else learning_rate
        if self._takes_whole(penalty_m):
            X, Y, weights = self._checked(X, Y, weights)
            self._rate[0] = rate
            shares = None if penalty_m is None else np.array([self.m / float(penalty_m)])
            return self._launch(X, Y, weights, None, self._rate, shares, update=True)
        return self._in_parts(X, Y, weights, rate, penalty_m)

    @as_by_default
    def _in_parts(
        self, X: Array, Y: Array, weights: Array | None, rate: float, penalty_m: float | None
    ) -> Array:
        """The gradient, and then the update."""
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
        if self._takes_whole(penalty_m):
            X, Y, weights = self._checked(X, Y, weights, whole=False)
            if self._graphs is not None:
                return self._launch(X, Y, weights, order, rates, None, update=True)
            step_arrays.check_lengths(len(rates) * self.m, X, weights, order)
            rates = step_arrays.numbers(rates)
            order = None if order is None else step_arrays.positions(order)
            penalty_m = None if penalty_m is None else step_arrays.numbers(penalty_m)
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
        X, Y, weights = step_arrays.plain(X, Y, weights)
        order = None if order is None else step_arrays.plain_array("order", order)
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
        J = self.block_gradients(X, Y, weights)
        m = self.m if penalty_m is None else penalty_m
        return add_penalties(self.model, self.state.gradient, J, m)

    @on_its_device
    def block_gradients(
        self, X: Array, Y: Array, weights: Array | None = None, *, first: int = 0
    ) -> Array:
        """`gradients` without the penalties, for a block of a larger batch.

        first : int
            The position of the block's first example in its batch: its dropout masks are those
            that it would have there.
        """
        X, Y, weights = self._checked(X, Y, weights)
        model, gradient, t = self.model, self.state.gradient, self.state.t + 1
        if self.compiled:
            return self._launch(X, Y, weights, None, np.zeros(1), None, update=False, first=first)
        if self._primitives is not None:
            return self._primitives.gradients(X, Y, weights, gradient, t, first)
        return layer_by_layer(model, X, Y, weights, gradient, t, first)

    @on_its_device
    def update(self, learning_rate: float) -> None:
        """Move the parameters along the last gradient of `gradients`."""
        model, state = self.model, self.state
        if self.optimizer.clip_norm is not None:
            _clip_norm(model.backend.xp, state.gradient.flat, self.optimizer.clip_norm)
        state.t += 1
        model.backend.update(
            self.optimizer.rule,
            model.theta,
            state.gradient.flat,
            state.slots,
            learning_rate,
            state.t,
        )

    @on_its_device
    def profile(self, X: Array, Y: Array, steps: int = 1) -> tuple[Plan, Array]:
        """Take steps and tell the seconds of each operation in one of them.

        Compiled steps are timed from within: by their first worker, or launch by launch on a GPU,
        where short ones take longer than within a graph. Elsewhere the device is waited
        for after each primitive, and a primitive's time stands with the first of its operations.

        Returns
        -------
        plan : Plan
        seconds : float64 array (operations,)
            NaN for what has no time of its own.
        """
        rates = np.full(steps, self.optimizer.schedule(0.0))
        X, Y, _ = self._checked(X, Y, None)
        if self._graphs is not None:
            return self._profile_launches(X, Y, rates)
        if self.compiled:
            program = self._program(X, Y, None, False, self._whole)
            times = np.zeros(len(program.plan.operations), np.int64)
            for rate in rates:
                self._launch(
                    X, Y, None, None, np.array([rate]), None, update=self._whole, times=times
                )
                if not self._whole:
                    before = time.perf_counter()
                    self.update(float(rate))
                    times[program.plan.update] += int(1e9 * (time.perf_counter() - before))
            return program.plan, times / 1e9 / steps
        if self._primitives is None:
            raise DataError("a network with layers of one's own cannot be timed by parts")
        plan = Plan(self.model, self.m, gathered=False, update=True, slots=len(self.state.slots))
        seconds = np.full(len(plan.operations), np.nan)
        before = 0.0

        def lap(key: str) -> None:
            nonlocal before
            self.backend.synchronize()
            now, number = time.perf_counter(), plan.number(key)
            seconds[number] = np.nan_to_num(seconds[number]) + (now - before) / steps
            before = now

        for rate in rates:
            self.backend.synchronize()
            before = time.perf_counter()
            gradient, t = self.state.gradient, self.state.t + 1
            self._primitives.gradients(X, Y, None, gradient, t, lap=lap)
            self.update(float(rate))
            lap("update")
        return plan, seconds

    def _profile_launches(self, X: Array, Y: Array, rates: Array) -> tuple[Plan, Array]:
        """`profile` of a GPU's compiled steps."""
        assert self._graphs is not None
        times = []
        for rate in rates:
            plan, seconds = self._graphs.profile(X, Y, float(rate), update=self._whole)
            if self._whole:
                self.state.t += 1
            else:
                with self.backend.timer() as timer:
                    self.update(float(rate))
                seconds[plan.update] = timer.seconds
            times.append(seconds)
        return plan, np.mean(times, axis=0)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other users of the cores quiet while many steps are taken."""
        blas = find_blas() if self.compiled and self._graphs is None else None
        if blas is None:
            yield
            return
        with blas.single_thread():
            yield

    def _takes_whole(self, penalty_m: float | Array | None) -> bool:
        """Whether a step is one launch; graphs divide penalties by m and nothing else."""
        other_m = penalty_m is not None and bool(self.model.penalty)
        return self._whole and not (other_m and self._graphs is not None)

    def _checked(
        self, X: Array, Y: Array, weights: Array | None, *, whole: bool = True
    ) -> tuple[Array, Array, Array | None]:
        n_x, n_y, dtype = self._sizes
        if X.shape[0] != n_x or (whole and X.shape[1] != self.m):
            raise ShapeError(f"this step is for X of shape ({n_x}, {self.m}); got {tuple(X.shape)}")
        X, Y, weights = step_arrays.plain(X, Y, weights)
        if self.compiled:
            step_arrays.check(X, Y, weights, n_y, dtype)
            if whole and weights is not None:
                step_arrays.check_lengths(self.m, X, weights, None)
        return X, Y, weights

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
        times: Array | None = None,
        first: int = 0,
    ) -> Array:
        if self._graphs is not None:
            total = self._graphs.run(X, Y, weights, order, rates, update=update)
            if update:
                self.state.t += len(rates)
            return total
        program = self._program(X, Y, weights, order is not None, update)
        X, Y = step_arrays.in_columns(X), step_arrays.in_columns(Y)
        weights = step_arrays.in_row(weights)
        losses, penalties = program.launch(
            X, Y, weights, order, rates, self.state.t + 1, times, first, shares
        )
        if update:
            self.state.t += len(rates)
        return np.float64(losses / self.m + penalties)


def add_penalties(model: Model, gradient: FlatVector, J: Array, m: float) -> Array:
    """Add the penalties' gradient for a batch of m examples, and return J with their cost."""
    return _with_penalties(model, gradient, J, m) if model.penalty else J


@as_by_default
def _with_penalties(model: Model, gradient: FlatVector, J: Array, m: float) -> Array:
    part, xp = slice(gradient.penalised), model.backend.xp
    J = J + model.penalty.cost(xp, model.theta[part], m)
    model.penalty.add_gradient(xp, model.theta[part], gradient.flat[part], m)
    return J


def why_not_compiled(model: Model) -> str | None:
    """Return what keeps the steps of this network from being compiled; None where nothing does."""
    if not _on_cpu(model):
        return why_no_graph(model)
    reason = engine.why_unusable() or engine.why_not_loaded()
    if reason is not None:
        return reason
    from nnx.compiled import unsupported

    return unsupported(model)


def worth_compiling(model: Model, m: int, steps: int) -> bool | None:
    """Return what to pass as `compiled` for so many steps: False where Numba would load longer.

    The run alone decides, and nothing that the process did before: the same seed gives the same
    bits. `NNX_COMPILE=1` compiles every run.
    """
    if not _on_cpu(model):
        return None
    flop = 6 * m * sum(n * n_prev for n_prev, n in pairwise(model.n))
    seconds = steps * (flop / _FLOP_PER_SECOND + _STEP_SECONDS)
    return None if worth_loading(seconds) else False


def worth_loading(seconds: float) -> bool:
    """Return whether compiled code is wanted where NumPy would take so long for a run."""
    return seconds >= _WORTH_SECONDS or engine.always_wanted()


def _on_cpu(model: Model) -> bool:
    return type(model.backend) is CpuBackend


def _part(array: Array | None, part: slice) -> Array | None:
    return None if array is None else array[part]


def _stepwise(optimizer: str | Optimizer | None) -> Optimizer:
    found = get_optimizer(optimizer)
    if isinstance(found, Optimizer):
        return found
    raise DataError(f"{found} takes no single steps; pass it to Network.fit")
