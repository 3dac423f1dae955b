"""Inverted dropout with a counter-based generator: the same masks on every device.

The decision for element number c (counted in memory order: unit i of example j is c = j n + i) is a
pure function of (key, c), so no mask is stored: backward recomputes it.
"""

from __future__ import annotations

from typing import Any

Array = Any
Namespace = Any

MASK64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
MIX1 = 0xBF58476D1CE4E5B9
MIX2 = 0x94D049BB133111EB


def mix(x: int) -> int:
    """SplitMix64's output function (Steele et al., 2014, "Fast splittable PRNGs", fig. 16)."""
    x = ((x ^ (x >> 30)) * MIX1) & MASK64
    x = ((x ^ (x >> 27)) * MIX2) & MASK64
    return x ^ (x >> 31)


def make_key(seed: int, t: int, layer: int) -> int:
    """A 64-bit key for one layer of one training step; close inputs give unrelated keys."""
    key = mix((seed + GOLDEN) & MASK64)
    key = mix((key + GOLDEN * (t + 1)) & MASK64)
    return mix((key + GOLDEN * (layer + 1)) & MASK64)


def at_example(key: int, first: int, n: int) -> int:
    """The key with which a matrix of n units gets the masks of the examples from `first` on.

    An element's hash is a function of key + GOLDEN (c + 1), so its number moves into the key.
    """
    return (key + GOLDEN * first * n) & MASK64


def threshold(keep_prob: float) -> int:
    """An element is kept where the upper 32 bits of its hash are below this number."""
    return round(keep_prob * (1 << 32))


def keep_mask(xp: Namespace, key: int, n: int, m: int, keep_prob: float, device: Any) -> Array:
    """A Boolean mask (n, m), True with probability `keep_prob`."""
    c = xp.arange(1, n * m + 1, dtype=xp.uint64, device=device)

    def u64(value: int) -> Array:
        return xp.asarray(value, dtype=xp.uint64, device=device)

    x = c * u64(GOLDEN) + u64(key)
    x = (x ^ (x >> u64(30))) * u64(MIX1)
    x = (x ^ (x >> u64(27))) * u64(MIX2)
    x = x ^ (x >> u64(31))
    kept = (x >> u64(32)) < u64(threshold(keep_prob))
    return xp.reshape(kept, (m, n)).T


def dropout(xp: Namespace, A: Array, key: int, keep_prob: float) -> Array:
    """A * D / keep_prob, D the mask of `key`. Forward takes A, backward dA, by the same formula.

    A (n, m). Srivastava et al. (2014), in the inverted form of the lecture course.
    """
    n, m = A.shape
    D = xp.astype(keep_mask(xp, key, n, m, keep_prob, A.device), A.dtype)
    return A * D * (1 / keep_prob)
