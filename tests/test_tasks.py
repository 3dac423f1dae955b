"""The jobs of tasks.py that need no environment of their own."""

import importlib.util
import os
import subprocess
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def tasks() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("wheel", "version", "fits"),
    [
        ("nvmath_python-1.0.0-cp312-cp312-manylinux_2_28_x86_64.whl", "3.12", True),
        ("nvmath_python-1.0.0-cp312-cp312-manylinux_2_28_x86_64.whl", "3.11", False),
        ("array_api_compat-1.16.0-py3-none-any.whl", "3.13", True),
        ("six-1.17.0-py2.py3-none-any.whl", "3.11", True),
    ],
)
def test_which_wheels_are_unpacked(tasks: Any, wheel: str, version: str, fits: bool) -> None:
    assert tasks.fits(wheel, version) is fits


def test_the_offline_install_takes_the_wheels_that_fit(
    tasks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks, "ROOT", tmp_path)
    monkeypatch.setattr(tasks, "BUILD", tmp_path / "build")
    monkeypatch.setattr(tasks, "run", lambda *command, **options: 0)
    (tmp_path / ".whl").mkdir()
    mine = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    for name in (f"good-1-{mine}-{mine}-linux_x86_64", "bad-1-cp27-cp27m-linux_x86_64"):
        with zipfile.ZipFile(tmp_path / ".whl" / f"{name}.whl", "w") as wheel:
            wheel.writestr(f"{name[:3]}/__init__.py", "")
    site = tasks.install_offline(sys.executable)
    assert [path.name for path in site.iterdir()] == ["goo"]
    said = capsys.readouterr().out
    assert "bad-1-cp27-cp27m-linux_x86_64.whl is for another Python: tasks.py gpu-wheels" in said


def test_what_gpu_wheels_fetches_is_pinned(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(tasks, "run", lambda *command, **_: asked.extend(map(str, command)) or 1)
    monkeypatch.setattr(tasks.shutil, "rmtree", lambda *_, **__: None)
    assert tasks.gpu_wheels("3.13") == 1
    assert [word.partition("==")[0] for word in asked if "==" in word] == list(tasks.GPU_WHEELS)
    assert asked[asked.index("--python-version") + 1] == "3.13"
    assert "manylinux_2_28_x86_64" in asked


@pytest.mark.parametrize("job", ["gpu", "gpu-measure", "gpu-more"])
def test_without_a_gpu_nothing_is_run(
    tasks: Any, job: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks, "gpu_name", lambda: None)
    monkeypatch.setattr(tasks, "install_offline", lambda python: pytest.fail("installed"))
    assert tasks.gpu(job, None, None) == 2
    assert "nothing was run" in capsys.readouterr().out


def test_the_call_gets_what_the_installation_has_left(
    tasks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock, ran = iter([100.0, 107.0]), []
    monkeypatch.setattr(tasks.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(tasks, "gpu_name", lambda: "NVIDIA H100 80GB HBM3")
    monkeypatch.setattr(tasks, "can_run", lambda python, code: True)
    monkeypatch.setattr(tasks, "install_offline", lambda python: tmp_path / "site")
    monkeypatch.setattr(tasks, "run", lambda *command, **options: ran.append((command, options)))
    tasks.gpu("gpu", None, None)
    ((command, options),) = ran
    assert command[1:6] == ("-m", "nnx.benchmarks.gpu", "check", "--seconds", "293")
    results = ROOT / "benchmarks" / "results" / "nvidia-h100-80gb-hbm3"
    assert command[command.index("--out") + 1] == results
    assert options["env"] == {"PYTHONPATH": str(tmp_path / "site")}


@pytest.mark.parametrize("job", ["gpu", "gpu-measure", "gpu-more", "gpu-wheels", "test", "bench"])
def test_every_job_has_a_name_in_the_makefile(job: str) -> None:
    # The gate itself runs under make, which would tell of its folders.
    command = ["make", "-n", "--no-print-directory", job, "PYTHON=python3"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.strip() == f"python3 tasks.py {job}"
