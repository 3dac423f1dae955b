"""A scaling study of a few seconds, as settings and as a program, and what two runs share."""

import json
from pathlib import Path

SMALL = {
    "m": (128, 256, 512, 1024),
    "sizes": {"small": (4,), "medium": (16,), "large": (48, 24)},
    "seeds": (0, 1),
    "m_validation": 300,
    "m_test": 400,
    "passes": 4,
    "least_steps": 40,
    "most_steps": 60,
    "checks": 5,
    "patience": 2,
    "rates": (0.005, 0.02),
    "m_tuning": 256,
    "most_svm": 512,
}
# The same as a program, for runs that are killed.
PROGRAM = f"""
import signal
import sys
from nnx.benchmarks.scale import CellStore, Settings, run_study, write_study
from pathlib import Path

if __name__ == "__main__":
    # What is started in the background inherits that Ctrl-C is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings, folder = Settings(**{SMALL!r}), Path(sys.argv[1])
    study = run_study(settings, CellStore(folder / "cells"), workers=int(sys.argv[2]))
    write_study(study, folder / "scale.json")
"""


def results(path: Path) -> bytes:
    """What two runs must have in common, byte for byte."""
    plain = json.loads(path.read_text())
    del plain["times"], plain["environment"]
    return json.dumps(plain).encode()
