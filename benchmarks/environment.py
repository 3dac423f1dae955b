"""The record of where a measurement ran: hardware, libraries, settings of the process, commit.

Whatever the machine does not tell is None or left out, never guessed.
"""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nnx.backends import get_backend
from nnx.backends.host import usable_cores

# Every distribution whose version can change a number in a report.
DISTRIBUTIONS = (
    "nnx-learn",
    "numpy",
    "scipy",
    "array-api-compat",
    "safetensors",
    "cupy-cuda12x",
    "cupy-cuda13x",
    "cupy",
    "nvmath-python",
    "nvidia-cublas-cu12",
    "nvidia-cublas",
    "scikit-learn",
    "torch",
    "threadpoolctl",
    "pytest-benchmark",
    "matplotlib",
)
# Variables that set threads, kernels, precision or devices, here or in the BLAS.
VARIABLES = (
    "BLIS_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "CUPY_ACCELERATORS",
    "CUPY_TF32",
    "MKL_NUM_THREADS",
    "NNX_DEVICE",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_CPU_FOLDER = Path("/sys/devices/system/cpu/cpu0/cache")
_GPU_FIELDS = ("name", "driver_version", "memory.total", "power.limit", "clocks.max.sm")


def environment(devices: Sequence[str] = ("cpu",)) -> dict[str, Any]:
    """Describe this machine and this process, ready for JSON.

    Parameters
    ----------
    devices : sequence of str
        The devices measured; each is described by its backend.
    """
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "memory_bytes": _memory_bytes(),
        "load_average": load_average(),
        "gpus": _gpus(),
        "devices": {device: _plain(get_backend(device).describe()) for device in devices},
        "libraries": libraries(),
        "blas": _blas(),
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
        },
        "os": platform.platform(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "commit": _commit(),
    }


def load_average() -> float | None:
    """Processes that wanted a core in the last minute: more than a few disturb timings."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def libraries() -> dict[str, str]:
    """Versions of the installed libraries that a measurement can depend on."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware_line(record: Mapping[str, Any], device: str) -> str:
    """One line that names the hardware behind `device`, for titles of pictures and tables.

    `record` is what `environment` returned; parts that it does not hold are left out.
    """
    described = record.get("devices", {}).get(device, {})
    if device != "cpu":
        parts = [described.get("name", device)]
        drivers = {gpu["driver_version"] for gpu in record.get("gpus", ())}
        parts += [f"driver {driver}" for driver in sorted(drivers)]
    else:
        cpu, blas = record.get("cpu", {}), record.get("blas", {})
        parts = [cpu.get("model") or described.get("name", device)]
        parts += [f"{cpu['usable_cores']} cores"] if cpu.get("usable_cores") else []
        parts += [f"{blas['name']} {blas['version']}"] if blas.get("name") else []
        parts += [f"{blas['kernels']} kernels"] if blas.get("kernels") else []
        parts += [f"{blas['threads']} threads"] if blas.get("threads") else []
    return ", ".join(parts)


def _cpu() -> dict[str, Any]:
    """Model, architecture, cores and caches of the processor."""
    return {
        "model": _cpu_model(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "caches": _caches(),
    }


def _cpu_model() -> str | None:
    """Name of the processor, as the operating system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.processor() or None


def _caches() -> dict[str, str]:
    """Caches that the first core sees, such as {"L1 Data": "48K", "L2": "1024K"}."""
    caches = {}
    for index in sorted(_CPU_FOLDER.glob("index*")):
        try:
            level, kind, size = (
                (index / name).read_text().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        caches[f"L{level}" if kind == "Unified" else f"L{level} {kind}"] = size
    return caches


def _memory_bytes() -> int | None:
    """Main memory in bytes."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def _gpus() -> list[dict[str, str]]:
    """What the NVIDIA driver says of each GPU: name, driver, memory, power cap, clock."""
    answer = _output(
        ["nvidia-smi", f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader"]
    )
    rows = [[value.strip() for value in line.split(",")] for line in (answer or "").splitlines()]
    return [
        dict(zip(_GPU_FIELDS, row, strict=True)) for row in rows if len(row) == len(_GPU_FIELDS)
    ]


def _blas() -> dict[str, Any]:
    """Vendor, version, threads and kernel set of the BLAS that NumPy calls.

    Build facts come from NumPy; threads and the kernels chosen at run time from
    threadpoolctl, where that is installed.
    """
    config = np.show_config(mode="dicts") or {}
    built = config.get("Build Dependencies", {}).get("blas", {})
    record = {
        "name": built.get("name"),
        "version": built.get("version"),
        "threads": None,
        "kernels": None,
    }
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return record
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    # SciPy may have loaded a BLAS of its own; NumPy's lies in NumPy's folder or is the only one.
    pools.sort(key=lambda pool: "numpy" not in pool["filepath"])
    for pool in pools[:1]:
        record["threads"] = pool["num_threads"]
        record["kernels"] = pool.get("architecture")
        record["version"] = pool["version"] or record["version"]
    return record


def _commit() -> dict[str, Any] | None:
    """Commit of the checkout that this file runs from; None when it is not in one."""
    folder = str(Path(__file__).resolve().parent)
    # In an installed copy the folder may lie inside someone else's checkout, untracked.
    if not _output(["git", "-C", folder, "ls-files", "environment.py"]):
        return None
    commit = _output(["git", "-C", folder, "rev-parse", "HEAD"])
    if not commit:
        return None
    changes = _output(["git", "-C", folder, "status", "--porcelain", "--untracked-files=no"])
    return {"id": commit, "dirty": bool(changes)}


def _output(command: list[str]) -> str | None:
    """Standard output of a command, or None when it is absent, slow or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _plain(value: Any) -> Any:
    """`value` with nothing in it but what JSON knows."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)
