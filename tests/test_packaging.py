"""What pyproject.toml says is what the folders hold, and what the constraints pin."""

import ast
import sys
import tomllib
from importlib.metadata import entry_points, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
FOLDERS = SETUPTOOLS["package-dir"]


def folder_of(package: str) -> Path:
    """The folder of a package, through the longest entry of package-dir."""
    known = max((name for name in FOLDERS if f"{package}.".startswith(f"{name}.")), key=len)
    return ROOT / FOLDERS[known] / package[len(known) :].strip(".").replace(".", "/")


def test_every_folder_with_code_is_a_package() -> None:
    listed = {folder_of(package) for package in SETUPTOOLS["packages"]}
    found = {
        path.parent
        for top in ("nnx", "backends", "benchmarks", "examples")
        for path in (ROOT / top).rglob("*.py")
    }
    assert listed == found


def test_the_package_is_typed_and_ships_its_kernels() -> None:
    assert (ROOT / "nnx" / "py.typed").exists()
    for package, patterns in SETUPTOOLS["package-data"].items():
        for pattern in patterns:
            if pattern != "*.cuh":
                assert list(folder_of(package).glob(pattern)), (package, pattern)


@pytest.mark.parametrize("top", ["nnx", "backends"])
def test_what_is_imported_at_the_top_is_a_core_dependency(top: str) -> None:
    """Modules that import nnx imports must need no extra."""
    core = {Requirement(text).name.replace("-", "_") for text in PROJECT["dependencies"]}
    for path in (ROOT / top).rglob("*.py"):
        compiled = path.parent.name == "engine" and path.stem not in ("__init__", "blas")
        estimators = "neural_network" in path.parts or path.parts[-2:] == ("accel", "estimators.py")
        if "cli" in path.parts or path.parts[-2:] == ("cuda", "backend.py"):
            continue
        if compiled or estimators:
            continue  # these are imported on use
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                package = name.partition(".")[0]
                assert package in {*core, "nnx"} or package in sys.stdlib_module_names, path


@pytest.mark.parametrize("top", ["nnx", "backends"])
def test_dependencies_point_one_way(top: str) -> None:
    """benchmarks -> nnx -> backends; the command line alone looks at benchmarks and examples."""
    allowed = {"backends": ("nnx.backends",), "nnx": ("nnx",)}[top]
    for path in (ROOT / top).rglob("*.py"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nnx"):
                module = node.module or ""
                assert module.startswith(allowed), (path, module)
                assert not module.startswith(("nnx.benchmarks", "nnx.examples")), (path, module)


def test_the_constraints_pin_everything_within_the_bounds() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {
        name.lower().replace("_", "-"): Version(version)
        for name, _, version in (line.partition("==") for line in lines if "==" in line)
    }
    needed = [Requirement(text) for text in requires("nnx-learn") or ()]
    core = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": "dev"})]
    assert len(core) > 10
    for requirement in core:
        if requirement.name != "nnx-learn":
            assert requirement.specifier.contains(pins[requirement.name.lower()]), requirement


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="nnx")
    assert command.value == PROJECT["scripts"]["nnx"]
