"""Records for the report, and a folder that holds one of each kind."""

from pathlib import Path

import pytest

from report_records import MAKERS, Plain, write


@pytest.fixture(scope="session")
def records() -> dict[str, Plain]:
    """One record of each kind, for reading only."""
    return {name: make() for name, make in MAKERS.items()}


@pytest.fixture
def folder(tmp_path: Path, records: dict[str, Plain]) -> Path:
    """A folder with one record of each kind."""
    for name, plain in records.items():
        write(tmp_path / "bench-out", name, plain)
    return tmp_path / "bench-out"
