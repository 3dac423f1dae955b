"""The contenders of a sweep: on the CPU each in a process of its own, elsewhere in this one.

`python -m nnx.benchmarks.contender` is that process; see `nnx.benchmarks.children`. A GPU's work
leaves no threads behind, and one process needs its memory for one CUDA context alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from nnx.backends import get_backend
from nnx.benchmarks.calls import make_call
from nnx.benchmarks.cell import LIMITS, NETWORK
from nnx.benchmarks.children import Child, serve
from nnx.benchmarks.settings import Point
from nnx.benchmarks.timing import Contender, Local
from nnx.errors import DataError

_OWN_PROCESS = "cpu"


class Contenders:
    """Those who are timed on one device.

    Parameters
    ----------
    device : str
    optimizer : str
        Of the training steps.
    seed : int
    """

    def __init__(self, device: str, optimizer: str, seed: int) -> None:
        self._settings: dict[str, Any] = {"optimizer": optimizer, "seed": seed}
        self._children: dict[str, Child] = {}
        if device == _OWN_PROCESS:
            module = "nnx.benchmarks.contender"
            names = (NETWORK, *LIMITS.values())
            self._children = {name: Child(module, rests=True) for name in names}
        self._local: dict[str, Contender] = {}

    def prepare(self, point: Point, names: Sequence[str]) -> dict[str, Contender]:
        """Have these contenders build the work of `point`, instead of what they had.

        Raises
        ------
        MemoryError
        """
        if not self._children:
            self._local.clear()  # frees the memory of the point before
            backend = get_backend(point.device)
            for name in names:
                self._local[name] = Local(backend, make_call(name, point, **self._settings))
            return dict(self._local)
        task = {"point": asdict(point), **self._settings}
        for name in names:
            self._children[name].begin({"prepare": {"name": name, **task}})
        # Every answer is taken, so that none is left for the next question.
        answers = [self._children[name].answer() for name in names]
        for name, answer in zip(names, answers, strict=True):
            _check(name, answer)
        return {name: _Remote(name, self._children[name]) for name in names}

    def close(self) -> None:
        """End the processes."""
        for child in self._children.values():
            child.close()


@contextmanager
def contenders_on(device: str, optimizer: str, seed: int) -> Iterator[Contenders]:
    """The contenders on one device, whose processes end with the block."""
    contenders = Contenders(device, optimizer, seed)
    try:
        yield contenders
    finally:
        contenders.close()


class _Remote:
    """A contender in a process of its own."""

    def __init__(self, name: str, child: Child) -> None:
        self._name, self._child = name, child

    def calibrate(self, sample_seconds: float) -> int:
        """Return the calls that fill a sample."""
        answer = self._child.ask({"calibrate": sample_seconds})
        return int(_check(self._name, answer)["repeats"])

    def seconds(self, repeats: int, warm_seconds: float) -> float:
        """Take a sample, and return the seconds of one call."""
        answer = self._child.ask({"repeats": repeats, "warm_seconds": warm_seconds})
        return float(_check(self._name, answer)["seconds"])


def _check(name: str, answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer unless it is a failure."""
    if "error" in answer:
        kind = MemoryError if answer.get("memory") else DataError
        raise kind(f"{name}: {answer['error']}")
    return answer


class _Server:
    """What the process answers."""

    def __init__(self) -> None:
        self._contender: Contender | None = None

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer "prepare" (a point), "calibrate" (seconds of a sample) or "repeats"."""
        if "prepare" in request:
            self._contender = None  # frees the memory of the point before
            task = request["prepare"]
            point = Point(**task.pop("point"))
            call = make_call(point=point, **task)
            self._contender = Local(get_backend(point.device), call)
            return {}
        assert self._contender is not None
        if "calibrate" in request:
            return {"repeats": self._contender.calibrate(request["calibrate"])}
        return {"seconds": self._contender.seconds(request["repeats"], request["warm_seconds"])}


if __name__ == "__main__":
    serve(_Server())
