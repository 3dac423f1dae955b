"""The way into the commands: help, errors in one line, exit statuses, missing libraries."""

import subprocess
import sys
from typing import Any

import click
import pytest

import nnx
from nnx.cli import commands, main

Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("command", "taught"),
    [
        ([], ["nnx info", "nnx demo", "nnx bench --quick"]),
        (["info"], ["NNX_DEVICE", "which extra"]),
        (["demo"], ["nnx demo digits --device cuda"]),
        (["bench"], ["nnx bench --quick", "--budget", "throughput.json", "16,64,256,1024"]),
    ],
)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_teaches_by_examples(
    command: list[str], taught: list[str], flag: str, capsys: Output
) -> None:
    assert main([*command, flag]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: nnx")
    for text in taught:
        assert text in shown


def test_the_version_is_that_of_the_library(capsys: Output) -> None:
    assert main(["--version"]) == 0
    assert nnx.__version__ in capsys.readouterr().out


def test_an_unknown_command_is_answered_with_the_nearest(capsys: Output) -> None:
    assert main(["bnch"]) == 2
    assert "'bench'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "--device", "cpuu"], "unknown device 'cpuu'; did you mean 'cpu'?"),
        (["bench", "--pass", "foward"], "unknown pass 'foward'; did you mean 'forward'?"),
        (["bench", "--m", "16,0"], "m: wanted whole numbers from 1 on, got 0"),
        (["bench", "--optimizer", "adam"], "unknown optimizer 'adam'"),
        (["demo", "flowr"], "unknown example 'flowr'; did you mean 'flower'?"),
        (["demo", "flower", "--device", "cpuu"], "did you mean 'cpu'?"),
    ],
)
def test_an_error_is_one_line_and_the_status_is_1(
    arguments: list[str], message: str, capsys: Output
) -> None:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("nnx: ")
    assert error.count("\n") == 1


def test_a_value_of_the_wrong_kind_is_a_usage_error(capsys: Output) -> None:
    assert main(["bench", "--m", "many"]) == 2
    assert "wanted whole numbers between commas, got 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_stopping_is_said_without_a_traceback(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def stop(**_: Any) -> None:
        raise error

    monkeypatch.setattr(commands.commands, "main", stop)
    assert main([]) == 130
    assert capsys.readouterr().err == "nnx: stopped; nothing was written\n"


@pytest.mark.parametrize("library", ["click", "rich"])
def test_without_the_extra_the_error_names_it(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    for name in [name for name in sys.modules if name.startswith("nnx.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["info"]) == 1
    assert 'pip install "nnx-learn[cli]"' in capsys.readouterr().err


def test_another_missing_module_is_not_blamed_on_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nnx.cli.commands", None)
    with pytest.raises(ModuleNotFoundError):
        main([])


def test_the_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nnx.cli", "demo"], capture_output=True, text=True, check=True
    )
    assert "flower" in done.stdout
