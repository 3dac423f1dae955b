"""The matrix products of a pass: how many FLOP they are, and they alone as the limit.

Layer l has three products: forward Z[l] = W[l] A[l-1], weight gradient dW[l] = dZ[l] A[l-1]ᵀ,
input gradient dA[l-1] = W[l]ᵀ dZ[l] (not for l = 1, where nothing asks for dA[0]). Each is
2 n[l] n[l-1] m FLOP. The limit calls them one by one through the backend's namespace, into
outputs that exist already: no bias, no activation, no loss, no update, no allocation.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

import nnx
from nnx.backends import Backend
from nnx.backends.cuda.graph import Launch, Recording
from nnx.backends.cuda.products import Planned
from nnx.benchmarks.cell import Order, Pass
from nnx.graph_program import GraphProgram

Operands = tuple[Any, Any, Any]
_DRAWN = 1_000_003  # a prime, so that no two rows of a matrix are equal


def flop(sizes: Sequence[int], m: int, pass_: Pass) -> int:
    """FLOP of the matrix products of one pass over m examples.

    Parameters
    ----------
    sizes : sequence of int
        Layer sizes [n_x, n[1], ..., n_y].
    """
    forward = sum(2 * n * n_prev * m for n_prev, n in pairwise(sizes))
    if pass_ == "forward":
        return forward
    # The gradient of the input data is not needed, so the first layer has two products.
    return 3 * forward - 2 * sizes[0] * sizes[1] * m


def bytes_needed(sizes: Sequence[int], m: int, itemsize: int) -> int:
    """Memory that one cell of the sweep holds at its peak, network and limit together.

    Activations and their gradients once in the network and once in the limit; the
    parameters with their gradient, the optimizer's moments and a copy in the limit.
    """
    activations = m * (sizes[0] + 3 * sum(sizes[1:]))
    parameters = sum(n * (n_prev + 1) for n_prev, n in pairwise(sizes))
    return itemsize * (2 * activations + 6 * parameters)


def bare_products(
    backend: Backend, sizes: Sequence[int], m: int, dtype: str, pass_: Pass, order: Order
) -> Callable[[], None]:
    """Make a function that runs the products of one pass, into preallocated outputs.

    Parameters
    ----------
    order : "network" or "other"
        "network": activations Fortran-ordered (each example contiguous), as the network
        holds them; "other": everything C-ordered.
    """
    matmul = backend.xp.matmul
    operands = _operands(backend, sizes, m, dtype, pass_, order)

    def run() -> None:
        for left, right, out in operands:
            matmul(left, right, out=out)

    def run_allocating() -> None:
        for left, right, _ in operands:
            matmul(left, right)

    try:
        run()
    except TypeError:
        # The Array API's matmul has no `out`; NumPy's and CuPy's have.
        return run_allocating
    return run


def _operands(
    backend: Backend, sizes: Sequence[int], m: int, dtype: str, pass_: Pass, order: Order
) -> list[Operands]:
    """(left, right, out) of every product, in the order in which a pass needs them."""
    # Random values: on a GPU, zeros or ones draw less power and so run at higher clocks.
    rng, kind = np.random.default_rng(0), np.dtype(dtype).type

    def matrix(rows: int, columns: int, scale: float = 1.0) -> Any:
        """(rows, columns), C-ordered."""
        # Drawing takes longer than multiplying: large matrices repeat what was drawn.
        numbers = rng.standard_normal(min(rows * columns, _DRAWN), dtype=kind) * kind(scale)
        return backend.asarray(np.resize(numbers, (rows, columns)))

    def activations(n: int) -> Any:
        """(n, m), each example contiguous or not."""
        return matrix(m, n).T if order == "network" else matrix(n, m)

    shapes = [(n, n_prev) for n_prev, n in pairwise(sizes)]
    # Scaled as in a network, so that repeated products neither overflow nor vanish.
    W = [matrix(n, n_prev, n_prev**-0.5) for n, n_prev in shapes]
    A = [activations(n) for n in sizes]
    forward = [_columns_product(W[k], A[k], A[k + 1], order) for k in range(len(W))]
    if pass_ == "forward":
        return forward
    dW = [matrix(*shape) for shape in shapes]
    dZ = [activations(n) for n in sizes[1:]]
    backward: list[Operands] = []
    for k in reversed(range(len(W))):
        backward.append((dZ[k], A[k].T, dW[k]))
        if k > 0:
            backward.append(_columns_product(W[k].T, dZ[k], dZ[k - 1], order))
    return forward + backward


def _columns_product(left: Any, right: Any, out: Any, order: Order) -> Operands:
    """Operands of `out = left right`, transposed where `out` is Fortran-ordered.

    CuPy writes only into C-ordered outputs, and the transposed product is the same work.
    """
    return (right.T, left.T, out.T) if order == "network" else (left, right, out)


def graph_products(
    backend: Backend, sizes: Sequence[int], m: int, precision: str
) -> Callable[[], None]:
    """Make a function that runs the products of one step on a GPU, as one CUDA graph.

    They are the products that a compiled step plans, of the same sizes and at the same addresses,
    each without its epilogue and with the fastest algorithm for it.

    Raises
    ------
    DataError
        Where steps are not compiled on this device.
    """
    step, X, Y = _step(backend, sizes, m, precision)
    step(X, Y)
    recording = plain_recording(step)
    stream = backend.graphs()  # type: ignore[attr-defined]

    def run() -> None:
        with stream.ordered():
            recording.replay(1)

    return run


def plain_recording(step: nnx.TrainingStep, steps: int = 1) -> Recording:
    """The products alone of a compiled GPU step that has been taken, for graphs of `steps`."""
    stream = step.backend.graphs()  # type: ignore[attr-defined]
    program = graph_program(step)
    launches = []
    with stream.ordered():
        for launch in program.launches:
            if isinstance(launch.run, Planned):
                plain = replace(launch.run.product, epilogue="DEFAULT", bias=0, aux=0, aux_ld=0)
                launches.append(Launch("product", stream.plan(plain)))
    return Recording(stream, launches, steps, program)


def graph_program(step: nnx.TrainingStep) -> GraphProgram:
    """The program of a compiled GPU step that has been taken with one kind of data."""
    assert step._graphs is not None
    (program,) = step._graphs._programs.values()
    return program


def _step(
    backend: Backend, sizes: Sequence[int], m: int, precision: str
) -> tuple[nnx.TrainingStep, Any, Any]:
    """A compiled step with Adam, and random data for it."""
    net = nnx.MLP(
        list(sizes), device=backend, precision=None if precision == "float32" else precision
    )
    rng = np.random.default_rng(0)
    X = backend.asarray(rng.standard_normal((m, sizes[0]), dtype=np.float32).T)
    Y = backend.asarray(rng.integers(0, sizes[-1], m))
    return nnx.TrainingStep(net, m, nnx.Adam(), compiled=True), X, Y
