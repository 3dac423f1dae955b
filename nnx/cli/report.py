"""`nnx report`: one HTML page from records."""

from collections.abc import Sequence

import click

from nnx.benchmarks.report import write_report


@click.command()
@click.argument("records", nargs=-1, metavar="[RECORD|FOLDER]...")
@click.option(
    "--out", metavar="FILE.html", help="The page; by default report.html beside the first record."
)
def report(records: Sequence[str], out: str | None) -> None:
    """Make one page that anyone can read from measurements.

    Takes records of nnx scale, nnx bench, nnx peers and the teacher's law, or folders that hold
    them (by default bench-out). Several are set side by side: two machines, two commits, a CPU
    and a GPU. What no record tells of is left out, and the page says which command would measure
    it.

    The page needs no network and no other file. Beside it come figures/ (each figure as SVG and
    PNG), a CSV file for each table, and data.json with all numbers. A file that is no whole record
    is an error that names the file and the field; nothing is written then.

    \b
    Examples:
      nnx report
      nnx report bench-out benchmarks/results/amd-epyc-2-cores --out both.html
      nnx report before/throughput.json after/throughput.json --out change/report.html
    """
    click.echo(f"report:  {write_report(records or ['bench-out'], out)}")
