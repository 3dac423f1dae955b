"""Runs a call: each part within its limit, its outcome written down when it ends.

At its limit a part is interrupted as Ctrl-C would, so that it writes what it has, and killed where
it does not end. The evidence is one folder of few files: the records that the parts write
themselves, row by row; CALL.json, which tells how every part ended and which tests failed; and
CALL-logs.tar.gz with the rest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnx.benchmarks.fields import read_json
from nnx.benchmarks.gpu.outcomes import failed_tests, read_tests
from nnx.benchmarks.gpu.parts import Call, Part
from nnx.benchmarks.gpu.plan import pytest_command
from nnx.benchmarks.record import write_json

SCHEMA = "nnx-gpu-run/1"
_GRACE, _GRACE_SHARE = 10.0, 0.25  # of a part's time, to write down what it has
_SHOWN = 25  # lines of a log
# Kernels of nnx alone: those of cuBLASLt and CuPy are not ours to check.
_SANITIZER = ("--kernel-name", "kns=step_", "--error-exitcode", "1", "--tool")


@dataclass
class Run:
    """One call under way.

    Parameters
    ----------
    call : Call
    out : Path
        Folder of the evidence.
    work : Path
        Folder for logs and for what parts keep between calls; its contents go into the archive.
    earlier : Path, optional
        The evidence of earlier calls on such a GPU: what failed there is run again, and unfinished
        studies go on.
    """

    call: Call
    out: Path
    work: Path
    earlier: Path | None = None
    record: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Make the folders."""
        shutil.rmtree(self.work, ignore_errors=True)
        for folder in (self.out, self.work):
            folder.mkdir(parents=True, exist_ok=True)
        self._begun = time.monotonic()
        self.record = {
            "schema": SCHEMA,
            "call": self.call.name,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": self.call.seconds,
            "parts": [],
        }

    def run(self) -> int:
        """Run all parts; return the exit status.

        Raises
        ------
        KeyboardInterrupt
            After the part under way has been ended and written down.
        """
        if self.earlier is not None:
            _restore(self.earlier / self._archive, self.work)
        for number, part in enumerate(self.call.parts):
            left = self._begun + self.call.seconds - time.monotonic()
            outcome = self._part(part, min(part.seconds, left))
            if part.needed and outcome["outcome"] != "ok":
                for skipped in self.call.parts[number + 1 :]:
                    self._note({"name": skipped.name, "outcome": "not run"})
                break
        self._summary()
        return int(any(part["outcome"] != "ok" for part in self.record["parts"]))

    @property
    def _archive(self) -> str:
        return f"{self.call.name}-logs.tar.gz"

    def _note(self, outcome: dict[str, Any]) -> dict[str, Any]:
        """Write down how a part ended, before the next begins; return it."""
        self.record["parts"].append(outcome)
        preflight = self.work / "preflight.json"
        if preflight.exists():
            self.record["preflight"] = read_json(preflight).value
        write_json(self.out / f"{self.call.name}.json", self.record)
        return outcome

    def _part(self, part: Part, seconds: float) -> dict[str, Any]:
        found: dict[str, Any] = {"name": part.name, "limit": part.seconds}
        grace = min(_GRACE, _GRACE_SHARE * part.seconds)
        if seconds < 2 * grace:
            return self._note({**found, "outcome": "no time left"})
        commands = self._commands(part, seconds - grace)
        tool = shutil.which("compute-sanitizer", path=_tools()) if part.tool else None
        if part.tool:
            if tool is None:
                return self._note({**found, "outcome": "compute-sanitizer is not on this machine"})
            commands = {
                name: [tool, *_SANITIZER, part.tool, *words] for name, words in commands.items()
            }
        print(f"\n== {part.name} (at most {seconds:.0f} s)", flush=True)
        start = time.monotonic()
        logs = {name: self.work / f"{_file(part.name, name)}.log" for name in commands}
        environment = {**os.environ, "NNX_REQUIRE_GPU": "1"}
        if part.tool:
            environment["NNX_SANITIZER"] = "1"
        statuses = dict.fromkeys(commands, "interrupted")
        try:
            statuses = side_by_side(commands, logs, environment, seconds - grace, grace)
        finally:
            found |= {"outcome": _together(statuses), "seconds": round(time.monotonic() - start, 1)}
            if len(statuses) > 1:
                found["outcomes"] = statuses
            if part.tests is not None:
                found |= read_tests(self.work.glob(f"{_file(part.name, '')}*.xml"))
            for log in logs.values():
                lines = log.read_text(errors="replace").splitlines()
                print("\n".join(lines[-_SHOWN:]), flush=True)
            self._note(found)
            self._keep(part)
        return found

    def _commands(self, part: Part, seconds: float) -> dict[str, list[str]]:
        python = [sys.executable]
        if part.tests is None:
            # Measuring stops in time to print its table.
            words = {
                "{out}": str(self.out), "{work}": str(self.work), "{left}": f"{0.9 * seconds:.0f}",
            }  # fmt: skip
            return {"": python + [_filled(word, words) for word in part.command]}
        asked = dict(part.tests)
        if self.earlier is not None and part.again:
            again = failed_tests(self.earlier)
            asked |= {"again": again} if again else {}
        return {
            name: [
                *python,
                *pytest_command(arguments),
                f"--junitxml={self.work / _file(part.name, name)}.xml",
            ]
            for name, arguments in asked.items()
        }

    def _keep(self, part: Part) -> None:
        """Copy records into the evidence, and everything else into the archive."""
        for name, kept in part.keeps.items():
            if (self.work / name).exists():
                shutil.copyfile(self.work / name, self.out / kept)
        path = self.out / self._archive
        with tarfile.open(path.with_suffix(".part"), "w:gz") as archive:
            archive.add(self.work, arcname="")
        path.with_suffix(".part").replace(path)

    def _summary(self) -> None:
        print()
        for part in self.record["parts"]:
            seconds = f"{part['seconds']:7.1f} s" if "seconds" in part else " " * 9
            tests = part.get("tests")
            counts = ", ".join(f"{n} {what}" for what, n in tests.items() if n) if tests else ""
            print(f"{part['name']:24}{seconds}   {part['outcome']}   {counts}")
        print(f"evidence: {self.out}", flush=True)


def side_by_side(
    commands: Mapping[str, Sequence[str]],
    logs: Mapping[str, Path],
    environment: Mapping[str, str],
    seconds: float,
    grace: float,
) -> dict[str, str]:
    """Run commands at the same time, each into its log; return how each ended.

    After `seconds` those that still run are interrupted, after `grace` more they are killed, with
    all processes that they have started.
    """
    begun = time.monotonic()
    running: dict[str, subprocess.Popen[bytes]] = {}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_interruptible())
        stack.callback(_end, running)  # whatever happens here, nothing is left running
        for name, command in commands.items():
            log = stack.enter_context(logs[name].open("wb"))
            running[name] = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        late = _wait(running, begun + seconds)
        for name in late:
            _signal(running[name], signal.SIGINT)
        for name in _wait(running, time.monotonic() + grace) if late else ():
            _signal(running[name], signal.SIGKILL)
            running[name].wait()
    return {
        name: "out of time" if name in late else "ok" if child.returncode == 0 else
        f"failed with status {child.returncode}"
        for name, child in running.items()
    }  # fmt: skip


def _wait(running: Mapping[str, subprocess.Popen[bytes]], end: float) -> list[str]:
    """Wait until all have ended, or until then; return the names of those that still run."""
    for child in running.values():
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(max(0.0, end - time.monotonic()))
    return [name for name, child in running.items() if child.poll() is None]


def _end(running: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for child in running.values():
        _signal(child, signal.SIGKILL)


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to a child and to what it has started, as a terminal does."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, number)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Let children take SIGINT, also where this process was started without (`nohup`, `&`)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _together(statuses: Mapping[str, str]) -> str:
    """One outcome of several: the first that is not good."""
    return next((status for status in statuses.values() if status != "ok"), "ok")


def _file(part: str, name: str) -> str:
    return f"{part} {name}".strip().replace(" ", "-").replace(",", "").replace("'", "")


def _filled(text: str, words: Mapping[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(name, value)
    return text


def _tools() -> str:
    """Where to look for the tools of the CUDA toolkit."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/cuda/bin"])


def _restore(archive: Path, work: Path) -> None:
    """Lay out the finished cells that an earlier run of this call has kept."""
    if archive.exists():
        with tarfile.open(archive) as kept:
            members = [member for member in kept.getmembers() if "/cells/" in member.name]
            kept.extractall(work, members, filter="data")
