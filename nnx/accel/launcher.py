"""Runs a program as `python` itself does, with nnx.accel installed."""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import BuiltinImporter, SourceFileLoader
from types import CodeType, ModuleType, TracebackType
from typing import Any, NoReturn

from nnx.accel.patching import install
from nnx.backends.errors import NnxError

USAGE = """\
usage: python -m nnx.accel [-h] script.py | -m module | -c code | -   [arguments]

Runs a Python program with scikit-learn's MLPClassifier and MLPRegressor on nnx. The forms, the
arguments and the exit status are those of python itself; - reads the program from standard input.

  NNX_ACCEL_LOG   a level (off, error, warning, info, debug) or a path: where the log says what
                  runs in scikit-learn, and why (default: warning, on standard error)
  NNX_DEVICE      cpu, cuda, cuda:1, ... (default: a GPU where there is one)
"""


def main(arguments: Sequence[str]) -> None:
    """Run the program that the command line names; it ends as the program ends."""
    words = list(arguments)
    if not words:
        _stop(2, USAGE.rstrip())
    first, rest = words[0], words[1:]
    if first in ("-h", "--help"):
        print(USAGE, end="")
        return
    if first[:2] in ("-m", "-c"):  # python takes -mpytest too
        if len(first) > 2:
            rest.insert(0, first[2:])
        if not rest:
            _stop(2, f"Argument expected for the {first[:2]} option\n{USAGE.rstrip()}")
    elif first.startswith("-") and first != "-":
        _stop(2, f"unknown option {first}\n{USAGE.rstrip()}")
    try:
        install()
    except NnxError as error:
        _stop(2, str(error))
    if first[:2] == "-m":
        _as_main(lambda: _run_module(rest))
    elif first[:2] == "-c":
        _as_main(lambda: _run_source(rest[0], "<string>", ["-c", *rest[1:]]))
    elif first == "-":
        _as_main(lambda: _run_source(sys.stdin.read(), "<stdin>", words))
    else:
        _as_main(lambda: _run_path(words))


def _stop(status: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)


def _as_main(run: Callable[[], None]) -> None:
    """Call `run` with a fresh module __main__; a traceback then shows the program's frames only."""
    module = ModuleType("__main__")
    vars(module).update(__builtins__=builtins, __annotations__={})
    sys.modules["__main__"] = module
    try:
        run()
    except SystemExit:
        raise
    except BaseException as error:
        show, own = sys.excepthook, _without_launcher(error.__traceback__)

        def hook(
            kind: type[BaseException], value: BaseException, _: TracebackType | None, /
        ) -> None:
            show(kind, value.with_traceback(own), own)

        sys.excepthook = hook
        raise


def _without_launcher(traceback: TracebackType | None) -> TracebackType | None:
    while traceback is not None and _is_launcher(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    return traceback


def _is_launcher(file: str) -> bool:
    return file in (__file__, runpy.__file__, "<frozen runpy>")


def _run_module(words: list[str]) -> None:
    sys.argv[:] = ["-m", *words[1:]]
    # What `python -m` itself calls: run_module would take __main__ away again at the end, under
    # the feet of threads, exit handlers and pickles.
    runpy._run_module_as_main(words[0])  # type: ignore[attr-defined]


def _run_source(source: str, file: str, argv: list[str]) -> None:
    sys.argv[:] = argv
    _set_first_path("")
    names = {"__file__": file} if file == "<stdin>" else {}
    code = compile(source, file, "exec", dont_inherit=True)
    _execute(code, __loader__=BuiltinImporter, **names)


def _run_path(words: list[str]) -> None:
    script = words[0]
    sys.argv[:] = words
    path = os.path.abspath(script)
    if os.path.isdir(path) or pkgutil.get_importer(path) is not None:
        # A folder or archive with a __main__.py. get_importer answers for both, not for a file.
        if _set_first_path(path) is None:
            sys.path.insert(0, path)
        runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]
        return
    try:
        with io.open_code(path) as file:
            code = pkgutil.read_code(file)  # type: ignore[attr-defined]
            if code is None:
                file.seek(0)
                content = file.read()
    except OSError as error:
        _stop(
            2,
            f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}",
        )
    _set_first_path(os.path.dirname(os.path.realpath(script)))
    if code is None:
        code = compile(content, path, "exec", dont_inherit=True)
    _execute(code, __file__=path, __loader__=SourceFileLoader("__main__", path))


def _set_first_path(path: str) -> str | None:
    """Put `path` where `python -m` put the current folder; None where -P keeps it out."""
    if sys.flags.safe_path:
        return None
    sys.path[0] = path
    return path


def _execute(code: CodeType, **names: Any) -> None:
    space = vars(sys.modules["__main__"])
    space.update(__package__=None, __spec__=None, __cached__=None, **names)
    exec(code, space)
