"""The group of commands, and the one place where errors become a line and an exit status."""

from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from nnx.cli.bench import bench
from nnx.cli.demo import demo
from nnx.cli.info import info
from nnx.cli.peers import peers
from nnx.cli.report import report
from nnx.cli.scale import scale
from nnx.errors import NnxError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="nnx-learn", prog_name="nnx")
def commands() -> None:
    """Neural networks in the lecture's notation, on the CPU or an NVIDIA GPU.

    \b
    Start here:
      nnx info                 which devices and libraries are there, and what is missing
      nnx demo                 list the demonstrations; `nnx demo flower` runs one
      nnx bench --quick        measure the throughput of this machine within seconds
      nnx peers --quick        compare nnx with other libraries on this machine
      nnx scale --quick        measure what more data and larger networks bring, in about a minute
      nnx report               one page from what these have measured
    """


for command in (info, bench, peers, scale, report, demo):
    commands.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run the commands; what goes wrong is one red line, never a traceback."""
    try:
        status = commands.main(args=list(arguments), prog_name="nnx", standalone_mode=False)
    except NnxError as error:
        return _fail(str(error), 1)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _fail("stopped; nothing was written", 130)
    # click gives back the status of ctx.exit(), and None from a command that ended.
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    """Print `message` in one red line on standard error and return `status`."""
    # soft_wrap: a terminal breaks the line, a file keeps it whole.
    line = " ".join(message.split())
    Console(stderr=True).print(Text(f"nnx: {line}", style="red"), soft_wrap=True)
    return status
