"""`nnx scale`: a table, sentences, a record; what cannot be is said before the work."""

import json

import numpy as np
import pytest

import scale_support
from nnx.benchmarks.scale import read_study
from nnx.cli import main
from nnx.cli import scale as scale_module

SMALL = ["--m", "16,32", "--seeds", "0", "--size", "small=4", "--size", "large=8,8"]


@pytest.fixture
def few_steps(monkeypatch):
    """Training of a moment."""
    from nnx.benchmarks.scale import Settings

    rules = {name: value for name, value in scale_support.SMALL.items() if name not in
             ("m", "sizes", "seeds")}  # fmt: skip

    def make(**chosen):
        return Settings(**{**rules, **chosen})

    make.quick = make.full = make
    monkeypatch.setattr(scale_module, "Settings", make)


def test_a_table_sentences_and_a_record(few_steps, tmp_path, capsys):
    out = tmp_path / "new" / "out"
    assert main(["scale", *SMALL, "--workers", "1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    for part in ("support vector machine", "large", "32", "%", "The large network", "scale.json"):
        assert part in shown
    study = read_study(out / "scale.json")
    assert study.networks == ["small", "large"]
    assert study.settings["m"] == [16, 32]


def test_own_data(few_steps, tmp_path, capsys):
    rng = np.random.default_rng(0)
    x = rng.random((100, 3))
    np.savez(tmp_path / "own.npz", X=x, y=x.sum(1))
    own = ["--data", str(tmp_path / "own.npz"), "--target", "y"]
    arguments = ["scale", "--m", "16,32,64", *SMALL[2:], *own, "--workers", "2"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    study = read_study(tmp_path / "scale.json")
    assert study.settings["m"] == [16, 32]  # there are 60 rows to train with
    assert study.task["metric"] == "mean squared error"
    assert study.contenders[0] == "linear regression"
    assert study.task["m_test"] == 20
    assert "linear regression" in capsys.readouterr().out


def test_a_foreign_record_is_not_replaced(tmp_path, capsys):
    record = tmp_path / "scale.json"
    record.write_text(json.dumps({"schema": "nnx-bench/1"}))
    before = record.read_bytes()
    assert main(["scale", *SMALL, "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"{record}: schema: wanted 'nnx-scale/1', got 'nnx-bench/1'" in error
    assert "choose another --out" in error
    assert record.read_bytes() == before
    assert not (tmp_path / "cells").exists()


def test_ctrl_c_says_how_to_go_on(few_steps, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(scale_module, "run_study", interrupted)
    assert main(["scale", *SMALL, "--out", str(tmp_path)]) == 130
    error = capsys.readouterr().err
    assert str(tmp_path / "cells") in error
    assert "the same command goes on" in error


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--task", "digit"], 1, "unknown task 'digit'; did you mean 'digits'?"),
        (["--m", "many"], 2, "wanted whole numbers between commas"),
        (["--m", "64,32"], 1, "m: wanted different numbers in increasing order"),
        (["--m", "1"], 1, "m must be a whole number of at least 2, got 1"),
        (["--size", "large=big"], 2, "such as large=256,256"),
        (["--size", "a=4", "--size", "a=5"], 2, "given twice"),
        (["--size", "support vector machine=4"], 1, "cannot be the name of a network"),
        (["--option", "live"], 2, "wanted NAME=NUMBER"),
        (["--data", "a.csv"], 2, "belong together"),
        (["--data", "a.csv", "--target", "y", "--task", "digits"], 2, "a task of its own"),
        (["--data", "a.csv", "--target", "y"], 1, "a.csv: cannot be read"),
        (["--quick", "--full"], 2, "exclude each other"),
        (["--device", "cpuu"], 1, "did you mean 'cpu'?"),
        (["--dtype", "float16"], 1, "unknown dtype 'float16'"),
        (["--dask", "nowhere"], 1, "no Dask scheduler answers at nowhere"),
    ],
)
def test_what_cannot_be_is_said_before_the_work(arguments, status, says, tmp_path, capsys):
    assert main(["scale", *arguments, "--out", str(tmp_path)]) == status
    assert says in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.rglob("*.json"))
