"""The fused kernels of kernels.cu: what they are called, how they are compiled and launched."""

from __future__ import annotations

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

_BLOCK = 256
# Blocks beyond this only add to the cost of starting them: threads loop instead.
_MAX_BLOCKS = 8192


def kernel_source() -> str:
    """Return the text of kernels.cu."""
    return files(__package__).joinpath("kernels.cu").read_text(encoding="utf-8")


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
    """The compiled kernels; RawModule compiles all of them when the first one is wanted.

    CuPy keeps the binary on disk, and loads it once for each device that is used.
    """

    def __init__(self) -> None:
        import cupy

        self._functions: dict[str, Any] = {}
        self._module = cupy.RawModule(
            code=kernel_source(), options=OPTIONS, name_expressions=kernel_names()
        )

    def launch(self, name: str, size: int, *arguments: Any) -> None:
        """Run a kernel on `size` elements or columns, on the current device and stream.

        Parameters
        ----------
        name : str
            One of `kernel_names()`.
        size : int
            The work to share out; with none, nothing is launched.
        *arguments
            Arrays go as pointers, None as a null pointer, Python integers as 64-bit ones and
            NumPy scalars in their own type.
        """
        if not size:
            return
        if name not in self._functions:
            self._functions[name] = self._module.get_function(name)
        blocks = min(-(-size // _BLOCK), _MAX_BLOCKS)
        self._functions[name]((blocks,), (_BLOCK,), arguments)
