"""The tasks of the scaling study: endless digits, a random teacher, the flower, one's own data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from nnx.benchmarks.scale.tasks.digits import Digits
from nnx.benchmarks.scale.tasks.flower import Flower
from nnx.benchmarks.scale.tasks.table import Table
from nnx.benchmarks.scale.tasks.task import ERROR_RATE, SQUARED_ERROR, Task
from nnx.benchmarks.scale.tasks.teacher import Teacher
from nnx.errors import DataError, unknown_name

__all__ = ["ERROR_RATE", "NAMES", "SQUARED_ERROR", "Task", "get_task"]

_GENERATED: dict[str, type[Task]] = {"digits": Digits, "teacher": Teacher, "flower": Flower}
NAMES = (*_GENERATED, Table.name)


def get_task(name: str, options: Mapping[str, Any], path: str | None = None) -> Task:
    """Return a task; of this process's one, so that examples are made once.

    Parameters
    ----------
    name : {"digits", "teacher", "flower", "data"}
    options : mapping
        The task's parameters; those left out have their defaults.
    path : str, optional
        The file of one's own data.
    """
    if name not in NAMES:
        raise unknown_name("task", name, NAMES)
    return _get(name, json.dumps(dict(options), sort_keys=True), path)


@lru_cache(maxsize=2)
def _get(name: str, options: str, path: str | None) -> Task:
    chosen = json.loads(options)
    if name == Table.name:
        if path is None:
            raise DataError("the task data is a file: give --data FILE and --target COLUMN")
        return Table(path, **chosen)
    try:
        return _GENERATED[name](**chosen)
    except TypeError as error:
        raise DataError(f"task {name}: {error}") from None
