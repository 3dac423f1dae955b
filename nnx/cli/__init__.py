"""The command line: `nnx info`, `nnx bench`, `nnx demo`. Importing this needs no extra library."""

import sys
from collections.abc import Sequence

from nnx.errors import MissingDependencyError

__all__ = ["main"]

_LIBRARIES = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows `nnx`; by default what the shell gave.

    Returns
    -------
    int
        0 when the command did its work, 1 after an error, 2 for a command that is not one.
    """
    try:
        from nnx.cli.commands import run
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _LIBRARIES:
            raise
        print(MissingDependencyError(package, "cli", "the command line"), file=sys.stderr)
        return 1
    return run(sys.argv[1:] if arguments is None else list(arguments))
