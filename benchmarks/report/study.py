"""A scale study as its charts want it: errors by contender and m, and what each is called."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nnx.benchmarks.plots import MARKERS, PALETTE
from nnx.benchmarks.report.canvas import DASHES, Mark, mark
from nnx.benchmarks.report.sources import Source
from nnx.benchmarks.report.wording import figures, percent

NETWORK, TRADITIONAL = "network", "traditional"
# Networks in cool colours, from light to dark with their size; traditional algorithms in warm ones.
_COOL, _WARM = (5, 2, 0), (3, 1, 4)


@dataclass(frozen=True)
class Point:
    """The test errors of one contender at one m, over the seeds."""

    m: int
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return math.fsum(self.errors) / len(self.errors)

    @property
    def low(self) -> float:
        """The least error of a seed."""
        return min(self.errors)

    @property
    def high(self) -> float:
        """The largest error of a seed."""
        return max(self.errors)


@dataclass(frozen=True)
class Study:
    """One record of `nnx scale`."""

    source: Source

    @property
    def plain(self) -> Mapping[str, Any]:
        """The record as it lies in the file."""
        return self.source.plain

    @property
    def task(self) -> Mapping[str, Any]:
        """What was learned."""
        found: Mapping[str, Any] = self.plain["task"]
        return found

    @property
    def classifies(self) -> bool:
        """Whether the error is a share of examples, so that 1 - error is an accuracy."""
        return bool(self.task["metric"] == "error rate")

    @cached_property
    def cells(self) -> list[Mapping[str, Any]]:
        """The cells that ended with a result."""
        return [cell for cell in self.plain["cells"] if cell["status"] == "done"]

    @cached_property
    def curves(self) -> dict[str, list[Point]]:
        """Points by contender: networks from the smallest, then traditional algorithms."""
        known: dict[str, dict[int, list[float]]] = {}
        for cell in self.cells:
            by_m = known.setdefault(cell["contender"], {})
            by_m.setdefault(cell["m"], []).append(float(cell["test_error"]))
        order = {
            name: (kind != NETWORK, size)
            for name, (kind, size) in self._kinds.items()
            if name in known
        }
        return {
            name: [Point(m, tuple(errors)) for m, errors in sorted(known[name].items())]
            for name in sorted(order, key=order.__getitem__)
        }

    @cached_property
    def _kinds(self) -> dict[str, tuple[str, int]]:
        return {c["contender"]: (c["kind"], c["parameters"] or 0) for c in self.cells}

    @property
    def networks(self) -> list[str]:
        """Names of the networks, from the smallest."""
        return [name for name in self.curves if self._kinds[name][0] == NETWORK]

    @property
    def traditional(self) -> list[str]:
        """Names of the traditional algorithms."""
        return [name for name in self.curves if self._kinds[name][0] == TRADITIONAL]

    @cached_property
    def all_m(self) -> list[int]:
        """Every m with a result."""
        return sorted({point.m for points in self.curves.values() for point in points})

    @cached_property
    def looks(self) -> dict[str, Mark]:
        """Colour, marker and dashes of each contender."""
        found: dict[str, Mark] = {}
        few = len(self.networks) <= len(_COOL)
        for number, name in enumerate(self.networks):
            index = _COOL[number + len(_COOL) - len(self.networks)] if few else number
            look = mark(number, len(self.networks))
            found[name] = Mark(PALETTE[index], MARKERS[number]) if few else look
        for number, name in enumerate(self.traditional):
            index, dashes = _WARM[number % len(_WARM)], DASHES[1 + number % (len(DASHES) - 1)]
            found[name] = Mark(PALETTE[index], MARKERS[3 + number % 4], dashes)
        return found

    def parameters(self, name: str) -> int:
        """Number of parameters of a contender; 0 where it is not told."""
        return self._kinds[name][1]

    def name(self, contender: str) -> str:
        """A contender in full: "large network, 784-512-512-10"."""
        if contender not in self.networks:
            return contender
        hidden = next(c["hidden"] for c in self.cells if c["contender"] == contender)
        sizes = "-".join(map(str, (self.task["n_x"], *hidden, self.task["n_y"])))
        return f"{_network(contender)} ({sizes})"

    def at(self, contender: str, m: int) -> Point | None:
        """The point of a contender at m."""
        return next((point for point in self.curves[contender] if point.m == m), None)

    def quality(self, error: float) -> str:
        """An error as the reader wants it: "98.2 %" right, or the squared error itself."""
        return percent(1 - error) if self.classifies else figures(error)

    def seeds(self) -> int:
        """Number of seeds."""
        return len({cell["seed"] for cell in self.cells})


def _network(contender: str) -> str:
    return contender if contender.endswith("network") else f"{contender} network"


def short_name(contender: str, networks: Sequence[str]) -> str:
    """A contender without its sizes: "large network"."""
    return _network(contender) if contender in networks else contender
