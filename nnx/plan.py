"""The operations of a training step: what each computes, and the least it costs on any machine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnx.model import Model


@dataclass(frozen=True)
class Operation:
    """One line of a plan.

    Attributes
    ----------
    name : str
        In the lecture's notation.
    flop : int
        Floating-point operations of its matrix product, 2 for each multiply-add; 0 for others.
    bytes : int
        What it must read and write, each array once.
    """

    name: str
    flop: int
    bytes: int


class Plan:
    """The operations of one step over m examples, in the order in which they begin."""

    def __init__(
        self, model: Model, m: int, *, gathered: bool, update: bool, slots: int = 0
    ) -> None:
        self.operations: list[Operation] = []
        self._numbers: dict[str, int] = {}
        self._size = np.dtype(model.dtype).itemsize
        n, L = model.n, model.L
        batch = m * n[0]
        self._add("gather", "A[0] = X[:, batch]", 0, 2 * batch if gathered else 0)
        for k in range(1, L + 1):
            W, A = n[k] * n[k - 1], m * n[k]
            self._add(f"Z{k}", f"Z[{k}] = W[{k}] A[{k - 1}]", 2 * m * W, m * n[k - 1] + W + A)
            g = getattr(getattr(model.layers[k - 1], "g", None), "name", "g")
            what = f"A[{k}] = {g}(Z[{k}] + b[{k}])" if k < L else f"Z[{k}] + b[{k}]"
            self._add(f"A{k}", what, 0, 2 * A)
        self._add("loss", f"J and dZ[{L}]", 0, 2 * m * n[L])
        for k in range(L, 0, -1):
            W = n[k] * n[k - 1]
            ends = m * (n[k] + n[k - 1])
            self._add(f"dW{k}", f"dW[{k}] = dZ[{k}] A[{k - 1}]^T / m", 2 * m * W, ends + W)
            if k > 1:
                p = k - 1
                self._add(f"dA{p}", f"dA[{p}] = W[{k}]^T dZ[{k}]", 2 * m * W, ends + W)
                self._add(f"dZ{p}", f"dZ[{p}] = dA[{p}] * g', db[{p}]", 0, 3 * m * n[p])
        # theta and each vector of the optimizer's state are read and written, the gradient is read.
        passes = 3 + 2 * slots if update else 0
        self._add("update", "theta := theta - ...", 0, passes * model.theta.shape[0])
        self._add("wait", "waiting for the other workers", 0, 0)

    def _add(self, key: str, name: str, flop: int, numbers: int) -> None:
        self._numbers[key] = len(self.operations)
        self.operations.append(Operation(name, flop, numbers * self._size))

    @property
    def flop(self) -> int:
        """Floating-point operations of all matrix products."""
        return sum(operation.flop for operation in self.operations)

    def number(self, key: str) -> int:
        """Number of "gather", "Z1", "A1", ..., "loss", "dW1", "dA1", "dZ1", ... or "update"."""
        return self._numbers[key]

    @property
    def gather(self) -> int:
        """Number of the operation that picks the batch out of the data."""
        return self._numbers["gather"]

    @property
    def loss(self) -> int:
        """Number of the cost with dZ[L]."""
        return self._numbers["loss"]

    @property
    def update(self) -> int:
        """Number of the update."""
        return self._numbers["update"]

    @property
    def wait(self) -> int:
        """Number under which waiting counts."""
        return self._numbers["wait"]

    def product(self, layer: int) -> int:
        """Number of Z[l] = W[l] A[l-1]."""
        return self._numbers[f"Z{layer}"]

    def tail(self, layer: int) -> int:
        """Number of A[l] = g(Z[l] + b[l])."""
        return self._numbers[f"A{layer}"]

    def weight_gradient(self, layer: int) -> int:
        """Number of dW[l]."""
        return self._numbers[f"dW{layer}"]

    def product_back(self, layer: int) -> int:
        """Number of dA[l]."""
        return self._numbers[f"dA{layer}"]

    def back(self, layer: int) -> int:
        """Number of dZ[l]."""
        return self._numbers[f"dZ{layer}"]
