"""The report: records of `nnx scale`, `nnx bench`, `nnx peers` and the teacher's law become a page.

`sources` finds and checks the records; each subject draws its charts (`learning`, `throughput`,
`machine`, `variants`, `peers`, `laws`) on the `canvas`; the numbers stand in `bench_tables`,
`scale_tables` and `losses`; `page` puts all into the template, and `writing` writes the files.
"""

from nnx.benchmarks.report.sources import Source, find_sources
from nnx.benchmarks.report.writing import write_report

__all__ = ["Source", "find_sources", "write_report"]
