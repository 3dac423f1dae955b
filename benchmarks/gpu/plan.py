"""What a call will run, counted without a GPU: a part without tests or cases is found out here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence

from nnx.benchmarks.gpu.parts import Call, Part
from nnx.errors import DataError


def pytest_command(arguments: Sequence[str]) -> list[str]:
    """The arguments of Python that run the tests marked `gpu`."""
    return ["-m", "pytest", *arguments, "-m", "gpu", "-q", "-p", "no:cacheprovider"]


def count(part: Part) -> int:
    """Number of tests or cases of a part.

    Raises
    ------
    DataError
        Where there is none, or they cannot be counted.
    """
    if part.tests is None:
        found = part.cases()
        if found < 1:
            raise DataError(f"part {part.name!r}: there is nothing to run")
        return found
    total = 0
    for name, arguments in part.tests.items():
        command = [sys.executable, *pytest_command(arguments), "--collect-only", "-qq"]
        done = subprocess.run(command, capture_output=True, text=True)
        # With -qq a line for each file: "tests/nnx/test_graph_step.py: 12".
        numbers = [int(number) for number in re.findall(r"^\S+: (\d+)$", done.stdout, re.MULTILINE)]
        if not numbers or done.returncode:
            raise DataError(
                f"part {part.name!r}, {name}: pytest {' '.join(arguments)} finds no test for a GPU "
                f"(exit status {done.returncode}): {(done.stdout + done.stderr)[-800:]}"
            )
        total += sum(numbers)
    return total


def show(call: Call) -> None:
    """Print each part with its limit and what it runs, and the sum.

    Raises
    ------
    DataError
        Where a part has nothing to run, or the parts do not fit into the call.
    """
    print(f"{'part':24}{'seconds':>8}   runs")
    for part in call.parts:
        number = count(part)
        what = f"{number} {'test' if part.tests is not None else 'case'}{'s' * (number != 1)}"
        if part.tool:
            what += f" under compute-sanitizer --tool {part.tool}"
        elif part.tests is not None and len(part.tests) > 1:
            what += f" in {len(part.tests)} processes side by side"
        print(f"{part.name:24}{part.seconds:8.0f}   {what}", flush=True)
    total = sum(part.seconds for part in call.parts)
    print(f"{'in all':24}{total:8.0f}   of {call.seconds:.0f}")
    if total > call.seconds:
        raise DataError(f"the parts of {call.name!r} take {total:.0f} s, more than {call.seconds}")
