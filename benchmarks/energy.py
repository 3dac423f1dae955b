"""Energy of training steps, where a counter can be read: RAPL for a CPU, NVML for a GPU."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nnx.backends import get_backend
from nnx.benchmarks.calls import network_call
from nnx.benchmarks.findings import Energy, Shape
from nnx.benchmarks.settings import Point
from nnx.errors import DataError

_RAPL = Path("/sys/class/powercap")
_NVML_SUCCESS = 0


class NoCounterError(DataError):
    """No counter of energy can be read; the message says why."""


def measure_energy(shapes: Sequence[Shape], optimizer: str, seconds: float) -> list[Energy]:
    """Read the counter of a device before and after steps of each shape, for about `seconds`.

    Everything that runs under the counter is counted, the rest of the machine too.

    Raises
    ------
    NoCounterError
    """
    return [_energy(shape, optimizer, seconds) for shape in shapes]


def _energy(shape: Shape, optimizer: str, seconds: float) -> Energy:
    backend = get_backend(shape.device)
    joules, source = _counter(shape.device)
    point = Point(shape.device, shape.dtype, "step", shape.m, shape.n_h, shape.layers)
    step = network_call(point, optimizer=optimizer)
    step()
    backend.synchronize()
    steps, begun, before = 0, time.perf_counter(), joules()
    while (taken := time.perf_counter() - begun) < seconds:
        step()
        backend.synchronize()
        steps += 1
    used = joules() - before
    if not used > 0:
        raise NoCounterError(f"{source} did not move within {taken:.1f} s")
    return Energy(shape, used / (steps * shape.m), taken, source)


def _counter(device: str) -> tuple[Callable[[], float], str]:
    """A function that tells joules from some beginning on, and what it covers."""
    if device == "cpu":
        return _rapl()
    if device.startswith("cuda"):
        return _nvml(int(device.partition(":")[2] or 0))
    raise NoCounterError(f"no counter is known for {device}")


def _rapl() -> tuple[Callable[[], float], str]:
    """The packages of this machine together, each counting up to a largest number."""
    packages = sorted(_RAPL.glob("intel-rapl:[0-9]*"))
    packages = [folder for folder in packages if folder.name.count(":") == 1]
    if not packages:
        raise NoCounterError(f"RAPL cannot be read: there is no {_RAPL}/intel-rapl:0")
    try:
        ranges = [float((folder / "max_energy_range_uj").read_text()) for folder in packages]
        last = [float((folder / "energy_uj").read_text()) for folder in packages]
    except OSError as error:
        raise NoCounterError(f"RAPL cannot be read: {error.strerror} ({error.filename})") from error
    total = 0.0

    def joules() -> float:
        nonlocal total
        for k, folder in enumerate(packages):
            now = float((folder / "energy_uj").read_text())
            total += (now - last[k]) % ranges[k] if ranges[k] > 0 else now - last[k]
            last[k] = now
        return total / 1e6

    return joules, f"RAPL, {len(packages)} package{'s' if len(packages) > 1 else ''}"


def _nvml(index: int) -> tuple[Callable[[], float], str]:
    """The whole board of a GPU, found by its PCI address: NVML numbers GPUs in its own way."""
    try:
        import cupy

        address: str = cupy.cuda.runtime.deviceGetPCIBusId(index)
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except (ImportError, OSError) as error:
        raise NoCounterError(f"NVML cannot be read: {error}") from error
    handle, value = ctypes.c_void_p(), ctypes.c_ulonglong()

    def ask(function: str, *arguments: Any) -> None:
        status = getattr(nvml, function)(*arguments)
        if status != _NVML_SUCCESS:
            raise NoCounterError(f"NVML cannot be read: {function} gave status {status}")

    ask("nvmlInit_v2")
    ask("nvmlDeviceGetHandleByPciBusId_v2", address.encode(), ctypes.byref(handle))

    def joules() -> float:
        ask("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(value))
        return value.value / 1000

    joules()
    return joules, "NVML, the whole board"
