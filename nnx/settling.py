"""What `fit` leaves open is settled here, before any work: sizes, and where the data lies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from nnx.backends.errors import DataError, OutOfMemoryError
from nnx.batching import DEFAULT, Batching, automatic
from nnx.data import Opened
from nnx.inputs import check_number
from nnx.memory import Demand, bytes_of_example, demand, readable, step_kind
from nnx.model import Model
from nnx.optimizers import LBFGS, Optimizer
from nnx.step import worth_compiling

_USABLE = 0.9  # of what is free: memory in pieces cannot be used up
_LEAST_BLOCK = 256  # a smaller block is no reason to keep the data on the device

Size = int | Literal["auto"] | None


@dataclass(frozen=True)
class Sizes:
    """What `fit` was asked for; `Network.fit` documents each.

    Attributes
    ----------
    batch_size, block_size : int or str, optional
    data : str
    """

    batch_size: int | Literal["all", "auto"] | None = None
    block_size: Size = None
    data: str = "auto"

    def __post_init__(self) -> None:
        if self.batch_size not in (None, "all", "auto"):
            check_number("batch_size (a number, 'all' or 'auto')", self.batch_size, 1, whole=True)
        if self.block_size not in (None, "auto"):
            check_number("block_size (a number, or 'auto')", self.block_size, 1, whole=True)
        if self.data not in ("auto", "device", "stream"):
            raise DataError(f"data must be 'auto', 'device' or 'stream', got {self.data!r}")


@dataclass(frozen=True)
class Settled:
    """How a run goes.

    Attributes
    ----------
    batching : Batching
    compiled : bool or None
        For `TrainingStep`.
    stream, stream_validation : bool
        Whether the data stays on the host.
    demand : Demand
    kind : str
        Of the steps, from `step_kind`.
    """

    batching: Batching
    compiled: bool | None
    stream: bool
    stream_validation: bool
    demand: Demand
    kind: str

    def chosen(self) -> dict[str, int | str]:
        """The choices in the words of `fit`."""
        sizes = {"batch_size": self.batching.size, "block_size": self.batching.block}
        return {**sizes, "data": "stream" if self.stream else "device", "steps": self.kind}


class _Run(Protocol):
    @property
    def slots(self) -> int: ...

    optimizer: Optimizer | LBFGS


class Settler:
    """Settles the sizes of a run.

    Parameters
    ----------
    model : Network
    run : Run
        Its optimizer, and how many state vectors it still needs.
    asked : Sizes
    data : Opened
    validation : Opened or float, optional
    epochs : int
    weighted : bool
        Whether the examples have weights.
    """

    def __init__(
        self,
        model: Model,
        run: _Run,
        asked: Sizes,
        data: Opened,
        validation: Opened | float | None,
        *,
        epochs: int,
        weighted: bool,
    ) -> None:
        if asked.data == "stream" and not data.on_host:
            raise DataError(f"data='stream' is for X in host memory, and X is on {model.device}")
        self._model, self._asked, self._data = model, asked, data
        self._validation = validation if isinstance(validation, Opened) else None
        self._fraction = validation if isinstance(validation, float) else 0.0
        self._weighted = weighted
        self._whole = isinstance(run.optimizer, LBFGS)  # it takes all examples at once
        self._slots = run.slots
        # Where the fraction leaves nothing, splitting says so.
        self._m = max(1, data.m - round(self._fraction * data.m))
        size = self._first_size()
        steps = math.ceil(self._m / size) * epochs
        self._compiled = worth_compiling(model, size, steps)
        self._kind = step_kind(model, self._compiled)
        # Only now: what kind of step it is, a GPU finds out with memory that it then keeps.
        self._free = _free_bytes(model)
        if asked.block_size is not None and model.precision == "float16":
            raise DataError(
                "block_size needs steps that are never left out, and precision='float16' leaves "
                "out those whose gradient overflows: use 'bfloat16'"
            )

    def _first_size(self) -> int:
        asked = self._asked.batch_size
        if asked == "all" or self._whole:
            return self._m
        if asked == "auto":
            return automatic(self._m)
        return min(int(asked or DEFAULT), self._m)

    def settle(self) -> Settled:
        """Return how the run goes.

        Raises
        ------
        OutOfMemoryError
            Where it cannot fit.
        """
        size = self._first_size()
        asked_block = self._asked.block_size
        block = size if asked_block in (None, "auto") else min(int(asked_block or 0), size)
        run = self._run(size, block, *self._places(size, block))
        smaller: Iterator[Settled] = iter(())
        if asked_block == "auto":
            smaller = self._blocks(run)
        elif self._asked.batch_size == "auto":
            smaller = self._halves(run)
        while not self._fits(run):
            following = next(smaller, None)
            if following is None:
                break
            run = following
        if run.demand.missing > self._free:
            raise self.refusal(run)
        return run

    def _places(self, size: int, block: int) -> tuple[bool, bool]:
        """Whether the data, and the validation data, stay on the host."""
        data, validation = self._data, self._validation
        if self._asked.data != "auto":
            forced = self._asked.data == "stream"
            return forced, forced and validation is not None and validation.on_host
        if self._asked.batch_size == "auto" or self._asked.block_size == "auto":
            block = min(block, _LEAST_BLOCK)
            size = size if self._asked.block_size == "auto" else block

        def fits(stream: bool, stream_validation: bool) -> bool:
            run = self._run(size, block, stream, stream_validation)
            return self._fits(run)

        stream = data.on_host and data.copied(self._fraction) > 0 and not fits(False, True)
        if validation is None or not validation.on_host or not validation.needed:
            return stream, False
        return stream, not fits(stream, False)

    def _fits(self, run: Settled) -> bool:
        return run.demand.missing <= _USABLE * self._free

    def _run(self, size: int, block: int, stream: bool, stream_validation: bool) -> Settled:
        """A run of these sizes; streamed data comes in smaller slabs where memory is short."""
        batching = Batching(self._m, size, block)
        run = self._with(batching, stream, stream_validation)
        while stream and not self._fits(run) and batching.slab > 1:
            batching = replace(batching, slab=batching.slab // 8)
            run = self._with(batching, stream, stream_validation)
        return run

    def _with(self, batching: Batching, stream: bool, stream_validation: bool) -> Settled:
        row = bytes_of_example(self._model, self._data.labels)
        held = 0 if stream else self._data.copied(self._fraction)
        if self._validation is not None and not stream_validation:
            held += self._validation.needed
        if self._weighted:
            held += 3 * 8 * self._m  # as given, in the epoch's order, and with means of one
        if batching.size < self._m:
            held += 8 * self._m  # the order of the examples
        compiled, kind = self._compiled, self._kind
        if batching.blocked and kind == "graph" and _drops(self._model):
            # A graph's masks are those of a whole batch, not of a later block of one.
            compiled, kind = False, step_kind(self._model, False)
        need = demand(
            self._model,
            batching.sizes(),
            kind=kind,
            slots=self._slots,
            labels=self._data.labels,
            gathered=batching.size < self._m,
            blocked=batching.blocked,
            slab=batching.longest(row) if stream else 0,
            data=held,
        )
        return Settled(batching, compiled, stream, stream_validation, need, kind)

    def refusal(self, run: Settled, failed: str | None = None) -> OutOfMemoryError:
        """The error for a run that needs too much, or that failed in spite of what was foreseen."""
        size, block = run.batching.size, run.batching.block
        free = self._free = _free_bytes(self._model)

        def first_that_fits(options: Iterator[Settled]) -> Batching | None:
            return next((option.batching for option in options if self._fits(option)), None)

        in_batches = None
        if not self._whole:
            in_batches = first_that_fits(self._halves(run))
        in_blocks = first_that_fits(self._blocks(run))
        advice = []
        if in_batches is not None:
            advice.append(f"batch_size={in_batches.size} would fit")
        if in_blocks is not None:
            advice.append(f"block_size={in_blocks.block} would fit with the same results")
        if not run.stream and self._data.on_host and run.demand.data > run.demand.workspace:
            advice.append("data='stream' leaves the data on the host")
        what = f"batches of {size} examples" + (f" in blocks of {block}" if block < size else "")
        known = "an unknown amount is" if math.isinf(free) else f"{readable(int(free))} are"
        message = (
            f"training in {what} needs {readable(run.demand.missing)} more on "
            f"{self._model.device} ({run.demand}), and {known} free; "
            + ("; ".join(advice) or "no smaller batch would fit")
            + (f" (the allocation that failed: {failed})" if failed else "")
        )
        fitting = in_batches.size if in_batches is not None else None
        return OutOfMemoryError(
            message, run.demand.missing, 0 if math.isinf(free) else int(free), fitting
        )

    def _halves(self, run: Settled) -> Iterator[Settled]:
        size = run.batching.size
        while size > 1:
            size = -(-size // 2)
            yield self._run(size, min(size, run.batching.block), run.stream, run.stream_validation)

    def _blocks(self, run: Settled) -> Iterator[Settled]:
        block = run.batching.block
        while block > 1:
            block = -(-block // 2)
            yield self._run(run.batching.size, block, run.stream, run.stream_validation)


def _drops(model: Model) -> bool:
    return any(getattr(layer, "keep_prob", 1.0) < 1 for layer in model.layers)


def _free_bytes(model: Model) -> float:
    """Free memory of the device; infinity where it is not known."""
    free = model.backend.memory().free
    return math.inf if free is None else free
