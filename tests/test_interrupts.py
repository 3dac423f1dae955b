"""Ctrl-C in the first compiled fit of a process: whatever it meets, the session goes on."""

import signal
import subprocess
import sys

import pytest

from nnx.backends.uninterrupted import uninterrupted

# The signal comes while Numba is imported, its code is loaded, or steps are taken.
CODE = """
import os, signal, sys, threading, warnings
import numpy as np
from nnx.neural_network import MLPClassifier

warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.standard_normal((4000, 20)), rng.integers(0, 2, 4000)
threading.Timer(float(sys.argv[1]), os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    MLPClassifier((64, 64), max_iter=200, tol=0, n_iter_no_change=1000, random_state=0).fit(X, y)
except KeyboardInterrupt:
    print("interrupted")
model = MLPClassifier((64, 64), max_iter=40, random_state=0).fit(X, y)
import numba
assert numba.core is not None
assert np.isfinite(model.predict_proba(X)).all()
print("went on")
"""


@pytest.mark.parametrize("delay", [0.03, 0.1, 0.2, 0.4])
def test_a_fit_after_an_interrupted_one(delay: float) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn brings the estimators")
    command = [sys.executable, "-P", "-c", CODE, str(delay)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "went on"


def test_it_is_held_back_and_then_takes_effect() -> None:
    reached = []

    def interrupted() -> None:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end of the block")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert reached == ["the end of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with uninterrupted():
        pass


def test_a_handler_of_the_users_own_is_called_afterwards() -> None:
    called: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: called.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert not called
        assert called == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)
