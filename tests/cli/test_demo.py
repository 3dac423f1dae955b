"""`nnx demo`: the list, one demonstration, and its picture."""

import sys
from pathlib import Path
from typing import Any

import pytest

from nnx.cli import main
from nnx.examples import EXAMPLES, Numbers

Output = pytest.CaptureFixture[str]
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder, which takes the pictures."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Give numbers without work; the fixture is what was asked for."""
    calls: list[tuple[str, dict[str, Any]]] = []
    seconds = {"loop on cpu": {1: 0.5}, "vectorized on cpu": {1: 0.1}, "blocks on cpu": {1: 0.2}}

    def run(name: str, **options: Any) -> Numbers:
        calls.append((name, options))
        print("the numbers")
        return Numbers({"right": 1.0}, "loop", seconds)

    monkeypatch.setattr("nnx.cli.demo.run", run)
    return calls


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def test_without_a_name_every_demonstration_is_listed(capsys: Output) -> None:
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    for name, description in EXAMPLES.items():
        assert name in shown
        assert description.split()[0] in shown
    assert "nnx demo NAME" in shown


def test_a_demonstration_runs_by_its_name(asked: list[Any], tmp_path: Path, capsys: Output) -> None:
    assert main(["demo", "flower", "--device", "cpu", "--seed", "3", "--no-plot"]) == 0
    assert asked == [("flower", {"device": "cpu", "seed": 3})]
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("the numbers\n", "")
    assert not list(tmp_path.iterdir())


def test_a_demonstration_shows_its_numbers_and_leaves_its_picture(
    tmp_path: Path, capsys: Output
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["demo", "loop", "--device", "cpu"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert "m = 20000 examples" in first
    assert last == "picture: loop.png"
    assert (tmp_path / "loop.png").read_bytes().startswith(PNG)


def test_its_own_picture_is_replaced_and_another_file_kept(
    asked: list[Any], tmp_path: Path, capsys: Output
) -> None:
    pytest.importorskip("matplotlib")
    for _ in range(2):
        assert main(["demo", "flower", "--device", "cpu"]) == 0
    assert capsys.readouterr().out.splitlines()[1::2] == ["picture: flower.png"] * 2
    (tmp_path / "flower.png").write_bytes(b"a photograph")
    assert main(["demo", "flower", "--device", "cpu"]) == 0
    kept = "picture: flower-2.png (flower.png, which nnx did not make, is kept)\n"
    assert capsys.readouterr().out == "the numbers\n" + kept
    assert (tmp_path / "flower.png").read_bytes() == b"a photograph"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flower-2.png", "flower.png"]


def test_the_picture_goes_where_it_is_asked_to(
    asked: list[Any], tmp_path: Path, capsys: Output
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "new" / "mine.svg"
    for _ in range(2):  # a file that was named is replaced
        assert main(["demo", "flower", "--device", "cpu", "--plot", str(path)]) == 0
        assert capsys.readouterr().out == f"the numbers\npicture: {path}\n"
        assert b"<svg" in path.read_bytes()
        path.write_bytes(b"something else")


@pytest.mark.parametrize(
    ("options", "status", "says"),
    [
        (["flower", "--plot", "mine.doc"], 1, "mine.doc: the name of a picture ends in .png"),
        (["flower", "--plot", "a.png", "--no-plot"], 2, "cannot be used together"),
        (["--plot", "a.png"], 2, "--plot needs the NAME"),
        (["flower", "--plot", "file/a.png"], 1, "file/a.png: cannot be written"),
    ],
)
def test_a_picture_that_cannot_be_is_an_error(
    options: list[str], status: int, says: str, asked: list[Any], tmp_path: Path, capsys: Output
) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("no folder")
    assert main(["demo", *options, "--device", "cpu"]) == status
    assert says in capsys.readouterr().err
    # Only what a file system says comes after the work.
    assert len(asked) == ("written" in says)


def test_where_the_folder_takes_no_file_the_numbers_are_shown_all_the_same(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    pytest.importorskip("matplotlib")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("nnx.examples.pictures.write_whole", refuse)
    assert main(["demo", "flower", "--device", "cpu"]) == 0
    shown = "the numbers\nno picture: flower.png: cannot be written: Permission denied\n"
    assert capsys.readouterr().out == shown


def test_without_matplotlib_the_numbers_are_shown_and_the_way_to_a_picture(
    asked: list[Any], no_matplotlib: None, tmp_path: Path, capsys: Output
) -> None:
    assert main(["demo", "flower", "--device", "cpu"]) == 0
    numbers, line = capsys.readouterr().out.splitlines()
    assert numbers == "the numbers"
    assert line.startswith("no picture: ")
    assert line.endswith('pip install "nnx-learn[plot]"')
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_a_picture_that_was_asked_for_is_an_error(
    asked: list[Any], no_matplotlib: None, tmp_path: Path, capsys: Output
) -> None:
    assert main(["demo", "flower", "--device", "cpu", "--plot", "a.png"]) == 1
    assert not asked
    error = capsys.readouterr().err
    assert error == (
        'nnx: --plot needs matplotlib, which is not installed: pip install "nnx-learn[plot]"\n'
    )
    assert not list(tmp_path.iterdir())
