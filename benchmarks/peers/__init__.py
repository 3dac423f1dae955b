"""nnx against its peers: the same network, data, batch and steps, each in its own process."""

from nnx.benchmarks.peers.cases import Case, fits, steps
from nnx.benchmarks.peers.compare import Comparison, Outcome, compare, installed
from nnx.benchmarks.peers.contenders import CONTENDERS

__all__ = ["CONTENDERS", "Case", "Comparison", "Outcome", "compare", "fits", "installed", "steps"]
