"""The user's own data: a .npz, .csv or .parquet file, and the column that is to be foreseen."""

from __future__ import annotations

import csv
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nnx.benchmarks.scale.tasks.task import (
    ERROR_RATE,
    PARTS,
    SQUARED_ERROR,
    Part,
    Rows,
    Targets,
    Task,
)
from nnx.errors import DataError, MissingDependencyError, unknown_name

_SHARES = (0.6, 0.2, 0.2)  # of the rows, for training, validation and test
_LEAST = 50  # rows
_MOST_CLASSES = 100  # whole numbers of more different values are values, not classes

Columns = dict[str, NDArray[Any]]


class Table(Task):
    """A file's rows, divided at random into the three parts.

    Whole numbers of at most 100 different values, text and booleans are classes; everything else
    is a value. Inputs, and the values of a regression, are moved and scaled to mean 0 and
    deviation 1 over the training part.

    Parameters
    ----------
    path : path
    target : str
        The column to be foreseen; the other columns are the inputs. In an .npz file an array
        (m,), and the inputs are the array X, or where there is none all other arrays with m rows.
    sha256 : str, optional
        What the file's contents must be.

    Raises
    ------
    DataError
        For a file that cannot be used; it names the file, and the column and row at fault.
    """

    name = "data"

    def __init__(self, path: str | Path, target: str, sha256: str | None = None) -> None:
        super().__init__()
        path = Path(path)
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if sha256 not in (None, found):
            raise DataError(f"{path}: the file has changed since this study began")
        columns = _read(path)
        if target not in columns:
            raise DataError(f"{path}: {unknown_name('target', target, tuple(columns))}")
        inputs = _inputs(path, columns, target)
        goal = columns[target]
        self.options = {"sha256": found, "target": target}
        self.title, self.n_x = f"{path.name}: {target}", inputs.shape[1]
        m = len(goal)
        if m < _LEAST:
            raise DataError(f"{path}: wanted {_LEAST} rows or more, got {m}")
        order = np.random.default_rng(0).permutation(m)
        edges = np.cumsum(np.round(np.array(_SHARES) * m)).astype(int)[:-1]
        rows = dict(zip(PARTS, np.split(order, edges), strict=True))
        self.most = len(rows["train"])
        Y = self._targets(path, target, goal, rows["train"])
        mean, deviation = _scale(inputs[rows["train"]])
        X = ((inputs - mean) / deviation).astype(np.float32)
        self._parts: dict[Part, tuple[Rows, Targets]] = {
            part: (X[chosen], Y[chosen]) for part, chosen in rows.items()
        }
        what = f"{self.n_y} classes" if self.classifies else "values, divided by their deviation"
        counts = ", ".join(f"{len(chosen):,} for {part}" for part, chosen in rows.items())
        self.note = (
            f"{path.name}: {self.n_x} inputs, {target} ({what}); rows divided at random: {counts}; "
            "inputs scaled to mean 0 and deviation 1 over the training part"
        )

    def _targets(
        self, path: Path, name: str, goal: NDArray[Any], train: NDArray[np.int64]
    ) -> Targets:
        """Y, and what follows from it: n_y, the metric, chance."""
        if goal.ndim != 1:
            raise DataError(f"{path}: {name}: wanted one column, got the shape {goal.shape}")
        if goal.dtype.kind == "f":
            _finite(path, name, goal)
        whole = goal.dtype.kind in "iub" or (
            goal.dtype.kind == "f" and bool((goal == np.round(goal)).all())
        )
        classes, labels = np.unique(goal, return_inverse=True)
        if goal.dtype.kind in "US" or (whole and len(classes) <= _MOST_CLASSES):
            if len(classes) < 2:
                raise DataError(f"{path}: {name}: wanted two classes or more, got {classes[0]!r}")
            self.metric, self.n_y = ERROR_RATE, len(classes)
            shares = np.bincount(labels[train]) / len(train)
            self.chance = round(1 - float(shares.max()), 4)
            return np.asarray(labels, np.int64)
        self.metric, self.n_y, self.chance = SQUARED_ERROR, 1, 1.0
        values = goal.astype(np.float64)[:, None]
        mean, deviation = _scale(values[train])
        return np.asarray((values - mean) / deviation, np.float32)

    def _make(self, part: Part, seed: int, m: int) -> tuple[Rows, Targets]:
        X, Y = self._parts[part]
        if part != "train":
            return X.copy(), Y.copy()
        order = np.random.default_rng([seed, 1]).permutation(len(X))
        return X[order], Y[order]


def _scale(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of each column; 1 where it is constant."""
    deviation = rows.std(axis=0)
    deviation[rows.min(axis=0) == rows.max(axis=0)] = 1.0
    return rows.mean(axis=0), deviation


def _inputs(path: Path, columns: Columns, target: str) -> NDArray[np.float64]:
    m = len(columns[target])
    names = [name for name in columns if name != target]
    if path.suffix == ".npz":
        names = (
            ["X"] if "X" in names else [name for name in names if columns[name].shape[:1] == (m,)]
        )
    if not names:
        raise DataError(f"{path}: there is no input beside {target}")
    parts = []
    for name in names:
        column = columns[name]
        if column.dtype.kind not in "fiub":
            raise DataError(
                f"{path}: {name}: wanted numbers, got {column.dtype}; leave the column out or "
                "turn it into numbers"
            )
        if column.shape[:1] != (m,):
            raise DataError(f"{path}: {name}: wanted {m} rows as in {target}, got {column.shape}")
        values = column.astype(np.float64).reshape(m, -1)
        _finite(path, name, values)
        parts.append(values)
    return np.concatenate(parts, axis=1)


def _finite(path: Path, name: str, values: NDArray[Any]) -> None:
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(rows):
        raise DataError(
            f"{path}: {name}: wanted finite numbers, got {values[rows[0]]!s} in row {rows[0] + 1}"
        )


def _read(path: Path) -> Columns:
    readers = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(f"{path}: wanted a file that ends in {', '.join(readers)}")
    return readers[path.suffix](path)


def _read_npz(path: Path) -> Columns:
    try:
        # Opened here, since np.load leaves what is no whole file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a whole .npz file of plain arrays: {error}") from error


def _read_csv(path: Path) -> Columns:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header, *rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a .csv file: {error}") from error
    except ValueError:
        raise DataError(f"{path}: the file is empty") from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(header):
            raise DataError(
                f"{path}: row {number}: wanted {len(header)} columns as in the first line, "
                f"got {len(row)}"
            )
    return {name: _column([row[i] for row in rows]) for i, name in enumerate(header)}


def _column(texts: Sequence[str]) -> NDArray[Any]:
    """Numbers where every text is one, an empty one NaN; true and false; else the texts."""
    lower = {text.strip().lower() for text in texts}
    if texts and lower <= {"true", "false"}:
        return np.array([text.strip().lower() == "true" for text in texts])
    try:
        return np.array([float(text) if text.strip() else np.nan for text in texts])
    except ValueError:
        return np.array(texts)


def _read_parquet(path: Path) -> Columns:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import read_table
    except ImportError:
        raise MissingDependencyError("pyarrow", "parquet", "reading a .parquet file") from None
    try:
        table = read_table(path)
    except ArrowInvalid as error:
        raise DataError(f"{path}: not a whole .parquet file: {error}") from error
    found = {}
    for name in table.column_names:
        column = table[name].to_numpy()
        found[name] = column.astype(str) if column.dtype.kind == "O" else column
    return found
