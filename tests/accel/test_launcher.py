"""`python -m nnx.accel X` is `python X` but for the classes."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = """
import sys
from pathlib import Path
me = sys.modules["__main__"]
print(__name__, Path(__file__).name, sys.argv[1:], repr(sys.path[0]), __spec__ and __spec__.name)
varying = {"__annotations__", "__cached__"}  # with Python's version
print(me.__dict__ is globals(), sorted({n for n in globals() if n[:2] == "__"} - varying))
class Mine: pass
import pickle
print(type(pickle.loads(pickle.dumps(Mine()))) is Mine)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("program.py",),
        ("program.py", "-m", "a b", "--help"),
        ("folder/program.py", "1"),
        ("-m", "program", "-c", "1"),
        ("-mprogram",),
        ("-m", "folder.program"),
        ("-m", "package", "x"),
        ("package", "x"),
        ("-c", "import sys; print(sys.argv, repr(sys.path[0]), __name__, __spec__)", "a"),
        ("-", "a"),
    ],
    ids=" ".join,
)
def test_a_program_sees_what_it_sees_without(
    run: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "program.py").write_text(SCRIPT)
    for folder in ("folder", "package"):
        (tmp_path / folder).mkdir()
    (tmp_path / "folder" / "program.py").write_text(SCRIPT)
    (tmp_path / "package" / "__main__.py").write_text(SCRIPT)
    source = SCRIPT.replace("Path(__file__).name", "1") if arguments[0] == "-" else ""
    plain = run(*arguments, input=source)
    accelerated = run("-m", "nnx.accel", *arguments, input=source)
    assert plain.stdout
    assert plain.returncode == 0, plain.stderr
    assert (accelerated.stdout, accelerated.stderr) == (plain.stdout, plain.stderr)
    assert accelerated.returncode == 0


@pytest.mark.parametrize(
    "source",
    [
        "import sys; sys.exit(7)",
        "raise SystemExit('bye')",
        "def f():\n    return 1 / 0\nf()",
        "def f(:\n    pass",
        "raise KeyboardInterrupt",
        "import sys\nsys.excepthook = lambda *e: print('mine', e[0], file=sys.stderr)\n1 / 0",
        "import atexit, pickle\nclass A: pass\natexit.register(lambda: print(pickle.dumps(A())))",
        "# coding: latin-1\nprint(len('\u00e9'))",
        "import os; os._exit(9)",
    ],
)
def test_a_program_ends_as_it_ends_without(run: Run, tmp_path: Path, source: str) -> None:
    (tmp_path / "program.py").write_text(source, encoding="latin-1")
    plain = run("program.py")
    accelerated = run("-m", "nnx.accel", "program.py")
    assert accelerated.returncode == plain.returncode
    assert (accelerated.stdout, accelerated.stderr) == (plain.stdout, plain.stderr)


def test_what_cannot_be_run_is_said_in_pythons_words(run: Run) -> None:
    for arguments in (("absent.py",), ("-m", "absent"), ("-m", "absent.inner")):
        plain, accelerated = run(*arguments), run("-m", "nnx.accel", *arguments)
        assert plain.returncode == accelerated.returncode != 0
        assert plain.stderr == accelerated.stderr != ""


def test_a_command_line_that_is_none_shows_the_usage(run: Run) -> None:
    for arguments in ((), ("-m",), ("-c",), ("--fast", "program.py")):
        result = run("-m", "nnx.accel", *arguments)
        assert result.returncode == 2
        assert "usage: python -m nnx.accel" in result.stderr
    result = run("-m", "nnx.accel", "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("usage: python -m nnx.accel")


def test_the_safe_path_stays_safe(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print(sys.path)")
    plain = run("-P", "program.py")
    assert run("-P", "-m", "nnx.accel", "program.py").stdout == plain.stdout


def test_a_program_without_networks_loads_neither_scikit_learn_nor_the_estimators(run: Run) -> None:
    code = (
        "import sys; print([m for m in sys.modules if m.startswith('sklearn') or 'accel.est' in m])"
    )
    assert run("-m", "nnx.accel", "-c", code).stdout == "[]\n"


def test_nnx_alone_loads_nothing_of_it(run: Run) -> None:
    code = "import sys, nnx; print([m for m in sys.modules if m.startswith('nnx.accel')])"
    assert run("-c", code).stdout == "[]\n"
