"""Cells on disk: whole, found by everything that determines them, never silently replaced."""

import json

import pytest

from nnx.benchmarks.scale import CellStore
from nnx.errors import DataError

KEY = {"m": 128, "hidden": [8, 8], "seed": 0}
RESULT = {"test_error": 0.1, "steps": 300}


@pytest.fixture
def store(tmp_path):
    store = CellStore(tmp_path / "cells")
    store.put(KEY, RESULT, seconds=2.0)
    return store


def test_what_was_put_is_found_by_another_process_and_in_any_order(store):
    again = CellStore(store.folder)
    assert again.get(dict(reversed(KEY.items()))) == RESULT
    assert again.seconds(KEY) == 2.0
    assert [path.name for path in store.folder.iterdir()] == [store.path(KEY).name]


@pytest.mark.parametrize("change", [{"m": 129}, {"hidden": [8]}, {"seed": 1}, {"more": None}])
def test_another_key_is_another_cell(store, change):
    assert store.get(KEY | change) is None
    assert store.seconds(KEY | change) is None


def test_a_cell_can_be_put_again(store):
    store.put(KEY, RESULT | {"steps": 301})
    assert store.get(KEY)["steps"] == 301


def _change(field, value):
    def change(text):
        return json.dumps(json.loads(text) | {field: value})

    return change


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda text: text[: len(text) // 2], "not whole JSON"),
        (lambda text: "", "not whole JSON"),
        (lambda text: "[1, 2]", "the file: wanted an object"),
        (lambda text: '{"schema": "nnx-bench/1"}', "schema: wanted 'nnx-cell/1'"),
        (_change("key", {"m": 7}), "key: is that of another cell"),
        (_change("result", {"test_error": 0.01}), "result: is not what was written"),
        (_change("checksum", None), "checksum: wanted str"),
        (_change("seconds", -1), "seconds: wanted seconds from 0 on"),
    ],
)
def test_what_is_not_that_cell_is_an_error_and_stays(store, change, field):
    path = store.path(KEY)
    path.write_text(change(path.read_text()))
    before = path.read_bytes()
    for use in (lambda: store.get(KEY), lambda: store.put(KEY, RESULT)):
        with pytest.raises(DataError) as error:
            use()
        assert str(path) in str(error.value)
        assert field in str(error.value)
        assert "remove it to compute this cell again" in str(error.value)
        assert path.read_bytes() == before


def test_a_folder_that_cannot_be_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        CellStore(tmp_path / "file").put(KEY, RESULT)
