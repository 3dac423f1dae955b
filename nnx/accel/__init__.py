"""scikit-learn's MLP on nnx with no line of a program changed.

    python -m nnx.accel script.py [arguments]
    python -m nnx.accel -m pytest [arguments]
    %load_ext nnx.accel                              (IPython)
    nnx.accel.install(); ...; nnx.accel.uninstall()

While it is installed, ``from sklearn.neural_network import MLPClassifier`` gives a class of nnx's.
What nnx cannot do runs in scikit-learn's own code, and the log says why (``NNX_ACCEL_LOG``).
"""

from __future__ import annotations

from typing import Any

from nnx.accel.patching import install, installed, replace_names, uninstall

__all__ = [
    "install",
    "installed",
    "load_ipython_extension",
    "uninstall",
    "unload_ipython_extension",
]


def load_ipython_extension(shell: Any) -> None:
    """Install for an IPython session: ``%load_ext nnx.accel``."""
    install()
    replace_names(shell.user_ns)


def unload_ipython_extension(shell: Any) -> None:
    """Take it back: ``%unload_ext nnx.accel``."""
    uninstall()
    replace_names(shell.user_ns)
