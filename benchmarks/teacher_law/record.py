"""The JSON record of the teacher law, "nnx-teacher-law/1": written whole, checked when read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nnx.benchmarks.fields import Field, read_record_of
from nnx.benchmarks.record import write_json
from nnx.errors import DataError

SCHEMA = "nnx-teacher-law/1"
NAME = "teacher-law.json"


@dataclass(frozen=True)
class TeacherLaw:
    """The study as it is kept; everything is plain JSON values.

    Attributes
    ----------
    settings : Mapping
        The fields of `Settings`; "stages" as [steps, batch, rate], and "units" by d, "examples",
        "counted" (how N is counted) and "note".
    cells : Sequence of Mapping
        "d", "n", "parameters", "teacher", "seed", "loss", "relative_loss" (None where training
        left the finite numbers).
    slopes : Sequence of Mapping
        For each d "alpha", "interval" [low, high], "alpha_best", "four_over_d",
        "four_over_alpha", "students".
    times : Mapping
        "cells": seconds of each, "seconds": of the run that ended the study, "workers".
    environment : Mapping
    """

    settings: Mapping[str, Any]
    cells: Sequence[Mapping[str, Any]]
    slopes: Sequence[Mapping[str, Any]]
    times: Mapping[str, Any]
    environment: Mapping[str, Any]


def write_teacher_law(law: TeacherLaw, path: str | Path) -> Path:
    """Write the record to `path`, whole or not at all."""
    return write_json(path, {"schema": SCHEMA, **asdict(law)})


def read_teacher_law(path: str | Path) -> TeacherLaw:
    """Read a record back.

    Raises
    ------
    DataError
        When the file is not such a record, naming the file and the field at fault.
    """
    top = read_record_of(path, SCHEMA)
    for cell in top.get("cells", list).items():
        for name in ("d", "n", "parameters"):
            cell.count(name)
        for name in ("teacher", "seed"):
            cell.count(name, 0)
        _maybe_positive(cell, "loss")
        _maybe_positive(cell, "relative_loss")
    for slope in top.get("slopes", list).items():
        slope.count("d")
        slope.positive("four_over_d")
        for name in ("alpha", "alpha_best", "four_over_alpha"):
            slope.maybe(name, float)
        interval = slope.maybe("interval", list)
        if interval is not None:
            if len(interval.value) != 2:
                raise interval.error(f"wanted two numbers, got {len(interval.value)}")
            for end in interval.items():
                end.of_kind(float)
    return TeacherLaw(
        settings=top.get("settings", dict).value,
        cells=top.get("cells", list).value,
        slopes=top.get("slopes", list).value,
        times=top.get("times", dict).value,
        environment=top.get("environment", dict).value,
    )


def _maybe_positive(cell: Field, name: str) -> None:
    if name not in cell.value:
        raise DataError(f"{cell.file}: {cell.name}.{name}: is missing")
    found = cell.maybe(name, float)
    if found is not None:
        found.above_zero()
