"""The whole study: every student, then the slope of log loss over log N for each d."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nnx.benchmarks.environment import environment
from nnx.benchmarks.scale.side_by_side import run_side_by_side
from nnx.benchmarks.scale.store import CellStore
from nnx.benchmarks.teacher_law.cell import Key, compute_cell, keys_of
from nnx.benchmarks.teacher_law.record import TeacherLaw
from nnx.benchmarks.teacher_law.settings import Settings, parameters_of

Array = Any
_DRAWS, _CONFIDENCE, _SEED = 2000, 0.95, 0


def run_teacher_law(
    settings: Settings,
    store: CellStore,
    *,
    workers: int = 1,
    advance: Callable[[Key, float], None] | None = None,
) -> TeacherLaw:
    """Train every student that the store does not have, and fit the slopes.

    Parameters
    ----------
    settings : Settings
    store : CellStore
    workers : int
        Processes of this machine, each with one thread.
    advance : callable (key, 1.0), optional
        Called for each cell as soon as its result is on disk.
    """
    start = time.perf_counter()
    keys = keys_of(settings)
    # Without costs the cells come in their order: students of one teacher share its examples.
    results = run_side_by_side(compute_cell, keys, store, workers=workers, advance=advance)
    about = ("d", "n", "teacher", "seed")
    cells = [
        {**{name: key[name] for name in about}, "parameters": parameters_of(key["n"]), **result}
        for key, result in zip(keys, results, strict=True)
    ]
    return TeacherLaw(
        settings=settings.to_json(),
        cells=cells,
        slopes=[slope_of(d, [cell for cell in cells if cell["d"] == d]) for d in settings.d],
        times={
            "cells": [store.seconds(key) for key in keys],
            "seconds": time.perf_counter() - start,
            "workers": workers,
        },
        environment=environment((settings.device,)),
    )


def slope_of(d: int, cells: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the slope of log loss over log N, with its interval, beside 4/d.

    Least squares over all students, with a level for each teacher: so students of one width count
    by their geometric mean. The interval is that of slopes from resampled residuals, scaled as
    Student's distribution asks of so few. "alpha_best" takes the best student of each width.

    Returns
    -------
    dict
        What cannot be known, of too few students that ended with a finite loss, is None.
    """
    done = [cell for cell in cells if cell["loss"] is not None]
    best: dict[tuple[int, int], dict[str, Any]] = {}
    for cell in done:
        place = cell["teacher"], cell["n"]
        if place not in best or cell["loss"] < best[place]["loss"]:
            best[place] = cell
    alpha, interval = _slope(done)
    return {
        "d": d,
        "alpha": alpha,
        "interval": interval,
        "alpha_best": _slope(list(best.values()))[0],
        "four_over_d": 4 / d,
        "four_over_alpha": None if alpha is None or alpha <= 0 else 4 / alpha,
        "students": len(done),
    }


def _slope(cells: Sequence[dict[str, Any]]) -> tuple[float | None, list[float] | None]:
    """-d log loss / d log N and its interval."""
    teacher = np.array([cell["teacher"] for cell in cells])
    x = np.log([cell["parameters"] for cell in cells])
    y = np.log([cell["loss"] for cell in cells])
    for one in np.unique(teacher):
        mine = teacher == one
        x[mine] -= x[mine].mean()
        y[mine] -= y[mine].mean()
    freedom = len(cells) - 1 - len(np.unique(teacher))
    square = float(x @ x)
    if freedom < 1 or square == 0:
        return None, None
    slope = float(x @ y) / square
    residuals = y - slope * x
    residuals *= np.sqrt(len(cells) / freedom)
    rng = np.random.default_rng(_SEED)
    drawn = rng.choice(residuals, (_DRAWS, len(cells)))
    drawn *= np.sqrt(freedom / rng.chisquare(freedom, (_DRAWS, 1)))
    outside = (1 - _CONFIDENCE) / 2
    low, high = np.quantile(-(slope + drawn @ x / square), [outside, 1 - outside])
    return -slope, [float(low), float(high)]
