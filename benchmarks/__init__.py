"""Measurements of nnx: throughput sweeps, their records and pictures, agreement of devices.

The pytest-benchmark suites (`test_*.py`) lie in the same folder: `pytest benchmarks/`.
"""

from nnx.benchmarks.cell import Cell, Timing
from nnx.benchmarks.environment import environment
from nnx.benchmarks.record import Record, read_record, write_record
from nnx.benchmarks.settings import Settings
from nnx.benchmarks.sweep import sweep

__all__ = [
    "Cell",
    "Record",
    "Settings",
    "Timing",
    "environment",
    "read_record",
    "sweep",
    "write_record",
]
