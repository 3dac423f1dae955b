"""What the first seconds of a process cost on a GPU: imports, kernels, choices, the first steps.

`python -m nnx.benchmarks.gpu.first_fit --out DIR` writes DIR/first-fit.json. With an empty cache of
kernels it is what a user's very first fit costs, afterwards what every later process pays.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SCHEMA = "nnx-first-fit/1"
SIZES, M, BATCHES = (784, 512, 10), 256, 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit once and once more, in this process; print and write the seconds."""
    parser = argparse.ArgumentParser(prog="python -m nnx.benchmarks.gpu.first_fit")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--name", default="first-fit", help="of the record")
    parser.add_argument("--out", default="bench-out", type=Path)
    options = parser.parse_args(arguments)
    seconds: dict[str, float] = {}
    start = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal start
        seconds[name], start = time.perf_counter() - start, time.perf_counter()
        print(f"{name:28}{seconds[name]:8.3f} s", flush=True)

    import numpy as np

    lap("import numpy")
    import nnx
    from nnx.benchmarks.record import write_json

    lap("import nnx")
    net = nnx.MLP(SIZES, device=options.device)
    net.backend.synchronize()
    lap("a network on the device")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((M * BATCHES, SIZES[0]), dtype=np.float32).T
    Y = rng.integers(0, SIZES[-1], M * BATCHES)
    lap("the data")
    for name in ("the first fit of an epoch", "the second fit of an epoch"):
        fitted: Any = net.fit(X, Y, epochs=1, batch_size=M, optimizer=nnx.Adam())
        lap(name)
    record = {"schema": SCHEMA, "seconds": seconds, "cost": fitted["cost"][-1]}
    write_json(options.out / f"{options.name}.json", record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
