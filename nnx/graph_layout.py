"""Where the buffers of a graph's step lie in one piece of device memory, and how much that is.

Inside the workspace every n[l] is rounded up to a multiple of 8 (`Backend.multiple`), which is what
tensor cores want; the rows added are zero, and so are the rows and columns that the flat vector
adds to W[l]. One A[l] is kept per layer; dZ[l] takes its place on the way back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nnx.backends.cuda import step_kernels
from nnx.backends.reference.activations import Activation
from nnx.backends.reference.updates import UpdateRule
from nnx.layers import Dense
from nnx.model import Model
from nnx.parameters import round_up
from nnx.precision import SIXTEEN_BITS, numbers

_ALIGN = 256  # bytes
_CHUNKS = 64  # parts of the examples that a bias gradient adds up side by side


class Buffer(NamedTuple):
    """One buffer: where it begins in its memory, how many elements it has, and their dtype."""

    start: int
    size: int
    dtype: str


def needs_scratch(g: Activation) -> bool:
    """Whether dA[l] cannot be written over A[l], because the derivative still reads it."""
    return g.derivative_from == "A" and g.builtin not in ("identity", "relu")


class Layout:
    """The buffers of a step over m examples, before any memory is taken.

    Parameters
    ----------
    model : Network
        Of dense layers.
    m : int
    copied : bool
        Whether each batch is copied into A[0], rather than read where it is.

    Attributes
    ----------
    ld : tuple of int
        The n[l], rounded up.
    work : dict of str to Buffer
        What holds nothing from step to step, so that programs can share it.
    ledger : dict of str to Buffer
        What a program keeps to itself; zeros at the start.
    work_bytes, ledger_bytes : int
    """

    def __init__(self, model: Model, m: int, *, copied: bool) -> None:
        layers = [layer for layer in model.layers if isinstance(layer, Dense)]
        self.ld = tuple(round_up(n, model.backend.multiple) for n in model.n)
        self.work: dict[str, Buffer] = {}
        self.ledger: dict[str, Buffer] = {}
        self.work_bytes = self.ledger_bytes = 0
        master, storage = model.dtype, numbers(model.precision, model.dtype).storage
        L, scratch = model.L, 0
        for number in range(1, L):
            g, size = layers[number - 1].g, m * self.ld[number]
            self._add_work(f"A{number}", size, storage)
            if g.derivative_from == "Z":
                self._add_work(f"Z{number}", size, storage)
            if g.builtin == "relu":
                self._add_work(f"mask{number}", m * self.mask_ld(number) // 8, "uint8")
            scratch = max(scratch, size if needs_scratch(g) else 0)
        self._add_work("scratch", scratch, storage)
        self._add_work(f"Z{L}", m * self.ld[L], master)
        if storage != master:
            self._add_work(f"dZ{L}", m * self.ld[L], storage)
        # Last, so that programs with and without it can share the rest.
        self._add_work("A0", m * self.ld[0] if copied else 0, storage)
        widest = max(self.ld)
        self.chunks = max(1, min(_CHUNKS, m // 64))
        self._add_ledger("state", step_kernels.STATE_BYTES, "uint8")
        self._add_ledger("done", 1 + -(-widest // 32), "uint32")
        self._add_ledger("partial", step_kernels.SUM_BLOCKS, "float64")
        self._add_ledger("sums", self.chunks * widest, master)

    def mask_ld(self, number: int) -> int:
        """The leading dimension of the ReLU mask of layer l, in bits."""
        return round_up(self.ld[number], 128)

    def _add_work(self, name: str, count: int, dtype: str) -> None:
        self.work_bytes = _add(self.work, self.work_bytes, name, count, dtype)

    def _add_ledger(self, name: str, count: int, dtype: str) -> None:
        self.ledger_bytes = _add(self.ledger, self.ledger_bytes, name, count, dtype)


def _add(buffers: dict[str, Buffer], end: int, name: str, count: int, dtype: str) -> int:
    """Append a buffer; return where the next one can begin."""
    holder = step_kernels.HOLDERS.get(dtype, dtype)
    buffers[name] = Buffer(end, count, holder)
    return round_up(end + count * np.dtype(holder).itemsize, _ALIGN)


def step_bytes(model: Model, m: int, rule: UpdateRule | None = None, *, copied: bool = True) -> int:
    """Return how much device memory training takes beside the parameters and the data.

    Nothing is allocated. Counted are the workspace of a step over m examples, the gradient, the
    state of the optimizer, the 16-bit copy of the parameters, and cuBLASLt's workspace, which all
    steps of a process share, while nothing has taken it.

    Parameters
    ----------
    model : Network
        On a GPU, of dense layers.
    m : int
        Examples in a batch.
    rule : UpdateRule, optional
        That of the optimizer, by default one without state.
    copied : bool
        Whether batches are picked out of the data; a whole batch in float32 or float64 is read
        where it is.
    """
    layout = Layout(model, m, copied=copied)
    vector = int(model.theta.size) * np.dtype(model.dtype).itemsize
    slots = len(rule.slots) if rule is not None else 0
    low = int(model.theta.size) * 2 if model.precision in SIXTEEN_BITS else 0
    library: int = model.backend.graphs_bytes  # type: ignore[attr-defined]
    return layout.work_bytes + layout.ledger_bytes + (1 + slots) * vector + low + library
