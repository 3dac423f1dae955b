"""Epochs of streamed data beside resident ones: the record, and a GPU that is short of memory."""

import json
from pathlib import Path
from typing import Any

import pytest

from nnx.backends import get_backend
from nnx.backends.host import Memory
from nnx.benchmarks import streaming
from nnx.benchmarks.streaming import Examples, Found, count, main, short_of_memory

Output = pytest.CaptureFixture[str]
TINY = ["--m", "100", "--batch-size", "50", "--samples", "1"]


def test_the_record_holds_every_sample(tmp_path: Path, capsys: Output) -> None:
    shape = ["--hidden", "8", "16", "--m", "600", "--batch-size", "100", "--samples", "2"]
    assert main(["--device", "cpu", *shape, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "streaming.json").read_text())
    assert record["schema"] == "nnx-streaming/1"
    assert [found["n_h"] for found in record["results"]] == [8, 16]
    for found in record["results"]:
        assert list(found["seconds"]) == ["resident", "streamed", "from a file", "fed"]
        assert all(len(samples) == 2 for samples in found["seconds"].values())
        assert found["share"] > 0
    assert "short_of_memory" not in record  # a CPU's memory has no limit to set
    assert "from a file" in capsys.readouterr().out


def test_the_share_is_that_of_the_slower_part() -> None:
    seconds = {"resident": [3.0, 1.0, 2.0], "streamed": [4.0], "from a file": [9.0], "fed": [1.0]}
    assert Found(8, "float32", 100, 10, seconds).share == 0.5
    assert Found(8, "float32", 100, 10, {**seconds, "fed": [3.0]}).share == 0.75


def test_no_case_begins_after_the_limit(tmp_path: Path) -> None:
    assert main([*TINY, "--hidden", "8", "--limit", "1e-9", "--out", str(tmp_path)]) == 0
    assert "results" not in json.loads((tmp_path / "streaming.json").read_text())


def test_each_case_is_written_when_it_is_found_and_ctrl_c_loses_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    path, real, seen = tmp_path / "streaming.json", streaming.measure, []

    def interrupted(backend: Any, n_h: int, precision: str, examples: Examples, *rest: Any) -> Any:
        found = json.loads(path.read_text())["results"] if path.exists() else []
        seen.append((len(found), id(examples.rows)))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(backend, n_h, precision, examples, *rest)

    monkeypatch.setattr(streaming, "measure", interrupted)
    assert main([*TINY, "--hidden", "4", "5", "6", "7", "--out", str(tmp_path)]) == 130
    assert [number for number, _ in seen] == [0, 1, 2]
    assert len({rows for _, rows in seen}) == 1  # drawn once
    assert [found["n_h"] for found in json.loads(path.read_text())["results"]] == [4, 5]
    assert f"what was found so far is in {tmp_path}" in capsys.readouterr().err


def test_the_cases_of_a_plan_are_counted_without_a_gpu() -> None:
    assert count() == 3
    assert count("cuda") == 3 * 4 + 5
    assert count("cuda:1", hidden=(512,), precisions=("float32", "bfloat16")) == 2 + 5


def test_a_batch_larger_than_the_epoch_is_refused(tmp_path: Path, capsys: Output) -> None:
    assert main(["--m", "10", "--batch-size", "50", "--out", str(tmp_path)]) == 1
    assert "--batch-size 50: wanted 1 to m = 10" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Pool:
    """CuPy's memory pool, as far as its limit goes."""

    limit = 0

    def get_limit(self) -> int:
        return self.limit

    def set_limit(self, size: int) -> None:
        self.limit = size

    def used_bytes(self) -> int:
        return 0


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Pool]:
    """The CPU, whose free memory is what the limit of a pool says; networks are small."""
    backend, pool = get_backend("cpu"), Pool()
    memory = lambda: Memory(0, pool.limit or 1 << 40, 1 << 40, None)  # noqa: E731
    monkeypatch.setattr(backend, "memory", memory)
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: False)
    monkeypatch.setattr(streaming, "N_X", 16)
    monkeypatch.setattr(streaming, "HIDDEN", (8, 64))
    return backend, pool


def test_what_is_short_of_memory_is_refused_or_taken_in_blocks(
    limited: tuple[Any, Pool], tmp_path: Path
) -> None:
    backend, pool = limited
    found = dict(short_of_memory(backend, pool, Examples.drawn(20_000, tmp_path)))
    assert found["data_bytes"] == 2 * found["free_bytes"]
    assert "free" in found["batch_size='all'"]["refused"]
    blocks = found["batch_size='all', block_size='auto'"]
    assert blocks["batch_size"] == 20_000
    assert blocks["block_size"] < 20_000
    # On the CPU the data is used where it lies, and needs no memory.
    for words in ("as it comes", "batch_size='auto'", "data='device'"):
        assert found[words]["data"] == "device"
        assert found[words]["cost"] > 0
    assert found["kept_bytes"] == 0
    assert pool.limit == 0


def test_a_gpu_is_short_of_memory_first(
    limited: tuple[Any, Pool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each attempt is written when it is found, and an interruption puts the limit back."""
    _, pool = limited
    real, seen = streaming._attempt, []

    def interrupted(*arguments: Any) -> Any:
        written = json.loads((tmp_path / "streaming.json").read_text())
        seen.append(list(written["short_of_memory"])[2:])
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(streaming, "_on_gpu", lambda device: True)
    monkeypatch.setattr(streaming, "_pool", lambda: pool)
    monkeypatch.setattr(streaming, "_attempt", interrupted)
    assert main(["--m", "20000", "--hidden", "8", "--out", str(tmp_path)]) == 130
    assert seen == [[], ["as it comes"], ["as it comes", "batch_size='auto'"]]
    assert "results" not in json.loads((tmp_path / "streaming.json").read_text())
    assert pool.limit == 0
