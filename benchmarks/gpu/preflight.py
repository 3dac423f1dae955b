"""What is there, and whether the fast floor can be had: the first seconds of every call.

`python -m nnx.benchmarks.gpu.preflight --out DIR` prints what it finds as it finds it, writes
DIR/preflight.json, and fails with the reason where steps cannot run as CUDA graphs: measuring the
slow floor instead would be no use.
"""

import argparse
import importlib.metadata
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nnx.backends import Backend, get_backend
from nnx.benchmarks.record import write_json
from nnx.errors import NnxError
from nnx.precision import numbers

SCHEMA = "nnx-preflight/1"
PRECISIONS = ("float32", "float64", "tf32", "bfloat16", "float16")
LIBRARIES = ("cupy-cuda12x", "cupy-cuda13x", "nvmath-python", "cuda-core", "cuda-bindings",
             "cuda-pathfinder", "nvidia-cublas", "nvidia-cublas-cu12", "numpy", "pytest",
             "hypothesis", "scikit-learn", "torch", "jax")  # fmt: skip
_CLOCKS = "clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu"


def look(backend: Backend) -> dict[str, Any]:
    """Describe the GPU and ask for each precision, printing line by line."""
    record: dict[str, Any] = {"schema": SCHEMA, "device": backend.describe(), "failed": {}}
    record["libraries"] = {name: v for name in LIBRARIES if (v := _version(name))}
    for name, value in {**record["device"], **record["libraries"]}.items():
        print(f"{name:22}{value}", flush=True)
    record["clocks"] = _clocks()
    print(f"{'clocks':22}{record['clocks']}", flush=True)
    memory = backend.memory()
    record["memory"] = {"free": memory.free, "total": memory.total}
    print(f"{'memory':22}{memory.free} of {memory.total} bytes free", flush=True)
    for precision in PRECISIONS:
        start = time.perf_counter()
        master = "float64" if precision == "float64" else "float32"
        reason = backend.why_no_graphs(*numbers(None if precision == master else precision, master))
        seconds = time.perf_counter() - start
        print(f"{precision:22}{reason or 'runs as graphs'} ({seconds:.1f} s)", flush=True)
        if reason is not None:
            record["failed"][precision] = reason
    if "float32" not in record["failed"]:
        record["cublaslt"] = backend.graphs().version  # type: ignore[attr-defined]
        print(f"{'cublaslt':22}{record['cublaslt']}", flush=True)
    return record


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _clocks() -> str:
    """What nvidia-smi tells of the first GPU, or why it does not."""
    command = ("nvidia-smi", f"--query-gpu={_CLOCKS}", "--format=csv,noheader", "--id=0")
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"not known: {error}"
    return (found.stdout or found.stderr).strip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Look; return 1 where float32 has no fast floor."""
    parser = argparse.ArgumentParser(prog="python -m nnx.benchmarks.gpu.preflight")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", default="bench-out", type=Path)
    options = parser.parse_args(arguments)
    try:
        backend = get_backend(options.device)
        with backend.active():
            record = look(backend)
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    write_json(options.out / "preflight.json", record)
    if "float32" in record["failed"]:
        print(f"no fast floor, so nothing else is run: {record['failed']['float32']}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
