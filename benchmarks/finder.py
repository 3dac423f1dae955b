"""Finds what a record holds beside its cells, part after part.

On the CPU each finding has a process of its own (`python -m nnx.benchmarks.finder`), so that
neither memory nor threads of what was done before count; see `nnx.benchmarks.contender`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nnx.benchmarks.children import Child, serve
from nnx.benchmarks.energy import NoCounterError, measure_energy
from nnx.benchmarks.fields import Field
from nnx.benchmarks.findings import (
    Energy,
    Findings,
    LoopTime,
    MemoryUse,
    Operations,
    Peak,
    Shape,
)
from nnx.benchmarks.loops import measure_loops
from nnx.benchmarks.memory_use import measure_memory
from nnx.benchmarks.operations import measure_operations
from nnx.benchmarks.peaks import measure_peaks
from nnx.benchmarks.settings import CLOSER_SHARE, DTYPES, Settings

_READERS: Mapping[str, Callable[[Field], Any]] = {
    "peaks": Peak.read,
    "operations": Operations.read,
    "memory": MemoryUse.read,
    "vectorized": LoopTime.read,
    "energy": Energy.read,
}
_ENERGY_SECONDS = 5.0
# (m, n_h) with one hidden layer: small and large, launch-bound and product-bound.
_OPERATIONS = ((64, 64), (1024, 64), (1024, 512), (8192, 512))
_MEMORY = ((1024, 64), (1024, 2048), (16384, 64), (16384, 1024), (65536, 256))
_FEW = ((64, 64),)


@dataclass(frozen=True)
class Task:
    """One thing to find.

    Attributes
    ----------
    part : str
        Of `PARTS`.
    device : str
    arguments : tuple
        What its function takes; each `Shape` is written as its fields.
    """

    part: str
    device: str
    arguments: tuple[Any, ...]


def tasks(settings: Settings) -> list[Task]:
    """List what is to be found, in the order of the parts."""
    dtype, optimizer = settings.dtypes[0], settings.optimizer
    operations, memory = (_OPERATIONS, _MEMORY) if settings.thorough else (_FEW, _FEW)
    dtypes, energy = (DTYPES, _ENERGY_SECONDS) if settings.thorough else ((dtype,), 1.0)
    found: list[Task] = []
    for device in settings.devices:

        def shapes(*pairs: tuple[int, int], device: str = device) -> list[dict[str, Any]]:
            return [Shape(device, dtype, m, n_h, 1).to_json() for m, n_h in pairs]

        by_part: dict[str, list[tuple[Any, ...]]] = {
            "peaks": [(device, dtypes)],
            "operations": [(shapes(*operations), optimizer)],
            # One each: what one network leaves behind would not be seen to be taken by the next.
            "memory": [(shapes(one), optimizer) for one in memory],
            "vectorized": [(device, settings.thorough)],
            "energy": [(shapes(*operations[-2:]), optimizer, energy)],
        }
        found += [
            Task(part, device, arguments)
            for part, all_arguments in by_part.items()
            if part in settings.parts
            for arguments in all_arguments
        ]
    return found


def find(settings: Settings, done: Callable[[Task], None]) -> Findings:
    """Find all that `settings` asks for.

    Once the share of `parts_seconds` has passed, no further task begins on that device; what is
    left out is told in the reasons. `done` is called after each task.
    """
    seconds = settings.parts_seconds * (1 - CLOSER_SHARE)
    begun: dict[str, float] = {}
    found: dict[str, list[Any]] = {part: [] for part in _READERS}
    reasons: dict[str, str] = {}
    for task in tasks(settings):
        start = begun.setdefault(task.device, time.perf_counter())
        if time.perf_counter() - start > seconds:
            reasons.setdefault(task.part, f"{task.device}: the {seconds:.0f} s for it were over")
        else:
            for one in _answers(task, reasons):
                found[task.part].append(one)
        done(task)
    return Findings(**{part: tuple(all_) for part, all_ in found.items()}, reasons=reasons)


def _answers(task: Task, reasons: dict[str, str]) -> Iterator[Any]:
    """Do one task; where it fails, note why."""
    request = {"part": task.part, "arguments": task.arguments}
    if task.device == "cpu":
        child = Child("nnx.benchmarks.finder")
        try:
            answer = child.ask(request)
        finally:
            child.close()
    else:
        try:
            answer = _answer(request)
        except Exception as error:  # whatever a GPU's library raises: the rest is still wanted
            answer = {"error": str(error)}
    if "error" in answer:
        reasons.setdefault(task.part, f"{task.device}: {answer['error']}")
        return
    for plain in answer["found"]:
        yield _READERS[task.part](Field("a finding", task.part, plain))


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Find what is asked for: {"part", "arguments"} -> {"found": [...]}."""
    part, arguments = request["part"], request["arguments"]
    if part in ("operations", "memory", "energy"):
        shapes = [Shape.read(Field("a request", "shape", one)) for one in arguments[0]]
        arguments = (shapes, *arguments[1:])
    finders: Mapping[str, Callable[..., Any]] = {
        "peaks": measure_peaks,
        "operations": measure_operations,
        "memory": measure_memory,
        "vectorized": measure_loops,
        "energy": measure_energy,
    }
    try:
        found = finders[part](*arguments)
    except NoCounterError as error:
        return {"error": str(error)}
    return {"found": [one.to_json() for one in found]}


if __name__ == "__main__":
    serve(_answer)
