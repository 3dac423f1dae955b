"""What `import nnx` brings along, and what the package shows."""

import subprocess
import sys

import nnx

HEAVY = ("cupy", "scipy", "sklearn", "matplotlib", "pandas", "tqdm", "click", "rich", "torch")


def test_import_is_light() -> None:
    code = f"import sys, nnx; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_everything_that_is_shown_exists() -> None:
    for name in nnx.__all__:
        assert getattr(nnx, name).__doc__, name


def test_the_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert nnx.__version__ == version("nnx-learn")
