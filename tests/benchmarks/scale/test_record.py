"""The record of a study: what was written is read; anything else names file and field."""

import json

import pytest

from nnx.benchmarks.scale import read_study, write_study
from nnx.errors import DataError


def test_what_was_written_is_read(small_study, tmp_path):
    study = read_study(small_study / "scale.json")
    again = write_study(study, tmp_path / "again.json")
    assert again.read_bytes() == (small_study / "scale.json").read_bytes()
    assert read_study(again) == study


def test_errors_are_those_of_the_finished_cells(small_study):
    study = read_study(small_study / "scale.json")
    assert list(study.errors("support vector machine")) == [128, 256, 512]
    assert [len(errors) for errors in study.errors("large").values()] == [2, 2, 2, 2]
    assert study.networks == ["small", "medium", "large"]


def change(*way):
    """Put the last of the arguments where the others lead."""
    *names, last, value = way

    def changed(plain):
        place = plain
        for name in names:
            place = place[name]
        if value is KeyError:
            del place[last]
        else:
            place[last] = value
        return json.dumps(plain)

    return changed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda plain: json.dumps(plain)[:-200], "not whole JSON"),
        (lambda plain: "", "not whole JSON"),
        (lambda plain: "[]", "the file: wanted an object"),
        (change("schema", "nnx-bench/1"), "schema: wanted 'nnx-scale/1', got 'nnx-bench/1'"),
        (change("cells", KeyError), "cells: is missing"),
        (change("settings", "m", []), "settings.m: wanted at least one entry"),
        (change("settings", "seeds", 0, "x"), "settings.seeds[0]: wanted int, got 'x'"),
        (change("settings", "sizes", 0, "hidden", KeyError), "settings.sizes[0].hidden: is miss"),
        (change("task", "metric", "accuracy"), "task.metric: wanted one of error rate"),
        (change("task", "chance", 0), "task.chance: wanted a number above 0"),
        (change("learning_rates", 0, "tried", 0, "rate", -1), "learning_rates[0].tried[0].rate"),
        (change("cells", 3, "contender", "huge"), "cells[3].contender: wanted one of logistic"),
        (change("cells", 3, "m", 0), "cells[3].m: wanted a number from 1 on"),
        (change("cells", 3, "test_error", None), "cells[3].test_error: wanted float, got None"),
        (change("cells", 3, "test_error", -0.5), "cells[3].test_error: wanted a number from 0"),
        (change("cells", 3, "status", "new"), "cells[3].status: wanted one of done"),
        (change("cells", -1, "steps", KeyError), "].steps: is missing"),
        (change("laws", "per_contender", 0, "alpha", KeyError), "laws.per_contender[0]: "),
        (change("laws", "joint", None), "laws.joint: wanted dict, got None"),
        (
            change("consequences", "overtakes", 0, "sentence", KeyError),
            "consequences.overtakes[0].sentence: is missing",
        ),
        (change("times", "cells", [1.0]), "times.cells: wanted 40 numbers, one for each cell"),
        (change("environment", KeyError), "environment: is missing"),
    ],
)
def test_what_is_no_record_names_file_and_field(small_study, tmp_path, damage, says):
    path = tmp_path / "other.json"
    path.write_text(damage(json.loads((small_study / "scale.json").read_text())))
    with pytest.raises(DataError) as error:
        read_study(path)
    assert str(error.value).startswith(f"{path}: ")
    assert says in str(error.value)


def test_the_recorded_results_can_be_read(pytestconfig):
    found = sorted(pytestconfig.rootpath.glob("benchmarks/results/*/scale*.json"))
    assert found
    for path in found:
        study = read_study(path)
        last = max(study.settings["m"])
        large, small = (sum(study.errors(name)[last]) for name in ("large", "small"))
        assert large < small
