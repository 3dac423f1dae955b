"""A[L] of dense layers for many examples, compiled for the CPU's workers.

Each worker takes its own examples through all layers in blocks that stay in its cache; nothing is
kept but A[L], and nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from nnx.backends import Backend, engine
from nnx.backends.cpu import CpuBackend
from nnx.backends.reference.activations import Activation
from nnx.step import worth_loading

if TYPE_CHECKING:
    from nnx.backends.engine.assembler import Assembler, Matrix

Array = Any
Layers = Sequence[tuple[Array, Array, Activation]]

_CACHED = 1 << 17  # numbers of the widest layer in a worker's block
_MOST, _LEAST = 512, 64  # examples in a block
# What NumPy does on an everyday machine, to foresee whether Numba is worth loading.
_FLOP_PER_SECOND, _ELEMENTS_PER_SECOND = 1e11, 2e8
_SHORTEST = 2e-3  # seconds; what is shorter is over before a program is written


class CompiledOutputs:
    """A program for blocks of `m` examples: `workers` times as many as one worker takes at once.

    Parameters
    ----------
    layers : sequence of (W, b, activation)
        NumPy arrays of one dtype; W[l] (n, n_prev) contiguous in rows or in columns. They must
        stay alive and where they are.
    m : int
        The examples that there are; fewer than a block make a block of their number.
    """

    def __init__(self, layers: Layers, m: int) -> None:
        from nnx.backends.engine import interpreter as op
        from nnx.backends.engine.assembler import Assembler, Matrix
        from nnx.backends.engine.launch import Launch

        self._layers = layers
        n = [layers[0][0].shape[1], *(W.shape[0] for W, _, _ in layers)]
        dtype = layers[0][0].dtype
        workers = min(engine.count_workers(), m)
        rows = max(_LEAST, min(_MOST, _CACHED // max(n[1:])))
        rows = max(1, min(rows, m // workers))
        self.m, constants = rows * workers, [0.0]
        self._buffers: list[Array] = []
        codes = []
        for worker in range(workers):
            asm = Assembler(constants)
            row_bytes = n[0] * dtype.itemsize
            A = Matrix(worker * rows * row_bytes, rows, n[0], n[0], dtype.itemsize, op.X)
            for W, b, g in layers[:-1]:
                A = self._layer(asm, A, W, b, _code(g), getattr(g, "alpha", 0.0))
            W, b, g = layers[-1]
            Z = self._layer(asm, A, W, b, 0, 0.0)
            offset = worker * rows * n[-1] * dtype.itemsize
            asm.output(Z, offset, _code(g), float(getattr(g, "alpha", 0.0)))
            codes.append(asm.code())
        self._launch = Launch(
            codes,
            constants,
            (0.0,) * 7,
            m=self.m,
            dtype=dtype.name,
            seed=0,
            row_bytes=(n[0] * dtype.itemsize, n[-1] * dtype.itemsize, 0),
            gathered=False,
        )

    def _layer(
        self, asm: Assembler, A_prev: Matrix, W: Array, b: Array, code: int, alpha: float
    ) -> Matrix:
        from nnx.backends.engine.assembler import Matrix

        in_rows = W.flags.c_contiguous
        weights = Matrix.of(W if in_rows else W.T)
        Z = np.empty((A_prev.rows, W.shape[0]), W.dtype)
        A = np.empty_like(Z) if code in _keeping() else Z
        self._buffers += [Z, A]
        asm.product(A_prev, weights, Matrix.of(Z), transpose_b=in_rows)
        asm.tail(Matrix.of(Z), Matrix.of(A), b.ctypes.data, False, code, float(alpha))
        return Matrix.of(A)

    def __call__(self, X: Array, A_L: Array) -> None:
        """Write A[L] (n_y, m) for X (n_x, m), each example contiguous in both."""
        m = X.shape[1]
        steps = np.zeros(m // self.m)
        self._launch(X, A_L, None, None, steps, 1)
        done = len(steps) * self.m
        if done < m:
            # The last examples in a block of the same size, some of them once more.
            self._launch(X[:, m - self.m :], A_L[:, m - self.m :], None, None, np.zeros(1), 1)


def _code(g: Activation) -> int:
    from nnx.backends.engine import elementwise

    return elementwise.SOFTMAX if g.builtin == "softmax" else elementwise.CODES[g.builtin or ""]


def _keeping() -> tuple[int, ...]:
    """The activations that the compiled code writes beside Z."""
    from nnx.backends.engine import elementwise

    return elementwise.GELU, elementwise.SILU


def compiled_outputs(
    backend: Backend, layers: Layers, X: Any, A_L: Array
) -> CompiledOutputs | None:
    """Return the program where it can be had and is worth it, for X (n_x, m) and its A[L]."""
    m, n = A_L.shape[1], [layers[0][0].shape[1], *(W.shape[0] for W, _, _ in layers)]
    if type(backend) is not CpuBackend or engine.why_unusable() is not None:
        return None
    flop = 2 * m * sum(a * b for a, b in pairwise(n))
    seconds = flop / _FLOP_PER_SECOND + m * sum(n[1:]) / _ELEMENTS_PER_SECOND
    # With few examples each worker would read all weights for little work.
    if not worth_loading(seconds) or seconds < _SHORTEST or m < _MOST:
        return None
    builtins = [g.builtin for _, _, g in layers]
    from nnx.backends.engine import elementwise

    if any(name not in elementwise.CODES for name in builtins[:-1]):
        return None
    if builtins[-1] not in elementwise.CODES and builtins[-1] != "softmax":
        return None
    arrays = [array for W, b, _ in layers for array in (W, b)]
    if any(array.dtype != A_L.dtype for array in (X, *arrays)) or not X.flags.f_contiguous:
        return None
    if not all(a.flags.c_contiguous or a.flags.f_contiguous for a in arrays):
        return None
    return CompiledOutputs(layers, m)
