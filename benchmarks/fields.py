"""Values read from a JSON file, each with the way to it: errors name the file and the field."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnx.errors import DataError


@dataclass(frozen=True)
class Field:
    """A value of the file with the way to it.

    Attributes
    ----------
    file : str
        Name of the file.
    name : str
        Such as "cells[3].m"; "" for the whole file.
    value : Any
    """

    file: str
    name: str
    value: Any

    def error(self, problem: str) -> DataError:
        """Make the error about this field."""
        return DataError(f"{self.file}: {self.name or 'the file'}: {problem}")

    def get(self, key: str, kind: type) -> "Field":
        """Return the member `key`, which must be there and of this kind."""
        if not isinstance(self.value, dict):
            raise self.error(f"wanted an object, got {self.value!r:.60}")
        name = f"{self.name}.{key}" if self.name else key
        if key not in self.value:
            raise Field(self.file, name, None).error("is missing")
        return Field(self.file, name, self.value[key]).of_kind(kind)

    def maybe(self, key: str, kind: type) -> "Field | None":
        """Return the member `key`, or None where it is missing or null."""
        if isinstance(self.value, dict) and self.value.get(key) is None:
            return None
        return self.get(key, kind)

    def of_kind(self, kind: type) -> "Field":
        """Return this field if its value is of `kind`; an int is a float too, a bool neither."""
        kinds = (int, float) if kind is float else kind
        if not isinstance(self.value, kinds) or isinstance(self.value, bool):
            raise self.error(f"wanted {kind.__name__}, got {self.value!r:.60}")
        return self

    def items(self) -> "list[Field]":
        """List the members of a list."""
        return [
            Field(self.file, f"{self.name}[{index}]", item) for index, item in enumerate(self.value)
        ]

    def count(self, key: str, least: int = 1) -> int:
        """Return the member `key`, a whole number from `least` on."""
        found = self.get(key, int)
        if found.value < least:
            raise found.error(f"wanted a number from {least} on, got {found.value}")
        return int(found.value)

    def positive(self, key: str) -> float:
        """Return the member `key`, a finite number above 0."""
        return self.get(key, float).above_zero()

    def above_zero(self) -> float:
        """Return the value of this field, a finite number above 0."""
        value = self.of_kind(float).value
        if not (math.isfinite(value) and value > 0):
            raise self.error(f"wanted a number above 0, got {value!r}")
        return float(value)

    def samples(self, key: str) -> tuple[float, ...]:
        """Return the member `key`, at least one finite number above 0."""
        found = self.get(key, list)
        if not found.value:
            raise found.error("wanted at least one sample, got none")
        return tuple(sample.above_zero() for sample in found.items())

    def text(self, key: str, among: Sequence[str] = ()) -> str:
        """Return the member `key`, a string, one of `among` where that is given."""
        found = self.get(key, str)
        if among and found.value not in among:
            raise found.error(f"wanted one of {', '.join(among)}, got {found.value!r}")
        return str(found.value)


def read_json(path: str | Path) -> Field:
    """Read a JSON file.

    Raises
    ------
    DataError
        When it cannot be read or is no JSON.
    """
    try:
        plain = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not whole JSON (truncated or another file?): {error}") from error
    return Field(str(path), "", plain)


def read_record_of(path: str | Path, schema: str) -> Field:
    """Read a JSON file that says of itself that it is a record of this schema.

    Raises
    ------
    DataError
        When it cannot be read, is no JSON, or is another record.
    """
    top = read_json(path)
    found = top.get("schema", str)
    if found.value != schema:
        raise found.error(f"wanted {schema!r}, got {found.value!r}")
    return top
