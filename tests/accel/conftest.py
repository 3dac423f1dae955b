"""Programs run as their users run them: in a process of their own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nnx import accel

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run Python with these arguments in `tmp_path`, on the CPU unless told otherwise."""

    def call(*arguments: str, input: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        dropped = ("NNX_ACCEL_LOG", "PYTHONPATH", "PYTHONSAFEPATH")
        kept = {name: value for name, value in os.environ.items() if name not in dropped}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            input=input,
            capture_output=True,
            text=True,
            env={**kept, "NNX_DEVICE": "cpu", **env},
        )

    return call


@pytest.fixture
def installed() -> Iterator[None]:
    """nnx.accel in this process, for one test."""
    accel.install()
    yield
    accel.uninstall()
