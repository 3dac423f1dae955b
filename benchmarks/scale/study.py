"""A whole scaling study: learning rates first, then the grid, then what it says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from nnx.benchmarks.environment import environment
from nnx.benchmarks.scale.cells import (
    Key,
    compute_cell,
    cost_of,
    network_key,
    parameters_of,
    traditional_key,
    trial_key,
)
from nnx.benchmarks.scale.findings import Findings
from nnx.benchmarks.scale.one_thread import one_thread
from nnx.benchmarks.scale.record import Study
from nnx.benchmarks.scale.settings import SVM, Settings
from nnx.benchmarks.scale.side_by_side import run_side_by_side
from nnx.benchmarks.scale.store import CellStore
from nnx.benchmarks.scale.tasks import Task
from nnx.errors import MissingDependencyError

Plain = dict[str, Any]
Advance = Callable[[Key, float], None]

_EMPTY: Mapping[str, Any] = {
    "hidden": None,
    "parameters": None,
    "learning_rate": None,
    "steps": None,
    "epochs": None,
    "train_error": None,
    "validation_error": None,
    "test_error": None,
    "test_loss": None,
    "reason": "",
}


def run_study(
    settings: Settings,
    store: CellStore,
    *,
    path: str | None = None,
    workers: int = 1,
    dask: str | None = None,
    progress: bool = False,
) -> Study:
    """Measure everything that the store does not have, and draw the conclusions.

    Parameters
    ----------
    settings : Settings
    store : CellStore
    path : str, optional
        The file of one's own data.
    workers, dask
        As for `run_side_by_side`.
    progress : bool
        Whether to show a bar with the time left.

    Returns
    -------
    Study

    Raises
    ------
    NnxError
        For settings, data or cells in the store that cannot be used.
    KeyboardInterrupt
        After Ctrl-C; what was finished is in the store.
    """
    start = time.perf_counter()
    task = settings.get_task(path)
    settings = settings.on(task)
    compute = partial(compute_cell, path=path)
    trials = [
        trial_key(settings, task, hidden, rate)
        for hidden in settings.sizes.values()
        for rate in settings.rates
    ]
    # The rate changes nothing about a cell's cost.
    foreseen = [_key(settings, task, row, {}) for row in _rows(settings, task)]
    total = sum(cost_of(key, task) for key in [*trials, *foreseen] if key is not None)
    with _bar(total, progress) as advance:

        def run(keys: Sequence[Key]) -> list[Plain]:
            costs = [cost_of(key, task) for key in keys]
            return run_side_by_side(
                compute, keys, store, workers=workers, dask=dask, costs=costs, advance=advance
            )

        rates = _choose(settings, run(trials))
        rows = _rows(settings, task)
        keys = [_key(settings, task, row, rates) for row in rows]
        results = iter(run([key for key in keys if key is not None]))
    cells, seconds = [], []
    for row, key in zip(rows, keys, strict=True):
        found = _why_skipped(row, rates, settings) if key is None else next(results)
        rate = rates[row["contender"]]["chosen"] if row["kind"] == "network" else None
        cells.append({**_EMPTY, **row, "learning_rate": rate, **found})
        seconds.append(0.0 if key is None else store.seconds(key))
    networks = {name: parameters_of(task, hidden) for name, hidden in settings.sizes.items()}
    by_size = dict(sorted(networks.items(), key=lambda item: item[1]))
    with one_thread():  # the last digits of the laws depend on it as well
        findings = Findings(cells, by_size, settings, task)
        consequences = findings.consequences()
    return Study(
        settings=settings.to_json(task),
        task=_described(settings, task),
        learning_rates=list(rates.values()),
        cells=cells,
        laws=findings.laws(),
        consequences=consequences,
        times={"cells": seconds, "seconds": time.perf_counter() - start, "workers": workers},
        environment=environment((settings.device,)),
    )


def _rows(settings: Settings, task: Task) -> list[Plain]:
    """What each cell is, in the order of the record."""
    found: list[Plain] = []
    for contender in (*settings.traditional(task), *settings.sizes):
        hidden = settings.sizes.get(contender)
        about: Plain = {"contender": contender, "kind": "traditional"}
        if hidden is not None:
            parameters = parameters_of(task, hidden)
            about |= {"kind": "network", "hidden": list(hidden), "parameters": parameters}
        found += [{**about, "m": m, "seed": seed} for m in settings.m for seed in settings.seeds]
    return found


def _key(settings: Settings, task: Task, row: Plain, rates: Mapping[str, Plain]) -> Key | None:
    """The key of a cell; None where it is left out. Without rates: one of the same cost."""
    name, m, seed = row["contender"], row["m"], row["seed"]
    if row["kind"] == "network":
        rate = rates[name]["chosen"] if rates else settings.rates[0]
        if rate is None:
            return None
        return network_key(settings, task, settings.sizes[name], m, seed, rate)
    if name == SVM and m > settings.most_svm:
        return None
    return traditional_key(settings, task, name, m, seed)


def _why_skipped(row: Plain, rates: Mapping[str, Plain], settings: Settings) -> Plain:
    if row["kind"] == "network":
        return {"status": "failed", "reason": "every learning rate that was tried failed"}
    reason = (
        f"a support vector machine's time grows with m^2: it gets at most {settings.most_svm:,} "
        "examples"
    )
    return {"status": "skipped", "reason": reason}


def _choose(settings: Settings, results: Sequence[Plain]) -> dict[str, Plain]:
    """For each network the rate with the lowest validation error; the smaller one of two equal."""
    found, count = {}, len(settings.rates)
    for number, name in enumerate(settings.sizes):
        own = results[number * count : (number + 1) * count]
        tried = [
            {"rate": rate, "validation_error": result.get("validation_error")}
            for rate, result in zip(settings.rates, own, strict=True)
        ]
        good = [
            (t["validation_error"], t["rate"]) for t in tried if t["validation_error"] is not None
        ]
        found[name] = {
            "contender": name,
            "m": settings.tuned_at,
            "tried": tried,
            "chosen": min(good)[1] if good else None,
        }
    return found


def _described(settings: Settings, task: Task) -> Plain:
    counts = {
        f"m_{part}": len(task.examples(part, getattr(settings, f"m_{part}"))[1])
        for part in ("validation", "test")
    }
    about = {"name": task.name, "title": task.title, "n_x": task.n_x, "n_y": task.n_y}
    about |= {"metric": task.metric, "chance": task.chance}
    return {**about, **counts, "note": task.note}


@contextmanager
def _bar(total: float, shown: bool) -> Iterator[Advance | None]:
    """A bar over the work, not over the number of cells: the last of these are far longer."""
    if not shown:
        yield None
        return
    try:
        from tqdm import tqdm
    except ImportError:
        raise MissingDependencyError("tqdm", "scale", "the progress bar of nnx scale") from None
    form = "{desc}{percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left"
    with tqdm(total=total, bar_format=form, leave=False) as bar:

        def advance(key: Key, cost: float) -> None:
            what = key.get("algorithm") or "-".join(map(str, key["hidden"]))
            bar.set_description(f"{what}, m = {key['m']:,}", refresh=False)
            bar.update(cost)

        yield advance
