"""Peaks, operations, memory, loops and energy, in small."""

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnx.backends import Backend, limits
from nnx.benchmarks import Settings, energy, finder, peaks
from nnx.benchmarks.energy import NoCounterError, measure_energy
from nnx.benchmarks.finder import Task, find, tasks
from nnx.benchmarks.findings import Shape
from nnx.benchmarks.loops import measure_loops
from nnx.benchmarks.memory_use import measure_memory
from nnx.benchmarks.operations import measure_operations
from nnx.benchmarks.peaks import data_sheet, measure_peaks

SHAPE = Shape("cpu", "float32", 64, 32, 1)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products and copies that take a moment."""
    monkeypatch.setattr(peaks, "_SIDES", {False: 64, True: 64})
    monkeypatch.setattr(peaks, "SIZES", (1 << 12, 1 << 16))
    monkeypatch.setattr(peaks, "_GPU_SIZE", 1 << 17)
    monkeypatch.setattr(limits, "SIZES", (1 << 12, 1 << 16))


def test_a_quick_record_has_a_finding_of_each_part() -> None:
    names = ("peaks", "operations", "memory", "vectorized", "energy")
    settings = Settings.quick(devices=("cpu",), parts=names, parts_seconds=100.0)
    done: list[Task] = []
    found = find(settings, done.append)
    assert [task.part for task in done] == [*names]
    assert len(found.peaks) == len(found.operations) == len(found.memory) == 1
    assert {loop.what for loop in found.vectorized} == {"dot product", "forward pass over examples"}
    # Energy is there, or the reason why not.
    assert bool(found.energy) != ("energy" in found.reasons)
    assert set(found.reasons) <= {"energy"}


def test_only_the_parts_that_are_asked_for_are_found() -> None:
    assert tasks(Settings(devices=("cpu",), parts=("grid",))) == []
    asked = tasks(Settings(devices=("cpu",), parts=("memory", "peaks")))
    assert {task.part for task in asked} == {"memory", "peaks"}


def test_time_that_is_over_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finder, "_answers", lambda *_: time.sleep(0.02) or ())
    settings = Settings(devices=("cpu",), parts=("peaks", "vectorized"), parts_seconds=0.01)
    found = find(settings, lambda _: None)
    assert found.reasons == {"vectorized": "cpu: the 0 s for it were over"}


def test_what_fails_is_a_reason_and_the_rest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(finder, "measure_memory", fail)
    monkeypatch.setattr(finder, "measure_loops", lambda *_: [])
    parts = ("memory", "vectorized")
    found = find(Settings.quick(devices=("strict",), parts=parts), lambda _: None)
    assert found.reasons == {"memory": "strict: no room"}


@pytest.mark.usefixtures("small")
def test_the_peak_is_the_best_of_its_samples(device: str) -> None:
    (peak,) = measure_peaks(device, ["float32"])
    assert peak.gflop_per_second == max(peak.gflop_samples) > 0
    assert len(peak.gflop_samples) == len(peak.bandwidth_samples) == 10
    sizes = [size for size, _ in peak.bandwidths]
    assert sizes == sorted(sizes)
    assert peak.bandwidths[-1][1] == pytest.approx(peak.bandwidth_gb_per_second)


def test_the_data_sheet_is_that_of_the_gpu() -> None:
    sheet = data_sheet("NVIDIA H100 80GB HBM3", "float32")
    assert sheet is not None
    assert sheet["matmul_gflop_per_second"] == 67_000
    assert sheet["bandwidth_gb_per_second"] == 3350
    assert data_sheet("NVIDIA H100 PCIe", "float32") != sheet
    assert data_sheet("AMD EPYC", "float32") is None


def test_the_operations_of_a_step_add_up_to_about_the_step() -> None:
    (found,) = measure_operations([SHAPE], "GradientDescent")
    names = [one.name for one in found.operations]
    assert names[1] == "Z[1] = W[1] A[0]"
    total = math.fsum(one.seconds for one in found.operations if one.seconds > 0)
    assert 0.2 * found.step_seconds < total < 5 * found.step_seconds
    products = sum(one.flop for one in found.operations)
    assert products == 2 * 64 * 32 * (2 * 784 + 3 * 10)


def test_the_memory_of_a_step_is_about_its_formula() -> None:
    """In a process of its own, as `find` has it: X alone is 25 MB."""
    shape = Shape("cpu", "float32", 8192, 64, 1).to_json()
    (use,) = finder._answers(Task("memory", "cpu", ([shape], "Adam")), {})
    X = 4 * 8192 * 784
    assert X < use.measured_bytes < use.formula_bytes + (24 << 20)
    assert use.formula_bytes > X


def test_the_memory_of_a_gpu_is_what_its_arrays_use(
    gpu_backend: Backend, monkeypatch: pytest.MonkeyPatch, may_wait: None
) -> None:
    from nnx.backends import Memory

    used = iter([1000, 251_000])
    monkeypatch.setattr(type(gpu_backend), "memory", lambda self: Memory(next(used), 0, 0, None))
    monkeypatch.setattr("nnx.benchmarks.memory_use.get_backend", lambda _: gpu_backend)
    shape = Shape(gpu_backend, "float32", 16, 8, 1)  # type: ignore[arg-type]
    (use,) = measure_memory([shape], "Adam")
    assert use.measured_bytes == 250_000
    assert "on the device" in use.how


def test_a_loop_and_its_vectorized_form(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnx.benchmarks.loops._FEW", 50)
    dot, forward = measure_loops(device, thorough=False)
    assert (dot.n, forward.n) == (50, 256)
    assert forward.vectorized_seconds < forward.loop_seconds


def counters(folder: Path, monkeypatch: pytest.MonkeyPatch, *values: int) -> None:
    """RAPL as Linux shows it, with a package for each value and a core below the first."""
    for k, value in enumerate(values):
        package = folder / f"intel-rapl:{k}"
        package.mkdir()
        (package / "energy_uj").write_text(f"{value}\n")
        (package / "max_energy_range_uj").write_text("1000000\n")
    (folder / "intel-rapl:0:0").mkdir()
    monkeypatch.setattr(energy, "_RAPL", folder)


def test_rapl_counts_all_packages_and_begins_anew_at_its_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters(tmp_path, monkeypatch, 100, 900_000)
    joules, source = energy._rapl()
    assert joules() == 0
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("600")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("50000")
    assert joules() == pytest.approx((500 + 150_000) / 1e6)
    assert source == "RAPL, 2 packages"


def test_joules_are_those_of_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = iter([2.0, 8.0])
    monkeypatch.setattr(energy, "_counter", lambda _: (lambda: next(reads), "a counter"))
    (found,) = measure_energy([SHAPE], "GradientDescent", 0.01)
    steps = 6.0 / found.joules_per_example / SHAPE.m
    assert steps == pytest.approx(round(steps))
    assert steps >= 1


def test_a_counter_that_stands_still_is_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_counter", lambda _: (lambda: 1.0, "a counter"))
    with pytest.raises(NoCounterError, match="a counter did not move"):
        measure_energy([SHAPE], "GradientDescent", 0.001)


def test_without_a_counter_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "_RAPL", tmp_path)
    with pytest.raises(NoCounterError, match="RAPL cannot be read: there is no"):
        energy._counter("cpu")
    counters(tmp_path, monkeypatch, 5)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    with pytest.raises(NoCounterError, match="No such file"):
        energy._counter("cpu")
    with pytest.raises(NoCounterError, match="no counter is known for strict"):
        energy._counter("strict")


def test_numbers_of_the_products_are_no_equal_ones() -> None:
    from nnx.backends import get_backend

    backend = get_backend("cpu")
    seen: list[Any] = []
    real = limits._multiply

    def note(backend: Backend, A: Any, B: Any, C: Any) -> None:
        seen.append(A.copy())
        real(backend, A, B, C)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "_multiply", note)
        limits.product_timings(backend, "float64", 16, 1)
    assert len(np.unique(seen[0])) == 256
