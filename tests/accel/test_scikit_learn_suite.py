"""scikit-learn's own tests of its MLP, unmodified, with nnx in its place: every one of them."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SUITE = ("--pyargs", "sklearn.neural_network.tests.test_mlp", "-q", "-p", "no:cacheprovider")


def count(output: str, word: str) -> int:
    return sum(int(number) for number in re.findall(rf"(\d+) (?:tests? )?{word}", output))


def check(run: Run, tmp_path: Path, device: str) -> None:
    collected = count(run("-m", "pytest", *SUITE, "--collect-only").stdout, "collected")
    log = tmp_path / "accel.log"
    result = run(
        "-m", "nnx.accel", "-m", "pytest", *SUITE, NNX_DEVICE=device, NNX_ACCEL_LOG=str(log)
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    last = result.stdout.splitlines()[-1]
    skipped = count(last, "skipped")  # only what skips without nnx too, such as for want of pandas
    if skipped:
        assert skipped == count(run("-m", "pytest", *SUITE).stdout.splitlines()[-1], "skipped")
    assert collected > 50
    assert count(last, "passed") + skipped == collected
    for word in ("failed", "error", "xfailed", "xpassed", "deselected"):
        assert count(last, word) == 0, last
    said = log.read_text()
    assert "MLPClassifier.fit runs in nnx" in said
    assert "in scikit-learn:" not in said


@pytest.mark.slow
def test_every_test_passes_on_the_cpu(run: Run, tmp_path: Path) -> None:
    check(run, tmp_path, "cpu")


@pytest.mark.gpu
@pytest.mark.slow
def test_every_test_passes_on_a_gpu(run: Run, tmp_path: Path) -> None:
    check(run, tmp_path, "cuda")
