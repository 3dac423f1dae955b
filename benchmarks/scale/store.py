"""Finished cells on disk, so that a study can be stopped at any moment and goes on later.

A file for each cell, written whole or not at all, named by a hash of everything that determines
its result. So a changed setting finds the cells that it leaves as they were, and no others.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnx.benchmarks.fields import Field, read_json
from nnx.benchmarks.record import write_json
from nnx.errors import DataError

SCHEMA = "nnx-cell/1"


class CellStore:
    """A folder of cells.

    Parameters
    ----------
    folder : path
        Made at the first `put`.

    Examples
    --------
    >>> import tempfile
    >>> store = CellStore(tempfile.mkdtemp())
    >>> store.get({"m": 128, "seed": 0}) is None
    True
    >>> store.put({"m": 128, "seed": 0}, {"test_error": 0.25}, seconds=1.5)
    >>> store.get({"seed": 0, "m": 128})
    {'test_error': 0.25}
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, key: Mapping[str, Any]) -> Path:
        """Return where the cell of this key lies, or would lie."""
        return self.folder / f"{_hash(key)[:32]}.json"

    def get(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the result of the cell with this key; None where it has not been put.

        Parameters
        ----------
        key : mapping
            Everything that determines the result, as plain JSON values in any order.

        Raises
        ------
        DataError
            Where the file of this cell is truncated, changed, or something else; the message
            names the file and the field. The file stays as it is.
        """
        found = self._read(key)
        return None if found is None else dict(found.get("result", dict).value)

    def seconds(self, key: Mapping[str, Any]) -> float | None:
        """Return how long the cell with this key took; None where it has not been put."""
        found = self._read(key)
        return None if found is None else float(found.get("seconds", float).value)

    def put(self, key: Mapping[str, Any], result: Mapping[str, Any], seconds: float = 0.0) -> None:
        """Keep the result of a cell; it is on disk, whole, when this returns.

        Raises
        ------
        DataError
            Where the folder cannot be written into, or holds something else at the cell's place:
            that is never replaced.
        """
        path = self.path(key)
        if path.exists():
            self._read(key)  # whatever is not this cell is an error
        plain = {
            "schema": SCHEMA,
            "key": dict(key),
            "result": dict(result),
            "checksum": _hash(result),
            "seconds": seconds,
        }
        write_json(path, plain)

    def _read(self, key: Mapping[str, Any]) -> Field | None:
        path = self.path(key)
        if not path.exists():
            return None
        try:
            return _check(read_json(path), key)
        except DataError as error:
            raise DataError(f"{error}; remove it to compute this cell again") from error


def _check(top: Field, key: Mapping[str, Any]) -> Field:
    """Return the file's content if it is the cell of this key, unchanged since it was written."""
    schema = top.get("schema", str)
    if schema.value != SCHEMA:
        raise schema.error(f"wanted {SCHEMA!r}, got {schema.value!r}")
    asked = top.get("key", dict)
    if _hash(asked.value) != _hash(key):
        raise asked.error("is that of another cell")
    result = top.get("result", dict)
    if top.get("checksum", str).value != _hash(result.value):
        raise result.error("is not what was written: the checksum differs")
    seconds = top.get("seconds", float)
    if not (math.isfinite(seconds.value) and seconds.value >= 0):
        raise seconds.error(f"wanted seconds from 0 on, got {seconds.value!r}")
    return top


def _hash(plain: Mapping[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
