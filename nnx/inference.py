"""A[L] of dense layers for many examples, compiled for the CPU's workers.

Each worker takes its own examples through all layers in blocks that stay in its cache; nothing is
kept but A[L], and nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
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

# Through primitives: numbers of a hidden layer in a block, and its fewest examples.
_CACHED_AT_ONCE, _LEAST_AT_ONCE = 1 << 18, 256
_CACHED = 1 << 17  # numbers of the widest layer in a worker's block
_MOST, _LEAST = 512, 64  # examples in a block
# What NumPy does on an everyday machine.
_FLOP_PER_SECOND, _ELEMENTS_PER_SECOND = 1e11, 2e8
_SHARED_SECONDS = 2e-4  # NumPy's; what is shorter is over before another worker wakes
_COPIED_AT_ONCE = 1 << 18  # numbers of X
_FEWEST = 16  # examples; with fewer each worker would read all weights for little work
_MOST_PROGRAMS = 4  # numbers of examples for which programs are kept


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
        shared = foresee(layers, m) > _SHARED_SECONDS
        workers = min(engine.count_workers(), m) if shared else 1
        most = max(_LEAST, min(_MOST, _CACHED // max(n[1:])))
        # Blocks of one size that leave little over: what is left is computed with others once more.
        launches = -(-m // (most * workers))
        rows = min(-(-m // (launches * workers)), m // workers)
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


def foresee(layers: Layers, m: int) -> float:
    """About the seconds that NumPy takes for m examples on an everyday machine."""
    n = [layers[0][0].shape[1], *(W.shape[0] for W, _, _ in layers)]
    flop = 2 * m * sum(a * b for a, b in pairwise(n))
    elements = m * sum(n[1:])
    return float(flop / _FLOP_PER_SECOND + elements / _ELEMENTS_PER_SECOND)


def compiled_outputs(backend: Backend, layers: Layers, A_L: Array) -> CompiledOutputs | None:
    """Return the program that writes A[L] (n_y, m), or None where there can be none."""
    m = A_L.shape[1]
    if type(backend) is not CpuBackend or engine.why_unusable() is not None or m < _FEWEST:
        return None
    arrays = [array for W, b, _ in layers for array in (W, b)]
    if any(array.dtype != A_L.dtype for array in arrays):
        return None
    if not all(a.flags.c_contiguous or a.flags.f_contiguous for a in arrays):
        return None
    if engine.why_not_loaded() is not None:
        return None
    from nnx.backends.engine import elementwise

    *hidden, output = (g.builtin for _, _, g in layers)
    if any(g not in elementwise.CODES for g in hidden):
        return None
    if output not in elementwise.CODES and output != "softmax":
        return None
    return CompiledOutputs(layers, m)


class DenseOutputs:
    """A[L] of dense layers, for one array of examples after another; in any number of threads.

    Programs are kept, since one takes longer to write than a small network to run. A thread takes
    one that nobody uses, or writes another: what a program works in is its own.

    Parameters
    ----------
    backend : Backend
    layers : sequence of (W, b, activation)
        W[l] (n, n_prev) and b[l] (n, 1) on the device. Their numbers may change in place.
    dtype : str
        Of the computation, and of W[l] and b[l].
    compiled : bool
        Whether programs are wanted for any number of examples; otherwise only for so many that
        they are worth loading Numba. What the process did before decides nothing, so that the same
        examples give the same bits.
    """

    def __init__(
        self, backend: Backend, layers: Layers, dtype: str, *, compiled: bool = False
    ) -> None:
        self._backend, self._layers, self._dtype = backend, layers, dtype
        self._compiled = compiled
        # For numbers of examples, the programs that nobody uses. Appending and popping are single
        # operations of Python, and a list that is forgotten meanwhile is only forgotten.
        self._free: dict[int, list[CompiledOutputs]] = {}

    def __call__(self, X: Array) -> Array:
        """Return A[L] (n_y, m) on the device for rows X (m, n_x) on the host."""
        A_L = self._backend.empty((self._layers[-1][0].shape[0], X.shape[0]), self._dtype)
        free, program = self._take(A_L)
        if program is None:
            self._through_primitives(X, A_L)
        else:
            self._through_program(program, X, A_L)
            free.append(program)
        return A_L

    def _take(self, A_L: Array) -> tuple[list[CompiledOutputs], CompiledOutputs | None]:
        """A program for so many examples, or None, and the list to which it goes back."""
        m = A_L.shape[1]
        if not self._compiled and not worth_loading(foresee(self._layers, m)):
            return [], None
        free = self._free.get(m)
        if free is None:
            free = self._free.setdefault(m, [])
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread forgets, too
                while len(self._free) > _MOST_PROGRAMS:
                    del self._free[next(iter(self._free))]
        try:
            return free, free.pop()
        except IndexError:
            return free, compiled_outputs(self._backend, self._layers, A_L)

    def _through_program(self, program: CompiledOutputs, X: Array, A_L: Array) -> None:
        """Run the program; rows that are not as it needs them are copied, some blocks at a time.

        The blocks are those of rows that need no copy, so that the results are, too.
        """
        m, n_x = X.shape
        if X.dtype.name == self._dtype and X.flags.c_contiguous:
            program(X.T, A_L)
            return
        at_once = program.m * max(1, _COPIED_AT_ONCE // (program.m * n_x))
        for start in range(0, m, at_once):
            rows = slice(min(start, m - program.m), min(start + at_once, m))
            program(np.ascontiguousarray(X[rows], self._dtype).T, A_L[:, rows])

    def _through_primitives(self, X: Array, A_L: Array) -> None:
        """Take blocks of examples to the device one by one.

        The same buffers serve all blocks, so that hidden activations stay in a cache and no memory
        grows with m.
        """
        m, backend = X.shape[0], self._backend
        n = [W.shape[0] for W, _, _ in self._layers]
        parts = -(-m // max(_LEAST_AT_ONCE, _CACHED_AT_ONCE // max(n)))
        width = -(-m // parts)
        buffers = [backend.empty((units, width), self._dtype) for units in n[:-1]]
        for start in range(0, m, width):
            rows = slice(start, min(start + width, m))
            A = backend.asarray(X[rows], self._dtype).T
            for (W, b, g), buffer in zip(self._layers, [*buffers, None], strict=True):
                target = A_L[:, rows] if buffer is None else buffer[:, : rows.stop - rows.start]
                A, _ = backend.dense_forward(W, b, A, g, A=target)
