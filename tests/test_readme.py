"""The README's code runs as it stands, and what it points to exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)


def test_there_is_an_example_for_each_of_the_four_users() -> None:
    parts = re.split("^## For someone ", README, flags=re.MULTILINE)[1:]
    assert len(parts) == 4
    assert all(BLOCK.search(part) for part in parts)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_python_blocks_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNX_DEVICE", "cpu")
    exec(compile(BLOCKS[number], f"README block {number}", "exec"), {"__name__": "readme"})


def test_the_blocks_of_the_page_about_scikit_learn_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNX_DEVICE", "cpu")
    text = (ROOT / "docs" / "scikit-learn.md").read_text()
    names = {"__name__": "page"}
    for number, block in enumerate(BLOCK.findall(text)):
        exec(compile(block, f"docs/scikit-learn.md block {number}", "exec"), names)
    assert len(BLOCK.findall(text)) == 4


@pytest.mark.parametrize(
    "document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/scikit-learn.md"]
)
def test_links_lead_somewhere(document: str) -> None:
    text = re.sub(r"^```.*?^```", "", (ROOT / document).read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / document).parent / target).exists(), target


def test_the_extras_in_the_readme_are_those_of_the_project() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    paragraph = README.split("The extras:")[1].split("`nnx info`")[0]
    assert set(re.findall(r"`(\w+)`", paragraph)) - {"nnx"} == set(project["optional-dependencies"])


def test_the_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"\bmake (\w+)", README):
        assert re.search(rf"^{target}\b|^[\w ]*\b{target}\b.*:", makefile, re.MULTILINE), target
