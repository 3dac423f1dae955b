"""`python -m nnx.accel script.py`."""

import sys

from nnx.accel.launcher import main

if __name__ == "__main__":
    main(sys.argv[1:])
