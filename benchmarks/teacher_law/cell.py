"""One student of one teacher: its key, its training, and the loss that it ends with.

W ~ N(0, 1/n[l-1]) in teacher and student; b = 0 in the teacher, normal with the deviation 1/2
in the student; inputs uniform in [-1/2, 1/2), of which the teacher sees the first d.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

import nnx
from nnx.benchmarks.scale.one_thread import computed_by
from nnx.benchmarks.teacher_law.settings import N_X, Settings, units
from nnx.step import OptimizerState

Key = Mapping[str, Any]
Array = Any

_TEACHER = (N_X, 600, 600, 1)
_BLOCK = 1 << 13  # examples that the teacher is asked about at once
_TRAINING, _TEST = 1, 2


def keys_of(settings: Settings) -> list[Key]:
    """Return the key of each cell, those of one teacher after each other, the widest first."""
    common = {
        "cell": "teacher law",
        "stages": [list(stage) for stage in settings.stages],
        "pool": settings.pool,
        "m_test": settings.m_test,
        "device": settings.device,
        "dtype": settings.dtype,
        "computed_by": computed_by(),
    }
    return [
        {**common, "d": d, "n": units(d, i), "teacher": teacher, "seed": seed}
        for d in settings.d
        for teacher in range(settings.teachers)
        for i in sorted(settings.widths, reverse=True)
        for seed in range(settings.students)
    ]


def compute_cell(key: Key) -> dict[str, Any]:
    """Train the student of this key.

    Returns
    -------
    dict
        "loss", the mean squared error of fresh examples, and "relative_loss", that divided by the
        variance of the teacher's answers; both None where the training left the finite numbers.
    """
    d, teacher, dtype = key["d"], key["teacher"], key["dtype"]
    net = _student(key)
    on_device = net.backend.asarray
    X, Y = (on_device(a) for a in _examples(d, teacher, key["pool"], _TRAINING, dtype))
    order = np.random.default_rng([key["seed"], 3])
    state: OptimizerState | None = None
    for steps, batch, rate in key["stages"]:
        step = nnx.TrainingStep(net, batch, nnx.Adam(rate), state=state)
        state = step.state
        each = key["pool"] // batch
        for first in range(0, steps, each):
            count = min(each, steps - first)
            shuffled = order.permutation(key["pool"])[: count * batch]
            step.run(X, Y, None, np.full(count, rate), order=on_device(shuffled, "int64"))
    X, Y = _examples(d, teacher, key["m_test"], _TEST, dtype)
    predicted = net.backend.to_numpy(net.forward(on_device(X))[0])
    loss = float(np.square(predicted - Y, dtype=np.float64).mean())
    if not np.isfinite(loss):
        return {"loss": None, "relative_loss": None}
    return {"loss": loss, "relative_loss": loss / float(Y.var(dtype=np.float64))}


def _student(key: Key) -> nnx.Network:
    n = key["n"]
    layers = [
        nnx.Dense(size, g, initialiser="lecun")
        for size, g in ((n, "relu"), (n, "relu"), (1, "identity"))
    ]
    net = nnx.Network(
        layers,
        n_x=N_X,
        device=key["device"],
        dtype=key["dtype"],
        seed=1000 * key["teacher"] + key["seed"],
    )
    rng = np.random.default_rng([key["teacher"], key["seed"], 4])
    for name, values in net.parameters.items():
        if name.startswith("b"):
            values[...] = net.backend.asarray(0.5 * rng.standard_normal(values.shape), net.dtype)
    return net


@lru_cache(maxsize=2)  # the pool of one teacher and its test part, for all of its students
def _examples(d: int, teacher: int, m: int, part: int, dtype: str) -> tuple[Array, Array]:
    """X (20, m) and what the teacher says of its first d rows, Y (1, m)."""
    weights = np.random.default_rng([teacher, d, 0])
    W = [
        (weights.standard_normal((n, n_prev)) / np.sqrt(n_prev)).astype(dtype)
        for n_prev, n in pairwise(_TEACHER)
    ]
    W[0] = np.ascontiguousarray(W[0][:, :d])
    rng = np.random.default_rng([teacher, d, part])
    rows, said = np.empty((m, N_X), dtype), np.empty((m, 1), dtype)
    for first in range(0, m, _BLOCK):
        block = slice(first, min(first + _BLOCK, m))
        A = rows[block]
        rng.random(out=A, dtype=A.dtype.type)
        A -= A.dtype.type(0.5)
        A = A[:, :d]
        for layer, weight in enumerate(W):
            A = A @ weight.T
            if layer < len(W) - 1:
                np.maximum(A, 0, out=A)
        said[block] = A
    return rows.T, said.T
