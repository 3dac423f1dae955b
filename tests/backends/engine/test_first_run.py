"""The first process of a machine, which compiles, gives the bits of all later ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import hashlib
import numpy as np
import nnx

net = nnx.MLP([64, 16, 10], device="cpu", seed=1)
X = np.asfortranarray(np.random.default_rng(0).standard_normal((64, 128)), np.float32)
step = nnx.TrainingStep(net, 64, nnx.Adam(0.01), compiled=True)
step.run(X, np.arange(128) % 10, None, np.full(2, 0.01))
print(hashlib.sha256(net.theta.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_the_first_process_gives_the_bits_of_the_second(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    found = [
        subprocess.run(
            [sys.executable, "-P", "-c", CODE], env=environment, capture_output=True, text=True,
            check=True,
        ).stdout
        for _ in range(2)
    ]  # fmt: skip
    assert found[0] == found[1]
