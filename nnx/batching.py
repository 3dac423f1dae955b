"""How an epoch is cut: into batches, one update each, blocks of a batch, and slabs of batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

_SMALLEST, _LARGEST, _STEPS = 64, 4096, 64
DEFAULT = 200


def automatic(m: int) -> int:
    """The batch size of batch_size="auto" for m examples, before memory is looked at.

    The largest power of two that leaves an epoch 64 steps or more, between 64 and 4,096: below
    products are thin and the rest of a step weighs more than they do, above an epoch has few
    updates left for what each costs. It depends on m alone, so that it is the same on each device.
    """
    size = _SMALLEST
    while 2 * size <= _LARGEST and 2 * size * _STEPS <= m:
        size *= 2
    return min(size, m)


class Piece(NamedTuple):
    """Examples that are handed over at once: whole batches of a size, or one block of a batch.

    Attributes
    ----------
    start, stop : int
        Their positions in the order of the epoch.
    size : int
        Examples of each batch, or of the block.
    batch : int
        Examples of the batch; more than `size` for a block.
    first : int
        The position of the block's first example in its batch.
    """

    start: int
    stop: int
    size: int
    batch: int
    first: int = 0

    @property
    def batches(self) -> int:
        """Number of batches."""
        return (self.stop - self.start) // self.size

    @property
    def ends(self) -> bool:
        """Whether its last batch is complete with it."""
        return self.first + self.size == self.batch


@dataclass(frozen=True)
class Batching:
    """Batches of m examples.

    Attributes
    ----------
    m : int
        Examples in an epoch.
    size : int
        Of a batch.
    block : int
        Examples that go through the network at once; where it is below `size`, the gradient of a
        batch is added up block by block.
    slab : int
        Bytes of examples that a piece has at most, where it has several batches.
    """

    m: int
    size: int
    block: int
    slab: int = 1 << 25

    @property
    def blocked(self) -> bool:
        """Whether batches go through the network in blocks."""
        return self.block < self.size

    @property
    def steps(self) -> int:
        """Updates in an epoch."""
        return -(-self.m // self.size)

    def sizes(self) -> list[int]:
        """How many examples go through the network at once: for each a step of its own."""
        found = set()
        for batch in {min(self.size, self.m), self.m % self.size}:
            found |= {min(self.block, batch), batch % self.block if batch > self.block else 0}
        return sorted(found - {0}, reverse=True)

    def longest(self, row_bytes: int) -> int:
        """Examples of the longest piece."""
        return self.block if self.blocked else self.size * self._batches(row_bytes)

    def pieces(self, row_bytes: int) -> Iterator[Piece]:
        """The pieces of an epoch, in order, for examples of so many bytes."""
        if self.blocked:
            yield from self._blocks()
            return
        whole, few = self.m // self.size, self._batches(row_bytes)
        for batch in range(0, whole, few):
            stop = min(batch + few, whole) * self.size
            yield Piece(batch * self.size, stop, self.size, self.size)
        rest = self.m % self.size
        if rest:
            yield Piece(self.m - rest, self.m, rest, rest)

    def _batches(self, row_bytes: int) -> int:
        """Batches of a full piece: as many as a slab holds, or one."""
        few = max(1, self.slab // (self.size * max(1, row_bytes)))
        return max(1, min(few, self.m // self.size))

    def _blocks(self) -> Iterator[Piece]:
        for start in range(0, self.m, self.size):
            batch = min(self.size, self.m - start)
            for first in range(0, batch, self.block):
                size = min(self.block, batch - first)
                yield Piece(start + first, start + first + size, size, batch, first)
