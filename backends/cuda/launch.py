"""The fused kernels of kernels.cu: what they are called; how kernels are compiled and launched."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

# NumPy's name of a dtype that has kernels -> C's.
C_TYPES = {"float32": "float", "float64": "double"}

# `Activation.builtin` -> the struct of kernels.cu; softmax has kernels of its own.
STRUCTS = {
    "identity": "Identity",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "selu": "Selu",
    "gelu": "Gelu",
    "silu": "Silu",
    "softplus": "Softplus",
    "exponential": "Exponential",
}

# Without contraction to fused multiply-adds a kernel rounds as the reference's lines do; these
# kernels wait for memory, not for arithmetic. CuPy itself adds -ftz=true.
OPTIONS = ("-std=c++17", "-fmad=false")

BLOCK = 256
# Blocks beyond this only add to the cost of starting them: threads loop instead.
_MAX_BLOCKS = 8192


def kernel_source(file: str = "kernels.cu") -> str:
    """Return the text of a file of kernels, after what all of them share."""
    folder = files(__package__)
    parts = ("activations.cuh", file)
    return "\n".join(folder.joinpath(part).read_text(encoding="utf-8") for part in parts)


def blocks_for(size: int, most: int = _MAX_BLOCKS) -> int:
    """Return how many blocks share out `size` elements, one or more to each thread."""
    return min(-(-size // BLOCK), most)


def kernel_names() -> tuple[str, ...]:
    """Return every instantiation that the backend launches, as C++ name expressions."""
    names = []
    for T in C_TYPES.values():
        names += [f"forward<{T}, {G}>" for G in STRUCTS.values()]
        names += [f"backward<{T}, {G}>" for G in STRUCTS.values() if G != "Identity"]
        names += [f"{k}<{T}>" for k in ("softmax_forward", "softmax_backward", "dropout")]
        names += [f"{k}<{T}>" for k in ("binary_cross_entropy", "mean_squared_error")]
        names += [f"categorical_cross_entropy<{T}, {target}>" for target in (T, "i64")]
        names += [f"{k}<{T}>" for k in ("gradient_descent", "momentum", "rmsprop", "adam")]
    return tuple(names)


class Kernels:
    """Compiled kernels; all are compiled when the first one is wanted.

    CuPy keeps the binary on disk, and loads it once for each device that is used.

    Parameters
    ----------
    cupy : module
    source : str
        From `kernel_source`.
    names : iterable of str
        C++ name expressions.
    """

    def __init__(self, cupy: Any, source: str, names: Iterable[str]) -> None:
        self._functions: dict[str, Any] = {}
        self._module = cupy.RawModule(
            code=source, options=OPTIONS, name_expressions=tuple(sorted(names))
        )

    def bind(self, name: str, blocks: int, *arguments: Any) -> Callable[[], None]:
        """Return a call that runs a kernel, in so many blocks, on the current device and stream.

        Arrays go as pointers, None as a null pointer, Python integers as 64-bit ones and NumPy
        scalars in their own type.
        """
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        function, grid, block = self._functions[name], (blocks,), (BLOCK,)

        def run() -> None:
            function(grid, block, arguments)

        return run

    def launch(self, name: str, size: int, *arguments: Any) -> None:
        """Run a kernel on `size` elements or columns; with none, nothing is launched."""
        if size:
            self.bind(name, blocks_for(size), *arguments)()
