"""The fused kernels of kernels.cu: what they are called; how kernels are compiled and launched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def kernel_source(*files_: str) -> str:
    """Return the text of files of kernels, by default kernels.cu, after what all of them share."""
    folder = files(__package__)
    parts = ("activations.cuh", *(files_ or ("kernels.cu",)))
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
    """Compiled kernels.

    CuPy keeps the binaries on disk, and loads them once for each device that is used.

    Parameters
    ----------
    cupy : module
    source : callable (name) -> str
        The text that holds a kernel.
    together : sequence of str
        Names that are compiled in one go, when the first of them is wanted; all must have the same
        source. Others are compiled one by one.
    """

    def __init__(
        self, cupy: Any, source: Callable[[str], str], together: Sequence[str] = ()
    ) -> None:
        self._cupy, self._source, self._together = cupy, source, tuple(together)
        self._functions: dict[str, Any] = {}

    def load(self, name: str) -> Any:
        """Return a kernel, compiled and loaded at its first use."""
        if name not in self._functions:
            names = self._together if name in self._together else (name,)
            module = self._cupy.RawModule(
                code=self._source(name), options=OPTIONS, name_expressions=names
            )
            self._functions |= {each: module.get_function(each) for each in names}
        return self._functions[name]

    def bind(self, name: str, blocks: int, *arguments: Any) -> Callable[[], None]:
        """Return a call that runs a kernel, in so many blocks, on the current device and stream.

        Arrays go as pointers, None as a null pointer, Python integers as 64-bit ones and NumPy
        scalars in their own type.
        """
        function, grid, block = self.load(name), (blocks,), (BLOCK,)

        def run() -> None:
            function(grid, block, arguments)

        return run

    def launch(self, name: str, size: int, *arguments: Any) -> None:
        """Run a kernel on `size` elements or columns; with none, nothing is launched."""
        if size:
            self.bind(name, blocks_for(size), *arguments)()


def primitive_kernels(cupy: Any) -> Kernels:
    """Return the kernels of kernels.cu, which the primitives launch."""
    return Kernels(cupy, lambda name: kernel_source(), kernel_names())
