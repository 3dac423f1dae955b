"""`python -m nnx.benchmarks.teacher_law --out FOLDER`: run the study, or go on with it."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnx.backends.host import usable_cores
from nnx.benchmarks.scale.store import CellStore
from nnx.benchmarks.teacher_law import (
    Settings,
    TeacherLaw,
    read_teacher_law,
    run_teacher_law,
    write_teacher_law,
)
from nnx.benchmarks.teacher_law.cell import Key, keys_of
from nnx.benchmarks.teacher_law.record import NAME
from nnx.errors import NnxError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m nnx.benchmarks.teacher_law",
        description="How the loss of students of a random teacher falls with their size N, for "
        "teachers of d live inputs: the slope of log loss over log N beside 4/d (Sharma & Kaplan, "
        "arXiv:2004.10802). Finished students are kept in FOLDER/cells; the same command goes on.",
    )
    parser.add_argument("--out", default="teacher-law-out", type=Path, metavar="FOLDER")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="two d, about a minute")
    length.add_argument("--full", action="store_true", help="the authors' schedule, for a GPU")
    parser.add_argument("--d", type=int, nargs="+", help="live inputs (default 3 4 6 8)")
    parser.add_argument("--teachers", type=int, help="random teachers for each d")
    parser.add_argument("--students", type=int, help="random students for each width")
    parser.add_argument("--device", help='"cpu" (default), "cuda"')
    parser.add_argument("--dtype", help="float32 (default, but with --full), float64")
    parser.add_argument("--workers", type=int, help="processes (default: the cores; 1 on a GPU)")
    options = parser.parse_args(arguments)
    names = ("d", "teachers", "students", "device", "dtype")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    kind = Settings.quick if options.quick else Settings.full if options.full else Settings
    out = options.out / NAME
    try:
        settings = kind(**given)
        if out.exists():
            read_teacher_law(out)  # whatever else lies there is not replaced
        workers = options.workers or (usable_cores() if settings.device == "cpu" else 1)
        with _progress(len(keys_of(settings))) as advance:
            store = CellStore(options.out / "cells")
            law = run_teacher_law(settings, store, workers=workers, advance=advance)
        print(_table(law))
        print(f"record: {write_teacher_law(law, out)}")
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"nnx: stopped; the same command goes on from {options.out}", file=sys.stderr)
        return 130
    return 0


@contextmanager
def _progress(count: int) -> Iterator[Any]:
    """A bar over the cells where tqdm is installed and somebody looks."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield None
        return
    with tqdm(total=count, disable=None, leave=False, unit="student") as bar:

        def advance(key: Key, _: float) -> None:
            bar.set_description(f"d = {key['d']}, {key['n']} units", refresh=False)
            bar.update()

        yield advance


def _table(law: TeacherLaw) -> str:
    """The slopes, a line for each d."""
    lines = [f"{'d':>3} {'4/d':>6} {'alpha':>6} {'95 % interval':>15} {'best':>6} {'4/alpha':>8}"]
    for slope in law.slopes:
        low, high = slope["interval"] or (None, None)
        interval = "-" if low is None else f"{low:.2f} ... {high:.2f}"
        numbers = (_number(slope[name]) for name in ("alpha", "alpha_best", "four_over_alpha"))
        alpha, best, dimension = numbers
        about = f"{slope['d']:>3} {slope['four_over_d']:6.2f}"
        lines.append(f"{about} {alpha:>6} {interval:>15} {best:>6} {dimension:>8}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    sys.exit(main())
