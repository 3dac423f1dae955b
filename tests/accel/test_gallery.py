"""Examples of scikit-learn's gallery print the same scores with nnx in the place of its MLP."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
GALLERY = Path(__file__).parent / "gallery"
NUMBER = re.compile(r"-?\d+\.\d+")


def rounded(text: str) -> str:
    """The text with its numbers to three digits."""
    return NUMBER.sub(lambda match: f"{float(match[0]):.3f}", text)


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(GALLERY.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_prints_the_same(run: Run, script: Path, tmp_path: Path) -> None:
    log = tmp_path / "accel.log"
    plain = run(str(script))
    accelerated = run("-m", "nnx.accel", str(script), NNX_ACCEL_LOG=str(log))
    assert plain.returncode == accelerated.returncode == 0, plain.stderr + accelerated.stderr
    assert len(NUMBER.findall(plain.stdout)) >= 9
    assert rounded(accelerated.stdout).splitlines() == rounded(plain.stdout).splitlines()
    assert ".fit runs in nnx" in log.read_text()
    assert "in scikit-learn:" not in log.read_text()


def test_there_are_five() -> None:
    assert len(list(GALLERY.glob("*.py"))) == 5
