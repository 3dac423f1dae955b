"""scikit-learn's own tests of its MLP, unmodified, with nnx in its place: every one of them."""

import re
import subprocess
from collections.abc import Callable

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SUITE = ("--pyargs", "sklearn.neural_network.tests.test_mlp", "-q", "-p", "no:cacheprovider")


def count(output: str, word: str) -> int:
    return sum(int(number) for number in re.findall(rf"(\d+) (?:tests? )?{word}", output))


def check(run: Run, device: str) -> None:
    collected = count(run("-m", "pytest", *SUITE, "--collect-only").stdout, "collected")
    result = run("-m", "nnx.accel", "-m", "pytest", *SUITE, NNX_DEVICE=device)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-2000:]
    last = result.stdout.splitlines()[-1]
    assert collected > 50
    assert count(last, "passed") == collected
    for word in ("failed", "error", "skipped", "xfailed", "xpassed", "deselected"):
        assert count(last, word) == 0, last
    assert "runs in scikit-learn" not in result.stdout + result.stderr


@pytest.mark.slow
def test_every_test_passes_on_the_cpu(run: Run) -> None:
    check(run, "cpu")


@pytest.mark.gpu
@pytest.mark.slow
def test_every_test_passes_on_a_gpu(run: Run) -> None:
    check(run, "cuda")
