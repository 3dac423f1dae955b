"""What only a GPU can tell about the fast floor of a training step, written down as JSON.

`python -m nnx.benchmarks.probe --device cuda --out DIR` prints what it finds and writes
DIR/probe.json ("nnx-probe/2"), each row as soon as it is found:

- habits: what epilogues do with zeros and NaN, whether a run repeats itself bit by bit, and whether
  products launched one by one and in a graph choose the same algorithm;
- smallest: a step of the smallest network, by how many of them a graph holds;
- products: for each dtype, epilogue and layout how many algorithms cuBLASLt proposes, the nodes
  that the product becomes in a graph (more than one: it is not really fused), its time, and that of
  a plain product;
- steps: for networks small and large and each precision the launches chosen, microseconds per step
  with 1 and with many steps in a graph, and of its plain products alone.
"""

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nnx.backends import Backend, get_backend
from nnx.benchmarks import questions
from nnx.benchmarks.environment import environment
from nnx.benchmarks.questions import EPILOGUES, LAYOUTS, OF_STEPS, PRECISIONS, Case, Probe
from nnx.benchmarks.record import write_json
from nnx.errors import DataError, NnxError

SCHEMA = "nnx-probe/2"
QUESTIONS = ("habits", "smallest", "products", "steps")
M, HIDDEN = (256, 4096, 65536), (512, 2048)
# (m, n_h, hidden layers), first those that tell most.
STEPS = (
    (256, 512, 1),
    (4096, 512, 1),
    (4096, 2048, 1),
    (256, 2048, 1),
    (256, 64, 1),
    (256, 512, 4),
    (65536, 512, 1),
    (65536, 2048, 1),
)


def cases(
    ask: Iterable[str] = QUESTIONS,
    shapes: Iterable[str] | None = None,
    m: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
) -> list[Case]:
    """All rows of a run, in their order.

    Parameters
    ----------
    ask : iterable of str
        Of `QUESTIONS`.
    shapes : iterable of str, optional
        Of the products; all `SHAPES` if left out.
    m, hidden : sequence of int, optional
        Of the steps, each with each and one hidden layer; `STEPS` if both are left out.
    """
    networks = STEPS if m is None and hidden is None else [
        (*pair, 1) for pair in itertools.product(m or M, hidden or HIDDEN)
    ]  # fmt: skip
    arguments: dict[str, list[tuple[Any, ...]]] = {
        "habits": [(habit, p) for habit, some in questions.HABITS.items() for p in some],
        "smallest": [(steps,) for steps in questions.GRAPHS],
        "products": [
            (precision, shape, layout, epilogue)
            for shape in (questions.SHAPES if shapes is None else shapes)
            for precision in PRECISIONS
            for layout in LAYOUTS
            for epilogue, layouts in EPILOGUES.items()
            if layout in layouts
        ],
        "steps": [(*network, precision) for network in networks for precision in OF_STEPS],
    }
    return [Case(question, row) for question in ask for row in arguments[question]]


def count(
    ask: Iterable[str] = QUESTIONS,
    shapes: Iterable[str] | None = None,
    m: Sequence[int] | None = None,
    hidden: Sequence[int] | None = None,
) -> int:
    """How many rows a run finds; arguments as for `cases`."""
    return len(cases(ask, shapes, m, hidden))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probe from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m nnx.benchmarks.probe",
        description="Ask a GPU what the fast floor of a training step depends on.",
        epilog="example: python -m nnx.benchmarks.probe --device cuda --ask steps --m 256 4096",
    )
    parser.add_argument("--device", default="cuda", help='the GPU to ask (default "cuda")')
    parser.add_argument("--ask", nargs="+", default=QUESTIONS, choices=QUESTIONS)
    shapes = tuple(questions.SHAPES)
    parser.add_argument("--shape", nargs="+", choices=shapes, help="of the products")
    parser.add_argument("--m", type=int, nargs="+", help="examples of the steps")
    parser.add_argument("--hidden", type=int, nargs="+", help="hidden units of the steps")
    parser.add_argument("--out", default="bench-out", type=Path, help="folder for the record")
    parser.add_argument("--record", default="probe.json", help="its name (probe.json)")
    options = parser.parse_args(arguments)
    try:
        for name in ("m", "hidden"):
            if min(getattr(options, name) or (1,)) < 1:
                raise DataError(f"--{name}: wanted whole numbers from 1 on")
        asked = cases(options.ask, options.shape, options.m, options.hidden)
        return _report(get_backend(options.device), options.out / options.record, asked)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"nnx: stopped; what was found so far is in {options.out}", file=sys.stderr)
        return 130


def _report(backend: Backend, path: Path, asked: Sequence[Case]) -> int:
    """Ask everything, print and write after each answer; return the exit status.

    An answer that fails is written down as such, and the others are still asked for.
    """
    reason = backend.why_no_graphs()
    if reason is not None:
        raise DataError(f"there is no fast floor to ask about: {reason}")
    with backend.active():
        probe = Probe(backend)
        record: dict[str, Any] = {
            "schema": SCHEMA,
            "environment": environment([backend.device]),
            "asked": len(asked),
            "failed": {},
        }
        for case in asked:
            try:
                row = probe.answer(case)
            except Exception as error:
                record["failed"][str(case)] = f"{type(error).__name__}: {error}"
                print(f"{case}: failed: {record['failed'][str(case)]}", flush=True)
            else:
                _enter(record, case, row)
                print(_line(case, row), flush=True)
            write_json(path, record)
    print(f"record: {path}")
    return 1 if record["failed"] else 0


def _enter(record: dict[str, Any], case: Case, row: Any) -> None:
    """Put a row into its place: a table by habit and precision, or a list."""
    if case.question == "habits":
        habit, precision = case.arguments
        record.setdefault("habits", {}).setdefault(habit, {})[precision] = row
    else:
        record.setdefault(case.question, []).append(row)


def _line(case: Case, row: Any) -> str:
    """What was found, in a line."""
    if case.question == "habits":
        return f"{case}: {row}"
    if case.question == "smallest":
        return f"smallest {row['steps_per_graph']:4} steps: {row['us']:8.1f} us"
    if case.question == "products":
        if row["ms"] is None:
            return f"{case}: no algorithm"
        found = f"{row['ms']:.4f} ms, {row['algorithms']} algorithms, nodes: {row['nodes']}"
        return f"{case}: {found}"
    return (
        f"steps m {row['m']:6} n_h {row['n_h']:5} x {row['depth']} {row['precision']:9}"
        f"{row['us']:10.1f} us, products alone {row['us_products']:10.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
