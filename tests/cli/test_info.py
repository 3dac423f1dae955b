"""`nnx info`: devices, libraries, and how to get what is missing."""

import importlib.metadata

import numpy as np
import pytest

from nnx.backends import Memory
from nnx.backends.cpu import CpuBackend
from nnx.cli import info, main

Output = pytest.CaptureFixture[str]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which neither CuPy nor matplotlib is installed."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name.startswith(("cupy", "matplotlib")):
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(info.importlib.metadata, "version", version)


def test_it_shows_devices_and_libraries_with_versions(capsys: Output) -> None:
    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for text in ("nnx-learn", "cpu", "cuda", "auto", "NumPy", np.__version__, "cores"):
        assert text in shown


@pytest.mark.usefixtures("without")
def test_what_is_missing_comes_with_a_command_on_one_line(capsys: Output) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 'matplotlib is missing: pip install "nnx-learn[plot]"' in lines
    (cupy,) = (line for line in lines if line.startswith("CuPy is missing"))
    assert '"nnx-learn[cuda13]" or pip install "nnx-learn[cuda12]"' in cupy


def test_a_distribution_that_is_one_of_several_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name != "cupy-cuda12x":
            raise importlib.metadata.PackageNotFoundError(name)
        return "14.0"

    monkeypatch.setattr(info.importlib.metadata, "version", version)
    assert info._version(("cupy-cuda13x", "cupy-cuda12x")) == "14.0 (cupy-cuda12x)"
    assert info._version(("cupy",)) == ""


def test_auto_follows_the_variable_and_its_mistakes_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("NNX_DEVICE", "cpu")
    assert main(["info"]) == 0
    assert "is cpu" in capsys.readouterr().out
    monkeypatch.setenv("NNX_DEVICE", "cpuu")
    assert main(["info"]) == 0
    assert "unknown device 'cpuu'" in capsys.readouterr().out


def test_free_memory_that_is_not_known_is_a_question_mark(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(CpuBackend, "memory", lambda self: Memory(0, None, 2**33, None))
    assert main(["info"]) == 0
    assert "? / 8.0" in capsys.readouterr().out


def test_every_library_that_can_be_missing_has_an_extra_of_the_project() -> None:
    extras = importlib.metadata.metadata("nnx-learn").get_all("Provides-Extra")
    core = ("NumPy", "array-api-compat", "safetensors")
    for library in info.LIBRARIES:
        assert set(library.extras) <= set(extras or ())
        assert bool(library.extras) is (library.name not in core)
