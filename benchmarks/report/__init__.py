"""The report: records of `nnx scale`, `nnx bench`, `nnx peers` and the teacher's law in, a page out.

`sources` finds and checks the records; each subject draws its charts (`learning`, `throughput`,
`machine`, `variants`, `peers`, `laws`) on the `canvas`; `tables` holds the numbers; `page` puts
them into the template, and `writing` writes the files.
"""

from nnx.benchmarks.report.sources import Source, find_sources
from nnx.benchmarks.report.writing import write_report

__all__ = ["Source", "find_sources", "write_report"]
