"""A study of a few seconds, with everything that a whole one has."""

import pytest

from nnx.benchmarks.scale import CellStore, Settings, run_study, write_study
from scale_support import SMALL


@pytest.fixture(scope="session")
def small_settings():
    return Settings(**SMALL)


@pytest.fixture(scope="session")
def small_study(tmp_path_factory, small_settings):
    """The folder of a study that one process did without interruption."""
    folder = tmp_path_factory.mktemp("study")
    study = run_study(small_settings, CellStore(folder / "cells"))
    write_study(study, folder / "scale.json")
    return folder
