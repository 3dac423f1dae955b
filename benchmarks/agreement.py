"""Agreement of devices: whole training runs from the same seed, cost curve against cost curve.

`python -m nnx.benchmarks.agreement --device cuda --out DIR` prints a table, writes
DIR/agreement.json ("nnx-agreement/1"), each comparison as soon as it is found, and exits with 1
where a curve is out of tolerance.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import nnx
from nnx.backends import get_backend
from nnx.benchmarks.environment import environment
from nnx.benchmarks.record import write_json
from nnx.errors import DataError, NnxError

SCHEMA = "nnx-agreement/1"
STEPS = 100
M = 250
N_X = 20
# Largest relative difference of two cost curves. Rounding differs between devices because sums
# run in another order; a hundred steps of training carry it on.
TOLERANCES: Mapping[str, float] = {"float64": 1e-10, "float32": 1e-4}


@dataclass(frozen=True)
class Case:
    """One training run.

    Attributes
    ----------
    name : str
        What it covers.
    sizes : tuple of int
        Layer sizes [n_x, ..., n_y].
    hidden, output : str
        Names of the activations.
    optimizer : str
        Name of the optimizer.
    learning_rate : float
    batch_size : int
        M for whole batches; less trains on shuffled minibatches, the last one smaller.
    network : Mapping[str, Any]
        Further arguments of `nnx.MLP`.
    """

    name: str
    sizes: tuple[int, ...]
    hidden: str
    output: str
    optimizer: str
    learning_rate: float
    batch_size: int = M
    network: Mapping[str, Any] = field(default_factory=dict)


CASES = (
    Case("relu, softmax", (N_X, 64, 32, 5), "relu", "softmax", "GradientDescent", 0.1),
    Case("tanh, sigmoid, momentum", (N_X, 30, 1), "tanh", "sigmoid", "Momentum", 0.05),
    Case("relu, softmax, l2, Adam", (N_X, 48, 5), "relu", "softmax", "Adam", 1e-3, M, {"l2": 0.1}),
    Case("tanh, values, Nesterov", (N_X, 40, 2), "tanh", "identity", "Nesterov", 0.01),
    Case(
        "dropout, minibatches, Adam",
        (N_X, 64, 64, 5),
        "relu",
        "softmax",
        "Adam",
        1e-3,
        64,
        {"keep_prob": 0.8},
    ),
)


@dataclass(frozen=True)
class Comparison:
    """Cost curves of one case and dtype on two devices."""

    case: str
    dtype: str
    reference: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def difference(self) -> float:
        """Largest relative difference of the curves; infinite where a cost is not finite."""
        a, b = np.array(self.reference), np.array(self.other)
        if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
            return float("inf")
        return float(np.max(np.abs(a - b) / np.maximum(np.abs(a), np.finfo(float).tiny)))

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the tolerance of the dtype."""
        return self.difference <= TOLERANCES[self.dtype]

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON; a difference that is not finite becomes null."""
        difference = self.difference
        return {
            "case": self.case,
            "dtype": self.dtype,
            "steps": STEPS,
            "tolerance": TOLERANCES[self.dtype],
            "difference": difference if np.isfinite(difference) else None,
            "agrees": self.agrees,
            "cost_reference": [_finite(cost) for cost in self.reference],
            "cost_other": [_finite(cost) for cost in self.other],
        }


def compare(reference: str, device: str, seed: int = 0) -> Iterator[Comparison]:
    """Train every case in every dtype on both devices, one after the other."""
    for dtype in TOLERANCES:
        for case in CASES:
            costs = [train(case, where, dtype, seed) for where in (reference, device)]
            yield Comparison(case.name, dtype, *costs)


def count() -> int:
    """How many comparisons there are."""
    return len(TOLERANCES) * len(CASES)


def train(case: Case, device: str, dtype: str, seed: int = 0) -> tuple[float, ...]:
    """Train for about a hundred steps and return the cost of every epoch."""
    X, Y = _data(case, seed)
    net = nnx.MLP(
        case.sizes,
        hidden=case.hidden,
        output=case.output,
        device=device,
        dtype=dtype,
        seed=seed,
        **case.network,
    )
    steps_per_epoch = -(-M // case.batch_size)
    history = net.fit(
        X,
        Y,
        epochs=STEPS // steps_per_epoch,
        batch_size=case.batch_size,
        optimizer=getattr(nnx, case.optimizer)(learning_rate=case.learning_rate),
    )
    return tuple(float(cost) for cost in history["cost"])


def _data(case: Case, seed: int) -> tuple[Any, Any]:
    """X (n_x, m) and noisy targets: costs stay well above zero, where relative errors mean much."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((M, N_X)).T
    n_y = case.sizes[-1]
    scores = rng.standard_normal((n_y, N_X)) @ X / N_X**0.5 + rng.standard_normal((n_y, M))
    if case.output == "softmax":
        return X, np.argmax(scores, axis=0)
    if case.output == "sigmoid":
        return X, (scores[0] > 0).astype(np.int64)
    return X, scores


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m nnx.benchmarks.agreement",
        description="Train the same networks on two devices and compare their cost curves.",
        epilog="example: python -m nnx.benchmarks.agreement --device cuda --out bench-out",
    )
    parser.add_argument("--device", default="cuda", help='the device to check (default "cuda")')
    parser.add_argument("--reference", default="cpu", help='the device to trust (default "cpu")')
    parser.add_argument("--out", default="bench-out", type=Path, help="folder for agreement.json")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    try:
        return _report(options.reference, options.device, options.seed, options.out)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"nnx: stopped; what was found so far is in {options.out}", file=sys.stderr)
        return 130


def _report(reference: str, device: str, seed: int, out: Path) -> int:
    """Compare, print and write one after the other; return the exit status."""
    if seed < 0:
        raise DataError(f"seed: wanted a number from 0 on, got {seed}")
    # In full: "cuda" becomes "cuda:0".
    reference, device = get_backend(reference).device, get_backend(device).device
    print(f"cost curves over {STEPS} steps, {device} against {reference}")
    print(f"{'dtype':8} {'case':28} {'difference':>10} {'allowed':>8}")
    path, comparisons = out / "agreement.json", list[dict[str, Any]]()
    record = {
        "schema": SCHEMA,
        "settings": {"reference": reference, "device": device, "seed": seed, "steps": STEPS},
        "environment": environment(list(dict.fromkeys((reference, device)))),
        "agrees": False,  # until all have been compared
        "comparisons": comparisons,
    }
    for found in compare(reference, device, seed):
        verdict = "ok" if found.agrees else "FAILED"
        allowed, difference = TOLERANCES[found.dtype], found.difference
        print(f"{found.dtype:8} {found.case:28} {difference:10.1e} {allowed:8.0e}  {verdict}",
              flush=True)  # fmt: skip
        comparisons.append(found.to_json())
        all_agree = all(each["agrees"] for each in comparisons)
        record["agrees"] = all_agree and len(comparisons) == count()
        write_json(path, record)
    print(f"record: {path}")
    return 0 if record["agrees"] else 1


def _finite(cost: float) -> float | None:
    """Return a cost that JSON can hold."""
    return cost if np.isfinite(cost) else None


if __name__ == "__main__":
    sys.exit(main())
