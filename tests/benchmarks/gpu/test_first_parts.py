"""What a call begins with: the preflight, the kernels, the first fit; on the host."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nnx.backends import Backend
from nnx.backends.cuda.launch import kernel_names
from nnx.backends.cuda.step_kernels import FILES, step_names
from nnx.backends.host import Memory
from nnx.benchmarks.gpu import first_fit, kernels, preflight

Output = pytest.CaptureFixture[str]


@pytest.fixture
def lt(host_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The host's cuBLASLt, as a process finds it that has asked nothing yet."""
    from host_gpu import HostLt

    api = HostLt()
    host_backend.use_cublaslt(api)  # type: ignore[attr-defined]
    monkeypatch.setattr(preflight, "get_backend", lambda device: host_backend)
    memory = Memory(0, 1 << 30, 1 << 31, None)
    monkeypatch.setattr(type(host_backend), "memory", lambda self: memory)
    yield api
    host_backend.use_cublaslt(HostLt())  # type: ignore[attr-defined]


def test_the_preflight_tells_what_is_there(lt: Any, tmp_path: Path, capsys: Output) -> None:
    assert preflight.main(["--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "preflight.json").read_text())
    assert record["failed"] == {}
    assert record["cublaslt"] == 130000
    assert record["memory"] == {"free": 1 << 30, "total": 1 << 31}
    assert record["device"]["cuda_driver"] == "13.1"
    shown = capsys.readouterr().out
    for precision in preflight.PRECISIONS:
        assert f"{precision:22}runs as graphs" in shown


def test_a_precision_may_be_missing(lt: Any, tmp_path: Path) -> None:
    float16 = 2
    lt.missing = lambda epilogue, kind: kind == float16
    assert preflight.main(["--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "preflight.json").read_text())
    assert list(record["failed"]) == ["float16"]
    assert "no algorithm" in record["failed"]["float16"]


def test_without_a_fast_floor_it_stops_with_the_reason(
    lt: Any, tmp_path: Path, capsys: Output
) -> None:
    lt.missing = lambda epilogue, kind: True
    assert preflight.main(["--out", str(tmp_path)]) == 1
    assert "so nothing else is run: cuBLASLt does not multiply" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "preflight.json").read_text())["failed"]) == 5


def test_without_a_gpu_it_says_so(tmp_path: Path, capsys: Output) -> None:
    assert preflight.main(["--device", "cuda:99", "--out", str(tmp_path)]) == 1
    assert "nnx: " in capsys.readouterr().err
    assert not (tmp_path / "preflight.json").exists()


@pytest.mark.parametrize("processes", [1, 7, 1000])
def test_every_kernel_is_in_one_share(processes: int) -> None:
    found = Counter(name for share in kernels.shares(processes) for name in share)
    assert set(found.values()) == {1}
    assert set(found) - {kernel_names()[0]} == {n for file in FILES for n in step_names(file)}
    assert kernels.count() == len(found)
    sizes = [len(share) for share in kernels.shares(processes)]
    assert max(sizes) - min(sizes) <= 1


def test_kernels_are_compiled(host_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = type(host_backend).__init__.__globals__["cupy"]
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(kernels, "get_backend", lambda device: host_backend)
    compiled = []
    make = cupy.RawModule

    def counted(**arguments: Any) -> Any:
        compiled.extend(arguments["name_expressions"])
        return make(**arguments)

    monkeypatch.setattr(cupy, "RawModule", counted)
    assert kernels.load([kernel_names()[3], "step_begin", "step_gather<float>"]) == 3
    assert compiled == [*kernel_names(), "step_begin", "step_gather<float>"]


def test_the_first_fit_is_timed_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_fit, "SIZES", (12, 8, 10))
    monkeypatch.setattr(first_fit, "M", 16)
    assert first_fit.main(["--device", "cpu", "--name", "cold", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "cold.json").read_text())
    assert record["schema"] == first_fit.SCHEMA
    assert list(record["seconds"])[-1] == "the second fit of an epoch"
    assert all(seconds >= 0 for seconds in record["seconds"].values())
    assert 0 < record["cost"] < 10
