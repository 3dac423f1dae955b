"""`nnx demo`: the list, and one demonstration."""

import pytest

from nnx.cli import main
from nnx.examples import EXAMPLES

Output = pytest.CaptureFixture[str]


def test_without_a_name_every_demonstration_is_listed(capsys: Output) -> None:
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    for name, description in EXAMPLES.items():
        assert name in shown
        assert description.split()[0] in shown
    assert "nnx demo NAME" in shown


def test_a_demonstration_runs_by_its_name(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    asked: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr("nnx.examples.run", lambda name, **options: asked.append((name, options)))
    assert main(["demo", "flower", "--device", "cpu", "--seed", "3"]) == 0
    assert asked == [("flower", {"device": "cpu", "seed": 3})]
    assert capsys.readouterr().err == ""


def test_the_flower_shows_its_numbers(capsys: Output) -> None:
    assert main(["demo", "flower", "--device", "cpu"]) == 0
    assert "logistic regression" in capsys.readouterr().out
