"""Python runs this when it starts in a process that an accelerated one started.

It takes a few milliseconds there: nnx is loaded only when scikit-learn's networks are.
"""

import os
import sys
from importlib.machinery import PathFinder


class _WhenImported:
    """Installs nnx.accel when scikit-learn's package of networks is about to be loaded."""

    @classmethod
    def find_spec(cls, name: str, path: object = None, target: object = None) -> None:
        if name == "sklearn.neural_network" and cls in sys.meta_path:
            sys.meta_path.remove(cls)  # type: ignore[arg-type]
            try:
                from nnx.accel import install
            except ImportError:  # another environment's Python: it has no nnx
                return
            install()


def _run_the_next_one() -> None:
    """Run the `sitecustomize` that this one hides."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None and spec.origin != __file__:
        from importlib.util import module_from_spec  # takes a few milliseconds

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":  # and not when a tool imports every module of the package
    _here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != _here]
    sys.meta_path.insert(0, _WhenImported)  # type: ignore[arg-type]
    _run_the_next_one()
