"""`nnx bench` on a tiny grid: the table, the files, and what stands in the way."""

import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from nnx.benchmarks import Cell, Record, Timing, read_record, write_record
from nnx.benchmarks.cell import LIMITS, NETWORK
from nnx.cli import bench, bench_tables, main

Output = pytest.CaptureFixture[str]
TINY = ["bench", "--quick", "--device", "cpu", "--m", "4,8", "--hidden", "3", "--samples", "2"]
GRID = ["--parts", "grid"]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the tiny grid with more options, in an empty folder and on an idle machine."""
    monkeypatch.chdir(tmp_path)
    real = bench.environment
    monkeypatch.setattr(bench, "environment", lambda names: {**real(names), "load_average": 0.0})
    return lambda *options: main([*TINY, *(() if "--parts" in options else GRID), *options])


def test_it_ends_with_a_table_a_record_and_a_picture(
    run: Callable[..., int], capsys: Output
) -> None:
    pytest.importorskip("matplotlib")
    assert run() == 0
    shown = capsys.readouterr().out.splitlines()
    for title in ("forward pass", "forward + backward pass", "training step"):
        assert f"cpu: {title}, float32, 1 hidden layer" in shown
    assert shown[-2:] == [
        f"record:  {Path('bench-out/throughput.json')}",
        f"picture: {Path('bench-out/throughput.png')}",
    ]
    record = read_record("bench-out/throughput.json")
    assert len(record.cells) == 2 * 3
    assert record.settings["m"] == [4, 8]
    assert record.settings["samples"] == 2
    assert record.environment["blas"]["threads"] >= 1
    assert Path("bench-out/throughput.png").read_bytes().startswith(b"\x89PNG")


def test_options_select_a_part_of_the_grid(run: Callable[..., int]) -> None:
    options = ["--pass", "step", "--dtype", "float32,float64", "--layers", "1", "--layers", "2"]
    assert run(*options, "--optimizer", "Adam", "--budget", "60", "--out", "here") == 0
    record = read_record("here/throughput.json")
    assert {cell.pass_ for cell in record.cells} == {"step"}
    assert {cell.dtype for cell in record.cells} == {"float32", "float64"}
    assert {cell.layers for cell in record.cells} == {1, 2}
    assert record.settings["optimizer"] == "Adam"
    assert record.settings["budget_seconds"] == 60


def test_without_options_the_settings_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("device", "m", "hidden", "layers", "dtype", "pass", "parts")
    nothing = dict.fromkeys(names, ()) | dict.fromkeys(
        ("optimizer", "samples", "budget", "parts_budget")
    )
    assert bench._settings(False, nothing) == bench.Settings()
    assert bench._settings(True, nothing) == bench.Settings.quick()


def test_without_matplotlib_the_record_is_kept_and_the_extra_named(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("--pass", "forward") == 0
    shown = capsys.readouterr().out
    assert "no picture: the picture of a sweep needs matplotlib" in shown
    assert "nnx-learn[plot]" in shown
    assert read_record("bench-out/throughput.json").cells


def test_without_tqdm_the_extra_is_named_before_any_work(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(bench, "sweep", lambda settings: pytest.fail("it measured"))
    assert run() == 1
    assert "nnx-learn[cli]" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    Path("taken").write_text("a file")
    monkeypatch.setattr(bench, "sweep", lambda settings: pytest.fail("it measured"))
    assert run("--out", "taken") == 1
    assert "--out taken: cannot be made a folder" in capsys.readouterr().err


def test_a_busy_machine_is_a_warning() -> None:
    where: dict[str, Any] = {"cpu": {"usable_cores": 4}, "load_average": 3.5}
    assert "busy (load 3.5 on 4 cores)" in bench._busy(where)
    assert bench._busy({**where, "load_average": 2.0}) == ""
    assert bench._busy({**where, "load_average": None}) == ""


def test_the_warning_goes_to_standard_error(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(bench, "_busy", lambda where: "warning: busy")
    assert run("--pass", "forward") == 0
    output = capsys.readouterr()
    assert "warning: busy" in output.err
    assert "warning: busy" not in output.out


def test_every_part_of_a_record_is_measured_and_told(
    run: Callable[..., int], capsys: Output
) -> None:
    parts = "peaks,operations,memory,vectorized,energy,depth"
    assert run("--parts", parts, "--parts-budget", "1000") == 0
    shown = capsys.readouterr().out
    for line in ("peak of cpu, float32", "step of cpu", "memory of cpu", "dot product on cpu"):
        assert line in shown
    assert "energy" in shown
    record = read_record("bench-out/throughput.json")
    assert {cell.part for cell in record.cells} == {"depth"}
    assert record.findings.peaks[0].gflop_per_second > 0
    assert record.seconds is not None
    assert "no picture: nothing to draw" in shown


def test_a_record_is_compared_with_an_earlier_one(
    run: Callable[..., int], capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("--pass", "step", "--out", "before") == 0
    before = read_record("before/throughput.json")
    quiet = [quieter(cell) for cell in before.cells]
    write_record(replace(before, cells=quiet), "before/throughput.json")
    slow = [replace(c, timings={**c.timings, NETWORK: tripled(c)}) for c in quiet]
    monkeypatch.setattr(bench, "sweep", lambda settings: iter(slow))
    monkeypatch.setattr(bench, "measure_again", lambda settings, cells: iter(slow))
    arguments = ("--pass", "step", "--compare", "before/throughput.json", "--out", "after")
    assert run(*arguments) == 3
    shown = capsys.readouterr().out
    assert "fell: cpu: training step, float32, 1 hidden layer, m = 4, n_h = 3" in shown
    assert "2 of 2 shares of the limit fell by more than 10 % of themselves" in shown
    slow[:] = quiet
    assert run(*arguments) == 0
    assert "0 of 2 shares" in capsys.readouterr().out


def quieter(cell: Cell) -> Cell:
    """The cell with samples that do not vary."""
    timings = {name: Timing(1, (timing.median,) * 3) for name, timing in cell.timings.items()}
    return replace(cell, timings=timings)


def tripled(cell: Cell) -> Timing:
    """What nnx took, three times as long."""
    return Timing(1, tuple(3 * s for s in cell.nnx.samples))


@pytest.fixture
def earlier(tmp_path: Path) -> Callable[..., str]:
    """Write a record of this machine with one cell, and name its file."""

    def write(changes: Any = None, **fields: Any) -> str:
        where = {**bench.environment(["cpu"]), **(changes or {})}
        settings = {"optimizer": "GradientDescent", **fields}
        found = Record(settings, where, (cell(m=4, n_h=3),))
        return str(write_record(found, tmp_path / "earlier" / "throughput.json"))

    return write


@pytest.mark.parametrize(
    ("changes", "fields", "options", "message"),
    [
        ({"cpu": {"model": "another"}}, {}, (), "is of another machine (processor: another then"),
        ({}, {"optimizer": "Adam"}, (), "its steps are those of Adam; compare with --optimizer"),
        ({}, {}, ("--dtype", "float64"), "has none of the cells that are asked for"),
        ({}, {}, ("--out", "earlier"), "would be overwritten"),
        ({}, {}, ("--fall", "0"), "between 0 and 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_any_work(
    run: Callable[..., int],
    earlier: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    changes: Any,
    fields: Any,
    options: Any,
    message: str,
) -> None:
    path = earlier(changes, **fields)
    before = Path(path).read_bytes()
    monkeypatch.setattr(bench, "sweep", lambda settings: pytest.fail("it measured"))
    status = main(["bench", "--quick", "--device", "cpu", "--m", "4", "--hidden", "3", *GRID,
                 "--compare", path, *options])  # fmt: skip
    assert status == 1
    assert message in capsys.readouterr().err
    assert Path(path).read_bytes() == before


def test_a_record_that_is_none_is_refused_before_any_work(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    Path("bench-out").mkdir()
    Path("bench-out/throughput.json").write_text("kept")
    Path("old.json").write_text('{"schema": "nnx-bench/2"}')
    monkeypatch.setattr(bench, "sweep", lambda settings: pytest.fail("it measured"))
    assert run("--compare", "old.json") == 1
    assert "old.json: settings: is missing" in capsys.readouterr().err
    assert Path("bench-out/throughput.json").read_text() == "kept"


def test_another_machine_is_a_warning_where_it_is_asked_for(
    run: Callable[..., int], earlier: Callable[..., str], capsys: Output
) -> None:
    path = earlier({"cpu": {"model": "another"}})
    assert run("--pass", "forward", "--compare", path, "--other-machine") in (0, 3)
    assert "warning: --compare" in capsys.readouterr().err


def cell(device: str = "cpu", **changes: Any) -> Cell:
    """Make a cell of 100 examples in two seconds, at half the speed of the products."""
    timings = {NETWORK: Timing(1, (2.0,)), **{name: Timing(1, (1.0,)) for name in LIMITS.values()}}
    fields: dict[str, Any] = {"flop": 4_000_000_000, "bytes_needed": 1, "timings": timings}
    grid = {"dtype": "float32", "pass_": "forward", "m": 100, "n_h": 16, "layers": 1}
    return Cell(**{"device": device, **grid, **fields, **changes})


def shown(*cells: Cell) -> str:
    """What `show` prints of a record with these cells."""
    devices = tuple(dict.fromkeys(cell.device for cell in cells))
    console = Console(file=StringIO(), width=80)
    bench_tables.show(Record({"devices": devices}, {}, cells), console)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_table_holds_rate_gflop_and_share() -> None:
    lines = shown(cell(), cell(n_h=64), cell(m=200), cell(m=200, n_h=64)).splitlines()
    assert lines[:3] == ["cpu: cpu", "cpu: forward pass, float32, 1 hidden layer", lines[2]]
    assert lines[2].split() == ["m", "\\", "n_h", "16", "64"]
    assert lines[3].split() == ["100", *["50", "2.0", "50%"] * 2]
    assert lines[4].split() == ["200", *["100", "2.0", "50%"] * 2]


def test_a_table_for_each_device_dtype_pass_and_depth_in_that_order() -> None:
    text = shown(
        cell("cuda:0"),
        cell(layers=2),
        cell(pass_="step"),
        cell(dtype="float64"),
        cell(),
    )
    titles = [line for line in text.splitlines() if "hidden layer" in line]
    assert titles == [
        "cuda:0: forward pass, float32, 1 hidden layer",
        "cpu: forward pass, float32, 1 hidden layer",
        "cpu: forward pass, float64, 1 hidden layer",
        "cpu: forward pass, float32, 2 hidden layers",
        "cpu: training step, float32, 1 hidden layer",
    ]


def test_skipped_cells_are_listed_with_the_reason() -> None:
    text = shown(cell(), cell(m=10**9, timings={}, reason="needs about 3000.0 GiB"))
    assert "skipped" in text
    assert "m = 1000000000, n_h = 16: needs about 3000.0 GiB" in text


def test_the_default_grid_fits_a_terminal_of_80_columns() -> None:
    cells = [cell(n_h=n_h, flop=10**14) for n_h in bench.Settings.hidden]
    assert max(map(len, shown(*cells).splitlines()[:4])) <= 80
    assert "…" not in shown(*cells)


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.5, "0.5"),
        (12.34, "12.3"),
        (999.4, "999"),
        (999.6, "1k"),
        (1234.0, "1.23k"),
        (999_600.0, "1M"),
        (4.16e6, "4.16M"),
        (2.5e9, "2.5G"),
    ],
)
def test_rates_have_three_figures(rate: float, text: str) -> None:
    assert bench_tables._rate(rate) == text
