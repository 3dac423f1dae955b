"""Products cut into pieces that OpenBLAS multiplies without packing, where that is faster.

OpenBLAS copies the operands of a product into an order of its own before it multiplies. For the
thin products of everyday layers that costs 5 to 40 % of the time. On processors with AVX-512 it
has kernels for up to a million multiply-adds that do without. A larger product can be had as many
such pieces as long as its operands stay in the cache; how large each is best is measured, and
`docs/performance.md` has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from nnx.backends.engine.blas import find_blas

_CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")  # OpenBLAS's names of its AVX-512 kernels
_MOST = 1_000_000  # multiply-adds of a product for which these kernels serve
_ROWS, _LEAST_ROWS = 96, 24
_CACHED = 410_000  # numbers of the operand that every piece of a row reads
# With the second operand transposed the kernel's own loop is over k: it needs a long one, and
# slows down beyond so many results.
_TRANSPOSED_RESULTS, _TRANSPOSED_K = 1152, (256, 2500)


@cache
def pay() -> bool:
    """Whether this machine's BLAS has kernels without packing."""
    blas = find_blas()
    return blas is not None and blas.core in _CORES


def pieces(
    m: int, n: int, k: int, transpose_a: bool, transpose_b: bool
) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of C := op(A) op(B) that are computed at once; all of them, or parts.

    m, n, k : C is (m, n), op(A) (m, k).
    """
    height, width = _size(m, n, k, transpose_a, transpose_b) or (m, n)
    for row in range(0, m, height):
        for column in range(0, n, width):
            yield slice(row, min(m, row + height)), slice(column, min(n, column + width))


def _size(m: int, n: int, k: int, transpose_a: bool, transpose_b: bool) -> tuple[int, int] | None:
    """Rows and columns of a piece; None where the whole is faster."""
    most = _MOST // k
    if transpose_b:
        shortest, longest = _TRANSPOSED_K
        whole = m * n <= min(most, _TRANSPOSED_RESULTS)
        if transpose_a or whole or not shortest <= k <= longest or n * k > 1.5 * _CACHED:
            return None
        most = min(most, _TRANSPOSED_RESULTS)
        if m < 32:
            return m, _multiple(most // m, 16)
        width = min(n, 32 if most >= 32 * _LEAST_ROWS else 16)
        return _multiple(min(most // width, 1024 // width), 8), width
    if m * n <= most or (m * k > _CACHED / 3 or k > 512 if transpose_a else n * k > _CACHED):
        return None
    if m < _LEAST_ROWS:
        return (m, _multiple(most // m, 16)) if most >= 16 * m else None
    for width in (96 if k < 128 else 64, 32) if transpose_a else (128, 64, 32):
        height = _multiple(min(most // width, _ROWS), 8)
        if height >= _LEAST_ROWS:
            return height, width
    return None


def _multiple(number: int, of: int) -> int:
    return max(of, number // of * of)
