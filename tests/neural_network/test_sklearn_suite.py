"""scikit-learn's own test file for its MLP, as installed, on nnx's classes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

FILE = "sklearn.neural_network.tests.test_mlp"
HERE = Path(__file__).parent


def run(*options: str) -> dict[str, int]:
    """The counts of pytest's last line; every test that fails is an error here."""
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    env = {**os.environ, "PYTHONPATH": str(HERE), "NNX_DEVICE": "cpu"}
    done = subprocess.run(
        [*command, "--pyargs", FILE], cwd="/", env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    last = done.stdout.strip().splitlines()[-1]
    return {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", last)}


@pytest.mark.slow
def test_every_test_passes() -> None:
    """As many pass as are collected, but for those that scikit-learn's own run skips too."""
    collected = run("--collect-only")["tests"]
    ours, theirs = run("-p", "sklearn_with_nnx"), run()
    assert ours["passed"] + ours.get("skipped", 0) == collected > 50
    assert ours["passed"] == theirs["passed"]
    assert ours.get("skipped", 0) == theirs.get("skipped", 0)


def test_the_classes_in_that_run_are_nnxs() -> None:
    code = (
        "import sklearn_with_nnx, sklearn.neural_network as n; "
        "print(n.MLPClassifier.__module__, n.MLPRegressor.__module__)"
    )
    env = {**os.environ, "PYTHONPATH": str(HERE)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["nnx.neural_network.estimators"] * 2
