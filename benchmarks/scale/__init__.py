"""The scaling study: error over the number of examples and the size of the network."""

from nnx.benchmarks.scale.store import CellStore

__all__ = ["CellStore"]
