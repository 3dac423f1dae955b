"""A tiny grid, and what makes a sweep leave a cell out."""

import os
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.backends import Backend, Memory, get_backend
from nnx.backends.cpu import CpuBackend
from nnx.benchmarks import Settings, sweep
from nnx.benchmarks.calls import make_call, names_for, network_call, synthetic_data
from nnx.benchmarks.cell import LIMITS, NETWORK, Pass
from nnx.benchmarks.closer import closer_points
from nnx.benchmarks.contender import contenders_on
from nnx.benchmarks.settings import N_X, PASSES, Point
from nnx.errors import DataError

# The package shows the function under the module's name.
module = import_module("nnx.benchmarks.sweep")


def tiny(**changes: Any) -> Settings:
    """Make settings of a grid that takes a moment."""
    small: dict[str, Any] = {"devices": ("cpu",), "m": (4, 8), "hidden": (3,), "samples": 2}
    small |= {"parts": ("grid",), "thorough": False}
    return Settings(**{**small, "sample_seconds": 1e-4, "budget_seconds": 60.0, **changes})


def test_every_cell_of_the_grid_is_measured_once(device: str) -> None:
    settings = tiny(devices=(device,), layers=(1, 2), dtypes=("float32", "float64"))
    cells = list(sweep(settings))
    assert all(cell.measured for cell in cells)
    assert all(set(cell.timings) == {NETWORK, *LIMITS.values()} for cell in cells)
    assert all(len(t.samples) == 2 for cell in cells for t in cell.timings.values())
    grid = {(c.device, c.dtype, c.pass_, c.m, c.n_h, c.layers) for c in cells}
    points = settings.points()
    assert len(cells) == len(points)
    assert grid == {(p.device, p.dtype, p.pass_, p.m, p.n_h, p.layers) for p in points}


@pytest.mark.parametrize("optimizer", ["GradientDescent", "Momentum", "Adam"])
def test_the_optimizer_of_the_step_is_the_one_asked_for(
    optimizer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    make = nnx.TrainingStep

    def note(net: nnx.Network, m: int, optimizer: nnx.Optimizer) -> nnx.TrainingStep:
        names.append(type(optimizer.rule).__name__)
        return make(net, m, optimizer)

    monkeypatch.setattr(nnx, "TrainingStep", note)
    network_call(Point("cpu", "float32", "step", 4, 3, 1), optimizer=optimizer)()
    assert names == [f"{optimizer}Rule"]


@pytest.mark.parametrize("pass_", PASSES)
def test_a_pass_gives_what_its_name_says(pass_: Pass) -> None:
    found = network_call(Point("cpu", "float64", pass_, 4, 3, 2))()
    if pass_ == "forward":
        assert found[0].shape == (10, 4)  # type: ignore[index]
    elif pass_ == "backward":
        assert set(found) == {"dW1", "db1", "dW2", "db2", "dW3", "db3"}  # type: ignore[call-overload]
    else:
        assert np.isfinite(float(found))  # type: ignore[arg-type]


def test_repeated_steps_leave_the_weights_about_where_they_were() -> None:
    step = network_call(Point("cpu", "float64", "step", 16, 8, 1))
    first, costs = float(step()), [float(step()) for _ in range(300)]  # type: ignore[arg-type]
    assert costs[-1] == pytest.approx(first, rel=0.01)


def test_the_data_keep_each_example_contiguous_and_follow_the_seed() -> None:
    backend = get_backend("cpu")
    X, Y = synthetic_data(backend, 6, "float32", seed=3)
    assert X.shape == (N_X, 6)
    assert X.dtype == np.float32
    assert X.T.flags.c_contiguous
    assert Y.shape == (6,)
    assert set(Y) <= set(range(10))
    np.testing.assert_array_equal(X, synthetic_data(backend, 6, "float32", seed=3)[0])


def test_a_cell_that_does_not_fit_the_memory_is_skipped_with_the_figures(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CpuBackend, "memory", lambda self: Memory(0, 2**20, 2**21, None))
    small, large = sweep(tiny(m=(1, 10_000), passes=("forward",)))
    assert small.measured
    assert not large.measured
    assert "GiB are free on cpu" in large.reason


def test_free_memory_that_is_not_known_skips_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuBackend, "memory", lambda self: Memory(0, None, 2**21, None))
    assert all(cell.measured for cell in sweep(tiny(passes=("forward",))))


def test_a_budget_that_is_used_up_skips_the_dear_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, *[100.0] * 50])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(times))
    monkeypatch.setattr(module, "alternate", lambda *_: (_ for _ in ()).throw(MemoryError("full")))
    cheap, dear = sweep(tiny(passes=("forward",), budget_seconds=50.0))
    assert cheap.m < dear.m
    assert cheap.reason == "out of memory: full"
    assert "0.0 s of the budget are left" in dear.reason


def test_every_device_has_its_part_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]

    def slow(point: Point, *_: Any) -> Any:
        clock[0] += 30.0
        return module._skipped(point, "measured")

    monkeypatch.setattr(module.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(module, "_measure", slow)
    settings = tiny(devices=("cpu", "strict"), m=(1, 2, 3, 4), passes=("forward",))
    done = [cell.device for cell in sweep(settings) if cell.reason == "measured"]
    assert done == ["cpu", "strict"]


def test_a_cell_that_would_take_longer_than_what_is_left_is_skipped() -> None:
    cells = list(sweep(tiny(m=(4, 10**7), passes=("forward",), budget_seconds=0.5)))
    assert cells[0].measured
    assert "would take about" in cells[1].reason or "GiB" in cells[1].reason


def test_the_closer_looks_are_steps_at_shapes_of_their_own() -> None:
    settings = tiny(parts=("widths", "depth", "dtype"))
    cells = list(sweep(settings))
    assert all(cell.measured and cell.pass_ == "step" for cell in cells)
    parts = {name: [cell for cell in cells if cell.part == name] for name in settings.parts}
    assert sorted(cell.n_h for cell in parts["widths"]) == [64, 65, 72, 73]
    assert sorted(cell.layers for cell in parts["depth"]) == [1, 4]
    assert {cell.dtype for cell in parts["dtype"]} == {"float32", "float64"}
    assert len(cells) == 4 + 2 + 2


@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_all_of_a_closer_look_is_more_than_a_few_points(device: str) -> None:
    names = ("widths", "depth", "dtype")
    few, all_ = (closer_points(tiny(parts=names, thorough=t), device) for t in (False, True))
    assert len(few) < len(all_)
    assert len(set(all_)) == len(all_)
    widths = {point.n_h for point in all_ if point.part == "widths"}
    # Every multiple of eight in a row, and the width after it.
    eights = sorted(n for n in widths if n % 8 == 0)
    assert set(np.diff(eights)) == {8}
    assert widths == {n + k for n in eights for k in (0, 1)}
    assert closer_points(tiny(parts=("grid",)), device) == []


def test_a_gpu_is_measured_in_its_own_precisions_too(gpu_backend: Backend) -> None:
    points = closer_points(tiny(parts=("dtype",)), gpu_backend)  # type: ignore[arg-type]
    assert {"tf32", "bfloat16", "float16"} <= {point.dtype for point in points}
    (point,) = (point for point in points if point.dtype == "bfloat16")
    small = replace(point, m=8, n_h=16)
    assert names_for(small) == (NETWORK, LIMITS["network"])
    for name in names_for(small):
        make_call(name, small, "Adam", 0)()


def test_on_the_cpu_every_contender_has_a_process_of_its_own() -> None:
    point = Point("cpu", "float32", "step", 4, 3, 1)
    with contenders_on("cpu", "GradientDescent", 0) as those:
        ready = those.prepare(point, names_for(point))
        processes = {child._process.pid for child in those._children.values()}
        assert len(processes) == len(ready) == 3
        assert os.getpid() not in processes
        assert ready[NETWORK].seconds(ready[NETWORK].calibrate(1e-4), 0.001) > 0
    assert all(child._process.returncode is not None for child in those._children.values())


def test_memory_that_runs_out_in_a_process_skips_the_cell() -> None:
    point = Point("cpu", "float32", "forward", 2**48, 3, 1)
    with contenders_on("cpu", "GradientDescent", 0) as those:
        with pytest.raises(MemoryError, match=r"nnx: .*MemoryError"):
            those.prepare(point, names_for(point))
        # And the processes go on with the next one.
        those.prepare(replace(point, m=4), names_for(point))


def test_a_process_that_is_gone_is_an_error_that_names_its_contender() -> None:
    point = Point("cpu", "float32", "forward", 4, 3, 1)
    with contenders_on("cpu", "GradientDescent", 0) as those:
        ready = those.prepare(point, names_for(point))
        child = those._children[NETWORK]._process
        child.kill()
        child.wait()
        with pytest.raises(DataError, match="nnx: its process ended with status -9"):
            ready[NETWORK].calibrate(0.001)
