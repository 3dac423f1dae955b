"""The JSON record of a study, "nnx-scale/1": written whole or not at all, checked when read.

Without "times" and "environment" the records of two runs with the same settings are equal byte
for byte.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnx.benchmarks.fields import Field, read_record_of
from nnx.benchmarks.record import write_json
from nnx.benchmarks.scale.tasks import ERROR_RATE, SQUARED_ERROR
from nnx.errors import DataError
from nnx.scaling import JointLaw, PowerLaw

SCHEMA = "nnx-scale/1"
KINDS = ("network", "traditional")
STATUSES = ("done", "skipped", "failed")
ERRORS = ("train_error", "validation_error", "test_error")

Plain = Mapping[str, Any]


@dataclass(frozen=True)
class Study:
    """A scaling study as it is kept; everything is plain JSON values.

    Attributes
    ----------
    settings : Mapping
        The fields of `Settings`; "sizes" as a list of {"name", "hidden"}, "traditional" names.
    task : Mapping
        "name", "title", "n_x", "n_y", "metric", "chance", "m_validation", "m_test", "note".
    learning_rates : Sequence of Mapping
        For each network "contender", "m", "tried": [{"rate", "validation_error" or None}],
        "chosen" (None where every rate failed).
    cells : Sequence of Mapping
        Contender by contender, m by m, seed by seed: "contender", "kind", "hidden", "parameters",
        "m", "seed", "learning_rate", "steps", "epochs", "train_error", "validation_error",
        "test_error", "test_loss", "status", "reason". What a cell does not have is None.
    laws : Mapping
        "per_contender": [{"contender", ...PowerLaw.to_json()}], "joint": JointLaw.to_json().
    consequences : Mapping
        "overtakes", "data_needed", "best_size": lists, each item with its "sentence".
    times : Mapping
        "cells": seconds of each cell (0 for skipped ones), "seconds": of the run that ended the
        study, "workers".
    environment : Mapping
    """

    settings: Plain
    task: Plain
    learning_rates: Sequence[Plain]
    cells: Sequence[Plain]
    laws: Plain
    consequences: Plain
    times: Plain
    environment: Plain

    def errors(self, contender: str, name: str = "test_error") -> dict[int, list[float]]:
        """Return the errors of the finished cells of a contender: for each m those of its seeds."""
        found: dict[int, list[float]] = {}
        for cell in self.cells:
            if cell["contender"] == contender and cell["status"] == "done":
                found.setdefault(cell["m"], []).append(cell[name])
        return found

    @property
    def networks(self) -> list[str]:
        """Names of the networks, as in the settings."""
        return [size["name"] for size in self.settings["sizes"]]

    @property
    def contenders(self) -> list[str]:
        """Names of all that were compared: traditional algorithms, then networks."""
        return [*self.settings["traditional"], *self.networks]


def write_study(study: Study, path: str | Path) -> Path:
    """Write a study to `path`, whole or not at all."""
    return write_json(path, {"schema": SCHEMA, **study.__dict__})


def read_study(path: str | Path) -> Study:
    """Read a study back.

    Raises
    ------
    DataError
        When the file is not such a record, naming the file and the field at fault.
    """
    top = read_record_of(path, SCHEMA)
    settings = _settings(top.get("settings", dict))
    names = [*settings["traditional"], *(size["name"] for size in settings["sizes"])]
    cells = [_cell(cell, names) for cell in top.get("cells", list).items()]
    return Study(
        settings=settings,
        task=_task(top.get("task", dict)),
        learning_rates=[_rates(item) for item in top.get("learning_rates", list).items()],
        cells=cells,
        laws=_laws(top.get("laws", dict), names),
        consequences=_consequences(top.get("consequences", dict)),
        times=_times(top.get("times", dict), len(cells)),
        environment=top.get("environment", dict).value,
    )


def _settings(field: Field) -> Plain:
    for name in ("m", "seeds", "traditional", "sizes"):
        values = field.get(name, list)
        if not values.value and name != "traditional":
            raise values.error("wanted at least one entry, got none")
        for value in values.items():
            value.of_kind({"traditional": str, "sizes": dict}.get(name, int))
    for size in field.get("sizes", list).items():
        size.text("name")
        for units in size.get("hidden", list).items():
            units.of_kind(int)
    for name in ("task", "device", "dtype"):
        field.text(name)
    field.get("task_options", dict)
    return dict(field.value)


def _task(field: Field) -> Plain:
    for name in ("name", "title", "note"):
        field.text(name)
    field.text("metric", (ERROR_RATE, SQUARED_ERROR))
    for name in ("n_x", "n_y", "m_validation", "m_test"):
        field.count(name)
    field.positive("chance")
    return dict(field.value)


def _rates(field: Field) -> Plain:
    field.text("contender")
    field.count("m")
    for tried in field.get("tried", list).items():
        tried.positive("rate")
        _number(tried, "validation_error")
    if field.maybe("chosen", float) is not None:
        field.positive("chosen")
    return dict(field.value)


def _cell(field: Field, names: Sequence[str]) -> Plain:
    field.text("contender", names)
    network = field.text("kind", KINDS) == "network"
    field.count("m")
    field.count("seed", 0)
    status = field.text("status", STATUSES)
    field.get("reason", str)
    if network:
        field.count("parameters")
        for units in field.get("hidden", list).items():
            units.of_kind(int)
    if status == "done":
        for name in ERRORS:
            field.get(name, float)
            _number(field, name)
        if network:
            field.count("steps")
            field.positive("epochs")
            field.positive("learning_rate")
    _number(field, "test_loss")
    return dict(field.value)


def _number(field: Field, name: str) -> float | None:
    """The member `name`: null, or a finite number from 0 on."""
    found = field.maybe(name, float)
    if found is None:
        return None
    if not (math.isfinite(found.value) and found.value >= 0):
        raise found.error(f"wanted a number from 0 on, got {found.value!r}")
    return float(found.value)


def _laws(field: Field, names: Sequence[str]) -> Plain:
    for item in field.get("per_contender", list).items():
        item.text("contender", names)
        _law(item, PowerLaw)
    _law(field.get("joint", dict), JointLaw)
    return dict(field.value)


def _law(field: Field, kind: type[PowerLaw] | type[JointLaw]) -> None:
    try:
        kind.from_json({name: v for name, v in field.value.items() if name != "contender"})
    except DataError as error:
        raise field.error(str(error)) from error


def _consequences(field: Field) -> Plain:
    for name in ("overtakes", "data_needed", "best_size"):
        for item in field.get(name, list).items():
            item.text("sentence")
            item.maybe("m", float)
    for item in field.get("overtakes", list).items():
        item.text("larger")
        item.text("smaller")
    for item in field.get("data_needed", list).items():
        item.text("contender")
        item.positive("target")
    for item in field.get("best_size", list).items():
        item.positive("flop")
    return dict(field.value)


def _times(field: Field, cells: int) -> Plain:
    seconds = field.get("cells", list)
    if len(seconds.value) != cells:
        raise seconds.error(f"wanted {cells} numbers, one for each cell, got {len(seconds.value)}")
    for item in seconds.items():
        item.of_kind(float)
    field.get("seconds", float)
    field.count("workers")
    return dict(field.value)
