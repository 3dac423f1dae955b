"""The scaling study: error over the number of examples and the size of the network."""

from nnx.benchmarks.scale.side_by_side import run_side_by_side
from nnx.benchmarks.scale.store import CellStore

__all__ = ["CellStore", "run_side_by_side"]
