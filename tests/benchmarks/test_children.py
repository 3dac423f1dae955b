"""Processes that answer, rest, fail and end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnx.benchmarks.children import Child

ECHO = """
import os, sys
from nnx.benchmarks.children import serve

def answer(request):
    print("a library prints")
    if "fail" in request:
        raise {"memory": MemoryError, "value": ValueError}[request["fail"]]("no")
    return {"pid": os.getpid(), **request}

serve(answer)
"""


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """A child that says back what it is told, and rests in between."""
    (tmp_path / "echo_child.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child("echo_child", rests=True)
    yield child
    child.close()


def state(pid: int) -> str:
    """The letter of a process in /proc: T is stopped; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def becomes(pid: int, letters: str) -> bool:
    """Wait until the process is in one of these states."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if state(pid) in [*letters]:
            return True
        time.sleep(0.01)
    return False


def test_answers_come_back_whatever_is_printed(child: Child) -> None:
    assert child.ask({"a": [1, 2]})["a"] == [1, 2]
    assert child.ask({"a": "second"})["a"] == "second"


def test_what_fails_is_an_answer_and_the_next_question_too(child: Child) -> None:
    assert child.ask({"fail": "value"}) == {"error": "ValueError: no", "memory": False}
    assert child.ask({"fail": "memory"}) == {"error": "MemoryError: no", "memory": True}
    assert child.ask({"a": 1})["a"] == 1


def test_a_process_that_ended_is_an_answer(child: Child) -> None:
    pid = child.ask({})["pid"]
    os.kill(pid, 9)
    assert "ended with status" in child.ask({})["error"]


linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


@linux
def test_it_is_stopped_between_questions(child: Child) -> None:
    pid = child.ask({})["pid"]
    assert becomes(pid, "T")
    assert child.ask({"a": 1})["a"] == 1
    child.close()
    assert state(pid) == ""


@linux
def test_it_is_gone_with_a_parent_that_is_killed(child: Child) -> None:
    """Even though it is stopped, and does not see that nobody will ask again."""
    code = """
import time
from nnx.benchmarks.children import Child
print(Child("echo_child", rests=True).ask({})["pid"], flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert becomes(pid, "T")
        parent.send_signal(signal.SIGKILL)
    assert becomes(pid, "ZX") or state(pid) == ""
