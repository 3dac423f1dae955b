"""Whole studies: the same results whoever computes them and whatever interrupts it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from nnx.benchmarks.scale import CellStore, read_study, run_study, write_study
from nnx.benchmarks.scale import cells as cells_module
from nnx.errors import DataError
from scale_support import PROGRAM, results

KILLS = int(os.environ.get("NNX_KILLS", "0"))


def run_again(folder, settings, **how):
    study = run_study(settings, CellStore(folder / "cells"), **how)
    return results(write_study(study, folder / "scale.json"))


def test_the_study_has_what_it_promises(small_study, small_settings):
    study = read_study(small_study / "scale.json")
    assert study.contenders == [
        "logistic regression",
        "support vector machine",
        "small",
        "medium",
        "large",
    ]
    assert len(study.cells) == 5 * 4 * 2
    assert study.learning_rates[0]["chosen"] in small_settings.rates
    skipped = [cell for cell in study.cells if cell["status"] == "skipped"]
    assert {(c["contender"], c["m"]) for c in skipped} == {("support vector machine", 1024)}
    assert "m^2" in skipped[0]["reason"]
    for cell in study.cells:
        if cell["status"] == "done":
            assert 0 < cell["test_error"] < study.task["chance"]
        if cell["kind"] == "network":
            assert 0 < cell["steps"] <= small_settings.steps_of(cell["m"])
    assert [law["contender"] for law in study.laws["per_contender"]] == study.contenders
    assert len(study.consequences["overtakes"]) == 4
    assert all(item["sentence"] for items in study.consequences.values() for item in items)
    assert study.times["workers"] == 1
    assert all(s > 0 for s, c in zip(study.times["cells"], study.cells, strict=True)
               if c["status"] == "done")  # fmt: skip


def test_no_seconds_stand_outside_times(small_study):
    assert b"second" not in results(small_study / "scale.json")


def test_two_workers_give_the_same(small_study, small_settings, tmp_path):
    found = run_again(tmp_path, small_settings, workers=2)
    assert found == results(small_study / "scale.json")


def test_a_dask_cluster_gives_the_same(small_study, small_settings, tmp_path):
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    # Two threads in one process and another process: threads must not disturb each other.
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address=":0"
    ) as cluster:
        found = run_again(tmp_path, small_settings, dask=cluster.scheduler_address)
    assert found == results(small_study / "scale.json")


def test_another_program_before_changes_nothing(small_study, tmp_path):
    """This process has long loaded what a fresh one has not."""
    run_program(tmp_path, wait=True)
    assert results(tmp_path / "scale.json") == results(small_study / "scale.json")


def test_a_second_run_computes_nothing(small_study, small_settings, tmp_path, monkeypatch):
    def never(key, path=None):
        raise AssertionError(f"computed again: {key}")

    monkeypatch.setattr("nnx.benchmarks.scale.study.compute_cell", never)
    study = run_study(small_settings, CellStore(small_study / "cells"))
    write_study(study, tmp_path / "scale.json")
    assert results(tmp_path / "scale.json") == results(small_study / "scale.json")


def test_changed_settings_use_the_cells_that_fit(
    small_study, small_settings, tmp_path, monkeypatch
):
    computed = []
    compute = cells_module.compute_cell

    def counted(key, path=None):
        computed.append((key["cell"], key["m"], key["seed"]))
        return compute(key, path)

    store = CellStore(tmp_path)
    for file in (small_study / "cells").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("nnx.benchmarks.scale.study.compute_cell", counted)
    more = replace(small_settings, seeds=(0, 1, 7), m=(128, 256, 512))
    study = run_study(more, store)
    assert sorted(computed) == sorted(
        [("network", m, 7) for m in more.m] * 3 + [("traditional", m, 7) for m in more.m] * 2
    )
    before = {
        (c["contender"], c["m"], c["seed"]): c for c in read_study(small_study / "scale.json").cells
    }
    same = [c for c in study.cells if c["seed"] != 7]
    assert all(c == before[c["contender"], c["m"], c["seed"]] for c in same)


def test_trials_never_see_the_test_part(small_settings, monkeypatch):
    task = small_settings.get_task()
    asked = []
    examples = type(task).examples

    def watched(self, part, m, seed=0):
        asked.append(part)
        return examples(self, part, m, seed)

    monkeypatch.setattr(type(task), "examples", watched)
    key = cells_module.trial_key(small_settings, task, (4,), 0.01)
    result = cells_module.compute_cell(key)
    assert "test" not in asked
    assert set(result) == {"status", "validation_error", "steps"}
    key = cells_module.network_key(small_settings, task, (4,), 128, 0, 0.01)
    asked.clear()
    cells_module.compute_cell(key)
    assert asked.count("test") == 1
    assert asked.index("test") > max(i for i, part in enumerate(asked) if part == "validation")


def test_a_rate_that_diverges_is_no_choice_and_no_cell(small_settings, tmp_path):
    settings = replace(
        small_settings,
        task="teacher",
        rates=(1e30,),
        m=(128,),
        seeds=(0,),
        sizes={"only": (8,)},
    )
    study = run_study(settings, CellStore(tmp_path / "cells"))
    failed = [c for c in study.cells if c["contender"] == "only"]
    assert [c["status"] for c in failed] == ["failed"]
    assert "every learning rate" in failed[0]["reason"]
    write_study(study, tmp_path / "scale.json")
    assert read_study(tmp_path / "scale.json").learning_rates[0]["chosen"] is None


# -- interrupted ----------------------------------------------------------------------------------


def run_program(folder, workers=1, *, wait=False):
    """The small study in a process group of its own."""
    script = folder / "study.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-P", str(script), str(folder), str(workers)]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if wait:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors.decode()
    return process


def cells_in(folder):
    return {path.name for path in (folder / "cells").glob("*.json")}


def gone(group):
    """Whether no process of the group is left, after a while."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


def kill_after(process, folder, count, seconds=0.0):
    """kill -9 once so many more cells are there, and a moment later."""
    begun = len(cells_in(folder))
    while process.poll() is None and len(cells_in(folder)) < begun + count:
        time.sleep(0.005)
    time.sleep(seconds)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)  # the study; its workers notice
    process.communicate(timeout=60)
    assert gone(process.pid)


def test_killed_twice_and_restarted_it_gives_the_same(small_study, tmp_path):
    for count in (3, 11):
        kill_after(run_program(tmp_path, 2), tmp_path, count)
        kept = cells_in(tmp_path)
        assert len(kept) >= count
        assert not (tmp_path / "scale.json").exists()
    run_program(tmp_path, 2, wait=True)
    assert results(tmp_path / "scale.json") == results(small_study / "scale.json")
    assert cells_in(tmp_path) == cells_in(small_study)


@pytest.mark.slow
@pytest.mark.skipif(KILLS == 0, reason="set NNX_KILLS to the number of kills, such as 20")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_random_moments_it_gives_the_same(small_study, tmp_path, workers):
    rng = random.Random(workers)
    for _ in range(KILLS):
        kill_after(run_program(tmp_path, workers), tmp_path, rng.randrange(3), rng.uniform(0, 0.3))
    run_program(tmp_path, workers, wait=True)
    assert results(tmp_path / "scale.json") == results(small_study / "scale.json")
    # What a killed process was writing is no cell.
    assert cells_in(tmp_path) == cells_in(small_study)


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_the_finished_cells_and_leaves_no_process(tmp_path, workers):
    process = run_program(tmp_path, workers)
    while len(cells_in(tmp_path)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert gone(process.pid)
    assert len(cells_in(tmp_path)) >= 2
    for path in (tmp_path / "cells").glob("*.json"):
        assert json.loads(path.read_text())["schema"] == "nnx-cell/1"


def test_a_damaged_cell_stops_the_study_before_it_begins(small_study, small_settings, tmp_path):
    store = CellStore(tmp_path)
    for file in (small_study / "cells").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    victim = next(tmp_path.glob("*.json"))
    victim.write_text(victim.read_text()[:100])
    with pytest.raises(DataError, match=r"not whole JSON.*remove it to compute this cell again"):
        run_study(small_settings, store)
    assert len(victim.read_text()) == 100


def test_a_cell_computes_on_a_gpu_as_on_the_cpu(gpu_backend, may_wait, small_settings, monkeypatch):
    """Up to rounding: the same initial weights, batches and steps."""
    task = small_settings.get_task()
    key = cells_module.network_key(small_settings, task, (16,), 128, 0, 0.01)
    cpu = cells_module.compute_cell(key)
    monkeypatch.setattr(cells_module, "get_backend", lambda device: gpu_backend)
    network = cells_module.nnx.MLP
    monkeypatch.setattr(
        cells_module.nnx, "MLP", lambda *a, **k: network(*a, **{**k, "device": gpu_backend})
    )
    gpu = cells_module.compute_cell({**key, "device": "cuda"})
    assert gpu["steps"] == cpu["steps"]
    for name in ("train_error", "validation_error", "test_error"):
        assert abs(gpu[name] - cpu[name]) < 0.02
