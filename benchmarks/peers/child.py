"""The process of one contender: `python -m nnx.benchmarks.peers.child NAME`, JSON line by line.

It answers {"prepare": case} with the costs before its first steps, or of a fit; {"run": repeats}
with seconds; and anything that fails with {"error": text}.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nnx.benchmarks.children import serve
from nnx.benchmarks.peers.cases import Case
from nnx.benchmarks.peers.contenders import CONTENDERS, LIBRARIES, Contender, Products

_CHECKED_STEPS = 3


def prepare(name: str, case: Case) -> tuple[Contender, list[float]]:
    """Build the contender, and tell the costs by which its work is checked."""
    contender = CONTENDERS[name](case)
    if isinstance(contender, Products):
        return contender, []
    if case.kind == "fit":
        return contender, [contender.fit()]
    costs = []
    for _ in range(_CHECKED_STEPS):
        costs.append(contender.cost())
        contender.step()
    contender.wait()
    return contender, costs


def main() -> None:
    """Answer requests until the input ends."""
    name = sys.argv[1]
    contender: Contender | None = None

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal contender
        if "prepare" in request:
            contender = None  # frees the memory of the case before
            contender, costs = prepare(name, Case.from_json(request["prepare"]))
            return {"costs": costs, "version": _version(LIBRARIES[name])}
        assert contender is not None
        return {"seconds": contender.seconds(request["run"])}

    serve(answer)


def _version(library: str) -> str:
    try:
        return version({"nnx": "nnx-learn", "sklearn": "scikit-learn"}.get(library, library))
    except PackageNotFoundError:
        return "unknown"


if __name__ == "__main__":
    main()
