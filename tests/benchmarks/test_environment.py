"""What is recorded of the machine, and the line that names it."""

import json
import subprocess
import sys
from typing import Any

import pytest

from nnx.benchmarks import environment
from nnx.benchmarks.environment import hardware_line, libraries

# The package shows the function under the module's name.
module = sys.modules["nnx.benchmarks.environment"]


def test_the_environment_is_json_and_names_cpu_blas_and_libraries() -> None:
    found = environment(["cpu"])
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"]["usable_cores"] >= 1
    assert found["blas"]["threads"] >= 1
    assert found["blas"]["version"]
    assert found["libraries"]["numpy"]
    assert found["devices"]["cpu"]["device"] == "cpu"
    assert found["load_average"] >= 0
    assert found["memory_bytes"] > 2**28


def test_only_variables_that_are_set_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    variables = environment(["cpu"])["variables"]
    assert variables["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in variables


def test_without_threadpoolctl_the_threads_are_not_guessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    blas = environment(["cpu"])["blas"]
    assert blas["threads"] is None
    assert blas["name"]


def test_gpus_are_what_the_driver_says(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = "NVIDIA A GPU, 570.1, 81559 MiB, 700.00 W, 1980 MHz\nnot a row"
    monkeypatch.setattr(module, "_output", lambda command: answer)
    (gpu,) = module._gpus()
    assert gpu["name"] == "NVIDIA A GPU"
    assert gpu["power.limit"] == "700.00 W"


@pytest.mark.parametrize("error", [OSError(), subprocess.TimeoutExpired("git", 10)])
def test_a_tool_that_is_absent_or_slow_is_none(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    found = environment(["cpu"])
    assert found["gpus"] == []
    assert found["commit"] is None


def test_a_copy_outside_a_checkout_has_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"ls-files": "environment.py", "rev-parse": "", "status": ""}
    monkeypatch.setattr(module, "_output", lambda command: answers[command[3]])
    assert module._commit() is None
    answers |= {"rev-parse": "abc123", "status": " M file"}
    assert module._commit() == {"id": "abc123", "dirty": True}


def test_what_a_system_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "getloadavg", None)
    monkeypatch.delattr(module.os, "getloadavg")
    monkeypatch.delattr(module.os, "sysconf")
    assert module.load_average() is None
    assert module._memory_bytes() is None


def test_only_installed_libraries_have_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTRIBUTIONS", ("numpy", "no-such-distribution"))
    assert list(libraries()) == ["numpy"]


@pytest.mark.parametrize(
    ("record", "device", "line"),
    [
        (
            {
                "cpu": {"model": "A Processor", "usable_cores": 2},
                "blas": {"name": "openblas", "version": "0.3", "kernels": "Zen", "threads": 2},
            },
            "cpu",
            "A Processor, 2 cores, openblas 0.3, Zen kernels, 2 threads",
        ),
        ({"devices": {"cpu": {"name": "x86_64"}}}, "cpu", "x86_64"),
        ({}, "cpu", "cpu"),
        (
            {"devices": {"cuda:0": {"name": "A GPU"}}, "gpus": [{"driver_version": "570.1"}]},
            "cuda:0",
            "A GPU, driver 570.1",
        ),
        ({}, "cuda:0", "cuda:0"),
    ],
)
def test_the_line_names_the_hardware_that_is_known(
    record: dict[str, Any], device: str, line: str
) -> None:
    assert hardware_line(record, device) == line


def test_values_that_json_does_not_know_become_text() -> None:
    assert module._plain({1: (2, [object])}) == {"1": [2, ["<class 'object'>"]]}
