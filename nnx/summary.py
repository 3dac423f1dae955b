"""A network in words: the one-line repr and the table of `Network.summary`."""

from __future__ import annotations

import numpy as np

from nnx.layers import Dense, Layer
from nnx.model import Model


def one_line(model: Model) -> str:
    """Return `Network(2 -> 4 tanh -> 1 sigmoid, loss, dtype on device)`."""
    chain = " -> ".join([str(model.n_x), *(_label(layer) for layer in model.layers)])
    numbers = model.dtype
    if model.precision not in (None, model.dtype):
        numbers += f"/{model.precision}"
    return f"Network({chain}, {model.loss.name}, {numbers} on {model.device})"


def _label(layer: Layer) -> str:
    if isinstance(layer, Dense):
        return f"{layer.units} {layer.g.name}"
    return f"{layer.units} {type(layer).__name__}"


def table(model: Model) -> str:
    """Return the table: shapes, parameter counts, FLOPs and bytes per example.

    FLOPs count the matrix products, 2 n[l] n[l-1] each: one forward; in training two more, but for
    layer 1, which needs no dA[0]. Bytes are those of A[l] and, in training, of dZ[l].
    """
    size = np.dtype(model.dtype).itemsize
    rows: list[tuple[str, ...]] = [
        ("layer", "units", "parameters", "count", "FLOP forward", "FLOP training", "bytes")
    ]
    totals = np.zeros(4, dtype=np.int64)
    for number, layer in enumerate(model.layers, 1):
        views = model.vector.layers[number - 1]
        shapes = ", ".join(
            f"{name}[{number}] {tuple(int(k) for k in p.shape)}" for name, p in views.items()
        )
        count = sum(int(np.prod(p.shape)) for p in views.values())
        forward = 2 * int(np.prod(views["W"].shape)) if isinstance(layer, Dense) else 0
        products = 2 if number == 1 else 3
        figures = (count, forward, products * forward, 2 * size * layer.units)
        totals += figures
        rows.append((str(number), _label(layer), shapes, *(f"{k:,}" for k in figures)))
    rows.append(("", "", "total per example", *(f"{int(k):,}" for k in totals)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([one_line(model), "", *lines])
