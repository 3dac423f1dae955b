"""The scaling study: error over the number of examples and the size of the network."""

from nnx.benchmarks.scale.record import Study, read_study, write_study
from nnx.benchmarks.scale.settings import Settings
from nnx.benchmarks.scale.side_by_side import run_side_by_side
from nnx.benchmarks.scale.store import CellStore
from nnx.benchmarks.scale.study import run_study

__all__ = [
    "CellStore",
    "Settings",
    "Study",
    "read_study",
    "run_side_by_side",
    "run_study",
    "write_study",
]
