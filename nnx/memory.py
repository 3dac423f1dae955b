"""What a training run holds in memory, known before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

import numpy as np

from nnx.backends import engine
from nnx.backends.cpu import CpuBackend
from nnx.backends.errors import OutOfMemoryError
from nnx.graph_layout import step_bytes
from nnx.layers import Dense
from nnx.model import Model
from nnx.sharing import Sharing
from nnx.step import why_not_compiled

# Matrices of a layer that the formulas hold at once: of the CPU's own ReLU, and of any other.
_FEW, _MANY = 1, 6
_MASK = 40  # bytes of each element while the reference's dropout draws its mask


@dataclass(frozen=True)
class Demand:
    """Bytes on the device.

    Attributes
    ----------
    parameters, gradient, state : int
        theta; the gradient, twice where it is added up in blocks; the optimizer's vectors.
    workspace : int
        What the steps work in: activations and what derives from them.
    batch : int
        The batch that is picked out of the data, or the slabs of streamed data.
    data : int
        What is brought to the device: X, Y, weights and the order of the examples.
    undo : int
        On the CPU, the copy of theta from before the first epoch; for a GPU it is on the host.
    """

    parameters: int
    gradient: int
    state: int
    workspace: int
    batch: int
    data: int
    undo: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.missing + self.parameters

    @property
    def missing(self) -> int:
        """What is still to be allocated: the network has its parameters already."""
        return self.gradient + self.state + self.workspace + self.batch + self.data + self.undo

    def __str__(self) -> str:
        parts = ((field.name, getattr(self, field.name)) for field in fields(self))
        return ", ".join(f"{name} {readable(size)}" for name, size in parts if size)


def step_kind(model: Model, compiled: bool | None = None) -> str:
    """How `TrainingStep` will run with this argument: a key of `WORKSPACE`."""
    if compiled is not False and why_not_compiled(model) is None:
        return "compiled" if type(model.backend) is CpuBackend else "graph"
    dense = all(isinstance(layer, Dense) for layer in model.layers)
    return "primitives" if dense else "layers"


def _keeps_Z(model: Model) -> list[bool]:
    """For each layer whether g' is written from Z; the output's is part of the loss."""
    needs = [getattr(getattr(la, "g", None), "derivative_from", "Z") == "Z" for la in model.layers]
    return [*needs[:-1], False]


def _compiled(model: Model, m: int) -> int:
    sharing = Sharing(model.n, m, engine.count_workers(), int(model.theta.shape[0]))
    return sharing.numbers(keeps_Z=_keeps_Z(model)) * _itemsize(model)


def _primitives(model: Model, m: int) -> int:
    """A[l] and dZ[l], Z[l] where it is kept, A[l] after dropout, and what the formulas hold."""
    keeps_Z = [*_keeps_Z(model)[:-1], True]
    dropped = [getattr(layer, "keep_prob", 1.0) < 1 for layer in model.layers]
    units = sum(n * (2 + z + d) for n, z, d in zip(model.n[1:], keeps_Z, dropped, strict=True))
    return m * units * _itemsize(model) + _temporary(model, m)


def _layers(model: Model, m: int) -> int:
    """The caches of the readable floor, A and Z, and dA; layers of one's own may hold more."""
    return 3 * m * sum(model.n[1:]) * _itemsize(model) + _temporary(model, m)


def _temporary(model: Model, m: int) -> int:
    """What one formula holds at most beside its operands."""
    most = 0
    for number, layer in enumerate(model.layers, 1):
        g = getattr(getattr(layer, "g", None), "builtin", None)
        if g is not None and model.backend.fused:
            continue
        few = g in ("relu", "identity") and number < model.L
        each = (_FEW if few else _MANY) * _itemsize(model)
        if getattr(layer, "keep_prob", 1.0) < 1:
            each = max(each, _MASK)
        most = max(most, m * model.n[number] * each)
    return most


def _graph(model: Model, m: int) -> int:
    """All of `step_bytes` but the gradient."""
    return step_bytes(model, m) - int(model.theta.shape[0]) * _itemsize(model)


# For each kind of step the bytes of a step over m examples, beside theta, gradient, state, batch.
WORKSPACE: dict[str, Callable[[Model, int], int]] = {
    "compiled": _compiled,
    "graph": _graph,
    "primitives": _primitives,
    "layers": _layers,
}


def demand(
    model: Model,
    sizes: Iterable[int],
    *,
    kind: str,
    slots: int,
    labels: bool,
    gathered: bool = True,
    blocked: bool = False,
    slab: int = 0,
    data: int = 0,
) -> Demand:
    """Return what steps over batches (or blocks) of these sizes hold.

    Parameters
    ----------
    model : Network
    sizes : iterable of int
        Each has a step of its own: that of a whole batch, and of what is left over.
    kind : str
        From `step_kind`.
    slots : int
        State vectors of the optimizer.
    labels : bool
        Whether Y holds labels (m,).
    gathered : bool
        Whether a batch is picked out of the data.
    blocked : bool
        Whether the gradient is added up in blocks.
    slab : int
        Examples in a slab of streamed data; with none, the data is on the device.
    data : int
        Bytes of what is brought to the device.
    """
    theta = int(model.theta.shape[0]) * _itemsize(model)
    sizes = list(sizes)
    example = bytes_of_example(model, labels)
    # A program has its own place for a gathered batch, a graph's is part of its workspace; the
    # others give theirs back.
    together = {"compiled": sum(sizes), "graph": 0}.get(kind, max(sizes))
    batch = example * (slab * model.backend.slabs if slab else together if gathered else 0)
    each = [WORKSPACE[kind](model, m) for m in sizes]
    workspace = max(each) if kind == "graph" else sum(each)  # graphs share theirs
    gradient = theta * (2 if blocked else 1)
    undo = theta if model.backend.owns(np.empty(0)) else 0
    return Demand(theta, gradient, theta * slots, workspace, batch, data, undo)


def bytes_of_example(model: Model, labels: bool) -> int:
    """X and Y of one example, as a step takes them."""
    return model.n_x * _itemsize(model) + (8 if labels else model.n_y * _itemsize(model))


def _itemsize(model: Model) -> int:
    return np.dtype(model.dtype).itemsize


def attempt(model: Model, work: Callable[[], None]) -> str | None:
    """Do the work; where memory runs out, give back what it had and return what failed.

    Nothing refers to the failure's frames any more, so that all they held is free.
    """
    failed = None
    try:
        work()
    except OutOfMemoryError:
        raise
    except Exception as error:
        if not model.backend.is_out_of_memory(error):
            raise
        failed = str(error) or type(error).__name__
    if failed is not None:
        model.backend.release()
    return failed


def readable(size: int) -> str:
    """Bytes in words."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:,.0f} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"
