"""Processes of our own that answer requests, a line of JSON each: one for each contender.

On a processor two contenders in one process disturb each other: the threads of a BLAS spin for a
tenth of a second after their last work, on the cores that the next one needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

Answer = dict[str, Any]
_CAN_STOP = hasattr(signal, "SIGSTOP")
_PR_SET_PDEATHSIG = 1  # of Linux's <sys/prctl.h>


class Child:
    """One process: `python -m module arguments`.

    Parameters
    ----------
    module : str
        Its main program ends in `serve`.
    arguments : str
    rests : bool
        Whether the process is stopped (SIGSTOP) whenever it is not asked anything, so that no
        thread of it takes time from others. Where the system cannot do so, it is not.
    """

    def __init__(self, module: str, *arguments: str, rests: bool = False) -> None:
        command = [sys.executable, "-P", "-m", module, *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        self.rests = rests and _CAN_STOP

    def ask(self, request: Mapping[str, Any]) -> Answer:
        """Return the answer; {"error": text} where the request failed or the process has ended."""
        self.begin(request)
        return self.answer()

    def begin(self, request: Mapping[str, Any]) -> None:
        """Send a request, without waiting for its answer."""
        assert self._process.stdin is not None
        self._signal("SIGCONT")
        with contextlib.suppress(OSError):  # the answer will say that the process has ended
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()

    def answer(self) -> Answer:
        """Wait for the answer to the request that was begun."""
        assert self._process.stdout is not None
        try:
            answer: Answer = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            return {"error": f"its process ended with status {self._process.poll()}"}
        self._signal("SIGSTOP")
        return answer

    def close(self) -> None:
        """End the process."""
        self._signal("SIGCONT")
        self._process.terminate()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # of a request that it did not read
                    pipe.close()

    def _signal(self, name: str) -> None:
        if self.rests and self._process.poll() is None:
            self._process.send_signal(getattr(signal, name))


def serve(answer: Callable[[Answer], Answer]) -> None:
    """Answer the parent's requests until there are no more; what fails becomes {"error": text}.

    Errors that are a MemoryError, as CuPy's are, come with {"memory": true}.
    """
    _end_with_the_parent()
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            found = {"error": text, "memory": isinstance(error, MemoryError)}
        print(json.dumps(found), file=answers, flush=True)


def _end_with_the_parent() -> None:
    """Have Linux kill this process when its parent is killed, even while it is stopped."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
