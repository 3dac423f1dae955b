"""Training steps on a GPU as CUDA graphs: which program serves which arrays, and its memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nnx.backends.cuda import step_kernels
from nnx.backends.errors import DataError
from nnx.backends.reference.updates import UpdateRule
from nnx.graph_layout import Layout
from nnx.graph_program import GraphProgram, Memory, unsupported
from nnx.model import Model
from nnx.precision import SIXTEEN_BITS

if TYPE_CHECKING:
    from nnx.step import OptimizerState

Array = Any

FIRST_SCALE = 128.0  # of dZ[L], per example, in float16
# Batches that are read where they are: so many addresses get a program each.
_ADDRESSES = 2


def why_no_graph(model: Model) -> str | None:
    """Return what keeps the steps of this network from running as graphs; None where nothing."""
    return model.backend.why_no_graphs() or unsupported(model)


@dataclass
class Shared:
    """Device memory that the programs of one `OptimizerState` have in common.

    Attributes
    ----------
    work : uint8 array or None
        Holds nothing from step to step.
    copy : array or None
        Theta in 16 bits.
    scale : uint8 array or None
        float16's scale, how many steps it has served, and how many were left out.
    """

    work: Array | None = None
    copy: Array | None = None
    scale: Array | None = None

    def work_of(self, size: int, backend: Any) -> Array:
        """Return `size` bytes or more; older programs keep what they have."""
        if self.work is None or self.work.size < size:
            self.work = backend.empty((size,), "uint8")
        return self.work


@dataclass
class GraphSteps:
    """The steps of one network over m examples.

    Parameters
    ----------
    model : Network
    m : int
    state : OptimizerState
    rule : UpdateRule
    clip : float or None
    """

    model: Model
    m: int
    state: OptimizerState
    rule: UpdateRule
    clip: float | None
    _programs: dict[tuple[bool, bool, int | None], GraphProgram] = field(default_factory=dict)
    _addresses: set[int] = field(default_factory=set)

    def run(
        self,
        X: Array,
        Y: Array,
        weights: Array | None,
        order: Array | None,
        rates: Array,
        *,
        update: bool,
    ) -> Array:
        """Launch a step for each rate; return the sum of the costs, float64 (), on the device.

        Parameters
        ----------
        X : array (n_x, m')
        Y : array (m',) or (n_y, m')
        weights, order : array or None
            As `TrainingStep.run` has them.
        rates : float64 array (steps,)
            On the host.
        update : bool
            False leaves the parameters as they are.
        """
        backend, steps = self.model.backend, len(rates)
        X, Y = _by_columns(X), _by_columns(Y)
        order = None if order is None else backend.asarray(order, "int64")
        stream = backend.graphs()  # type: ignore[attr-defined]
        cost = backend.empty((), "float64")
        table = backend.asarray(rates, "float64") if steps > 1 else None
        address = self._where_it_is(X, order, steps)
        with stream.ordered():
            program = self._program(update, Y.ndim == 1, address)
            rate = float(rates[0]) if steps else 0.0
            program.begin(Y, weights, order, table, rate, self.state.t, cost, X)
            program.recording.replay(steps)
        return cost

    def _where_it_is(self, X: Array, order: Array | None, steps: int) -> int | None:
        """The address of a batch that products can read as it is, in one of few places."""
        model, address = self.model, int(X.data.ptr)
        copied = order is not None or steps != 1 or X.shape[1] != self.m
        if copied or model.precision in SIXTEEN_BITS:
            return None
        if model.n_x % model.backend.multiple or address % 16:
            return None
        if len(self._addresses) < _ADDRESSES:
            self._addresses.add(address)
        return address if address in self._addresses else None

    def _program(self, update: bool, labels: bool, X: int | None) -> GraphProgram:
        key = update, labels, X
        if key not in self._programs:
            model = self.model
            layout = Layout(model, self.m, copied=X is None)
            self._programs[key] = GraphProgram(
                model,
                layout,
                self._memory(layout),
                model.backend.graphs(),  # type: ignore[attr-defined]
                self.m,
                rule=self.rule if update else None,
                clip=self.clip if update else None,
                labels=labels,
                X=X,
            )
        return self._programs[key]

    def _memory(self, layout: Layout) -> Memory:
        backend, model, shared = self.model.backend, self.model, self.state.shared
        if model.precision in SIXTEEN_BITS and shared.copy is None:
            holder = step_kernels.HOLDERS[str(model.precision)]
            shared.copy = backend.empty((int(model.theta.size),), holder)
        if model.precision == "float16" and shared.scale is None:
            shared.scale = backend.asarray(step_kernels.first_scale(FIRST_SCALE))
        return Memory(
            shared.work_of(layout.work_bytes, backend),
            backend.zeros((layout.ledger_bytes,), "uint8"),
            self.state.gradient,
            self.state.slots,
            shared.copy,
            shared.scale,
        )


def _by_columns(x: Array) -> Array:
    """The array with each example contiguous."""
    return x if x.flags.f_contiguous else x.copy(order="F")


def check_rule(model: Model, rule: UpdateRule) -> None:
    """Refuse a rule of one's own in float16, whose steps are left out on the device.

    Raises
    ------
    DataError
    """
    if model.precision == "float16" and type(rule) not in step_kernels.RULES:
        raise DataError(
            f"precision='float16' needs one of nnx's update rules, and {rule.name} is none: "
            "use 'bfloat16'"
        )


def is_whole(rule: UpdateRule) -> bool:
    """Whether the update is part of the graph."""
    return type(rule) in step_kernels.RULES
