"""All W[l] and b[l] as views into one flat vector theta: weights first, then biases.

Each starts at a multiple of 256 bytes, which the fastest matrix products want. The gaps hold zeros
and no formula reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from nnx.backends import Backend

Array = Any
_ALIGN = 64  # elements: 256 bytes of float32


class FlatVector:
    """A flat vector with a view for each parameter of layers of n[0], n[1], ..., n[L] units.

    Attributes
    ----------
    flat : array (size,)
    views : mapping
        name -> view: "W1" (n[1], n[0]), "b1" (n[1], 1), ...; with `prefix` "d": "dW1", ...
    n_weights : int
        flat[:n_weights] holds the weights, which penalties apply to.
    """

    def __init__(self, n: tuple[int, ...], backend: Backend, dtype: str, prefix: str = "") -> None:
        L = len(n) - 1
        shapes = {f"W{i}": (n[i], n[i - 1]) for i in range(1, L + 1)}
        shapes |= {f"b{i}": (n[i], 1) for i in range(1, L + 1)}
        starts, end = {}, 0
        for name, (rows, columns) in shapes.items():
            starts[name] = end
            end += -(-rows * columns // _ALIGN) * _ALIGN
        self.n_weights = starts["b1"]
        self.flat = backend.zeros((end,), dtype)
        views = {}
        for name, shape in shapes.items():
            part = self.flat[starts[name] : starts[name] + shape[0] * shape[1]]
            views[prefix + name] = backend.xp.reshape(part, shape)
        self.views: Mapping[str, Array] = MappingProxyType(views)
