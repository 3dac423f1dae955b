"""`python -m nnx.benchmarks.gpu CALL --out FOLDER`, in a checkout; `--plan` needs no GPU."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from nnx.benchmarks.gpu.parts import CALLS
from nnx.benchmarks.gpu.plan import show
from nnx.benchmarks.gpu.run import Run
from nnx.errors import NnxError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a call, or show what it would run."""
    parser = argparse.ArgumentParser(prog="python -m nnx.benchmarks.gpu")
    parser.add_argument("call", choices=CALLS)
    parser.add_argument("--plan", action="store_true", help="show parts, limits, tests and cases")
    parser.add_argument("--seconds", type=float, help="in all; each part gets its share")
    parser.add_argument("--out", default="bench-out", type=Path, help="folder of the evidence")
    parser.add_argument("--work", default="build/gpu-run", type=Path, help="folder for the rest")
    parser.add_argument("--earlier", type=Path, help="evidence of earlier calls")
    options = parser.parse_args(arguments)
    call = CALLS[options.call]
    if options.seconds is not None:
        call = call.within(options.seconds)
    try:
        if options.plan:
            show(call)
            return 0
        earlier = options.earlier if options.earlier and options.earlier.exists() else None
        return Run(call, options.out.resolve(), options.work.resolve(), earlier).run()
    except NnxError as error:
        print(f"nnx: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"nnx: stopped; what was found is in {options.out}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
