"""scikit-learn's MLPClassifier and nnx's on the same data: fit and predict_proba, point by point.

Each library has a process of its own, and the samples are taken in turn. The data are
scikit-learn's digits, repeated with noise, 64 numbers a row. For fits that take scikit-learn longer
than a second the first fit of a fresh process is measured too.

    python -m nnx.benchmarks.estimators --out estimators.json
    python -m nnx.benchmarks.estimators --rows 100 1347 --solver adam
    python -m nnx.benchmarks.estimators --device cuda --dtype float32

`--device` is nnx's; scikit-learn computes on the CPU of the same machine. The record is written
point by point.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from nnx.backends import get_backend
from nnx.benchmarks.environment import environment
from nnx.benchmarks.record import write_json

LIBRARIES = ("nnx", "sklearn")
ROWS = (100, 1347, 20_000, 100_000)
HIDDEN = ((10,), (100,), (512, 512))
SOLVERS = ("adam", "sgd", "lbfgs")
_ITERATIONS = {100: 20, 1347: 5, 20_000: 2, 100_000: 1}
_SAMPLE_SECONDS = 0.1
_FOREIGN_SHARE = 0.05  # of a sample's time, that other processes may have used
_COLD_SECONDS = 1.0  # fits of scikit-learn's that are longer are measured in fresh processes too


@dataclass(frozen=True)
class Point:
    """One fit: rows of data, units of the hidden layers, solver, iterations, dtype."""

    rows: int
    hidden: tuple[int, ...]
    solver: str
    iterations: int
    dtype: str = "float64"


@dataclass
class Result:
    """Seconds of each library at a point, sample by sample."""

    point: Point
    fit: dict[str, list[float]] = field(default_factory=dict)
    predict: dict[str, list[float]] = field(default_factory=dict)
    first_fit: dict[str, float] = field(default_factory=dict)
    difference: float = math.nan

    def ratio(self, what: str) -> float:
        """How many times as long scikit-learn takes; `what` is fit, predict or first_fit."""
        found: dict[str, Any] = getattr(self, what)
        if not found:
            return math.nan
        seconds = [np.median(found[name]) for name in ("sklearn", "nnx")]
        return float(seconds[0] / seconds[1])


def points(
    rows: Iterable[int], hidden: Iterable[tuple[int, ...]], solvers: Iterable[str], dtype: str
) -> list[Point]:
    """The points of a grid, small ones first."""
    return [
        Point(m, tuple(units), solver, _ITERATIONS.get(m, 2), dtype)
        for m, units, solver in product(rows, hidden, solvers)
    ]


def count(
    rows: Iterable[int] = ROWS,
    hidden: Iterable[tuple[int, ...]] = HIDDEN,
    solvers: Iterable[str] = SOLVERS,
) -> int:
    """How many points a grid has."""
    return len(points(rows, hidden, solvers, "float64"))


# -- the process of one library -------------------------------------------------------------------


def data(point: Point) -> tuple[Any, Any]:
    """X (rows, 64) in [0, 1] with noise, and labels of ten classes."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(np.arange(point.rows) % len(y))
    X = X[chosen] / 16 + 0.05 * rng.standard_normal((point.rows, 64))
    return X.astype(point.dtype), y[chosen]


class _Work:
    """A library's estimator at one point."""

    def __init__(self, library: str, point: Point, device: str) -> None:
        make: Any = import_module(f"{library}.neural_network").MLPClassifier
        where = {"device": device} if library == "nnx" else {}
        self._make: Callable[[], Any] = lambda: make(
            point.hidden, solver=point.solver, max_iter=point.iterations, random_state=0, tol=0,
            **where,
        )  # fmt: skip
        self._X, self._y = data(point)
        self._fitted: Any = None

    def fit(self) -> None:
        """Fit a new estimator."""
        self._fitted = self._make().fit(self._X, self._y)

    def predict(self) -> Any:
        """Probabilities of the rows that it was fitted to."""
        return self._fitted.predict_proba(self._X)


def _child(library: str, device: str) -> None:
    """Answer requests until the input ends: a point, then repeats of "fit" or "predict"."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    warnings.simplefilter("ignore")  # nothing converges in so few iterations
    work: _Work | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "point" in request:
            work = None
            plain = request["point"]
            work = _Work(library, Point(**{**plain, "hidden": tuple(plain["hidden"])}), device)
            answer: Any = 0
        elif "probabilities" in request:
            assert work is not None
            answer = work.predict()[:100].tolist()
        else:
            assert work is not None
            call, repeats = getattr(work, request["call"]), request["repeats"]
            start, used = time.perf_counter(), time.process_time()
            for _ in range(repeats):
                call()
            answer = [(time.perf_counter() - start) / repeats, time.process_time() - used]
        print(json.dumps(answer), file=answers, flush=True)


class _Process:
    def __init__(self, library: str, device: str) -> None:
        self.device = device
        command = (sys.executable, "-P", "-m", "nnx.benchmarks.estimators")
        self._process = subprocess.Popen(
            (*command, "--child", library, "--device", device), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, **request: Any) -> Any:
        """Send a request, wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def seconds(self, call: str, repeats: int = 1, *, tries: int = 8) -> float:
        """Seconds of one call, over so many; again where others used the cores meanwhile."""
        found = []
        for _ in range(tries):
            start, busy = time.perf_counter(), busy_seconds()
            seconds, used = self.ask(call=call, repeats=repeats)
            wall, foreign = time.perf_counter() - start, busy_seconds() - busy - used
            found.append((foreign / wall, seconds))
            if foreign < _FOREIGN_SHARE * wall + 0.02:
                break
            time.sleep(0.3)
        return float(min(found)[1])

    def close(self) -> None:
        """End the process, whatever it is doing."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # of a request that it did not read
            self._process.stdin.close()


def busy_seconds() -> float:
    """CPU seconds that all processes have used so far; 0 where Linux does not tell."""
    try:
        numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    idle = {3, 4}  # idle, and waiting for a disk
    ticks = sum(int(n) for place, n in enumerate(numbers[:8]) if place not in idle)
    return ticks / os.sysconf("SC_CLK_TCK")


# -- the measurement ------------------------------------------------------------------------------


def measure(
    point: Point, processes: dict[str, _Process], samples: int, rest_seconds: float = 0.15
) -> Result:
    """Warm up, check that the probabilities agree, then sample in turn."""
    result = Result(point)
    for process in processes.values():
        process.ask(point=asdict(point))
        process.ask(call="fit", repeats=1)
    found = [np.array(process.ask(probabilities=True)) for process in processes.values()]
    result.difference = float(np.abs(found[0] - found[-1]).max())
    for what, taken in (("fit", result.fit), ("predict", result.predict)):
        seconds = max(process.seconds(what) for process in processes.values())
        repeats = max(1, round(_SAMPLE_SECONDS / seconds))
        # A long fit is its own average over what disturbs the machine.
        count = samples if seconds < 1 else max(2, samples // 2) if seconds < 4 else 1
        for _ in range(count):
            for name, process in processes.items():
                time.sleep(rest_seconds)  # BLAS's idle threads spin for a while
                taken.setdefault(name, []).append(process.seconds(what, repeats))
    if statistics.median(result.fit.get("sklearn", [0])) > _COLD_SECONDS:
        for name, process in processes.items():
            with contextlib.closing(_Process(name, process.device)) as fresh:
                fresh.ask(point=asdict(point))
                result.first_fit[name] = fresh.seconds("fit", tries=1)
    return result


def line(result: Result) -> str:
    """One row of the table: milliseconds of nnx, and the ratios."""
    point = result.point
    cells = [f"{point.rows:7d} {point.hidden!s:11} {point.solver:6}"]
    for what, taken in (("fit", result.fit), ("predict", result.predict)):
        mine = 1e3 * statistics.median(taken["nnx"])
        cells.append(f"{what} {mine:9.2f} ms x {result.ratio(what):5.2f}")
    if result.first_fit:
        cells.append(f"first x {result.ratio('first_fit'):5.2f}")
    cells.append(f"|dp| {result.difference:.0e}")
    return "  ".join(cells)


def geometric_mean(ratios: Sequence[float]) -> float:
    """The geometric mean of the ratios that are numbers."""
    return math.exp(statistics.fmean(math.log(x) for x in ratios if not math.isnan(x)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the grid and print a row for each point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--hidden", nargs="+", default=["10", "100", "512,512"])
    parser.add_argument("--solver", nargs="+", default=SOLVERS, choices=SOLVERS)
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--device", default="cpu", help="nnx's; scikit-learn has the CPU")
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--limit", type=float, help="seconds after which no point begins")
    parser.add_argument("--out", help="where the record goes (JSON)")
    parser.add_argument("--child", choices=LIBRARIES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        _child(options.child, options.device)
        return 0
    try:
        return _report(options)
    except KeyboardInterrupt:
        print("nnx: stopped; the record holds the points before", file=sys.stderr)
        return 130


def _report(options: argparse.Namespace) -> int:
    """Measure, print and write point by point; return the exit status."""
    begun = time.monotonic()
    device = get_backend(options.device).device
    hidden = [tuple(int(n) for n in text.split(",")) for text in options.hidden]
    where = environment(list(dict.fromkeys(("cpu", device))))
    results: list[Result] = []
    means: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        processes = {
            name: stack.enter_context(contextlib.closing(_Process(name, device)))
            for name in LIBRARIES
        }
        for point in points(options.rows, hidden, options.solver, options.dtype):
            if options.limit and time.monotonic() - begun > options.limit:
                break
            results.append(measure(point, processes, options.samples))
            print(line(results[-1]), flush=True)
            means = {
                what: geometric_mean([result.ratio(what) for result in results])
                for what in ("fit", "predict")
            }
            if options.out:
                record = {
                    "environment": where,
                    "device": device,
                    "geometric_means": means,
                    "results": [asdict(result) for result in results],
                }
                write_json(options.out, record)
    left_out = count(options.rows, hidden, options.solver) - len(results)
    if left_out:
        print(f"{left_out} points were left out: {options.limit:g} s were over")
    if means:
        print(f"geometric mean: fit {means['fit']:.2f}, predict_proba {means['predict']:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
