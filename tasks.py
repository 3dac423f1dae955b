#!/usr/bin/env python3
"""The project's jobs, each in an environment that it makes itself: `python3 tasks.py --help`."""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - an older Python may be handed this file all the same
    sys.exit(
        f"nnx needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}. "
        "Name another one: make test PYTHON=python3.12"
    )

from collections.abc import Callable, Mapping, Sequence

Step = tuple[str, Callable[[], int]]
ROOT = Path(__file__).resolve().parent
BUILD = ROOT / "build"
WHEEL_SITE = BUILD / "wheel-site"
VENV = ROOT / ".venv"
PYTHON = str(VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
PIP = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
EXTRAS = {"bench": "fast,plot,sklearn,cli,bench,scale,report", "dev": "dev"}
# The calls of the GPU run: the job's name, and what `python -m nnx.benchmarks.gpu` calls it and how
# many seconds it may take with all that is around it.
GPU_CALLS = {"gpu": ("check", 300), "gpu-measure": ("measure", 390), "gpu-more": ("more", 540)}
# What an offline GPU machine lacks beside CuPy, pytest and hypothesis.
GPU_WHEELS = (
    "nvmath-python", "cuda-core", "cuda-pathfinder", "array-api-compat", "array-api-strict",
)  # fmt: skip
MOST_WHEEL_BYTES = 15 << 20


def run(*command: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> int:
    """Show a command, run it with `env` added to the environment, and return its exit status.

    PYTHONSAFEPATH keeps the checkout off `sys.path`: ./nnx alone is not the package, since
    backends/ and benchmarks/ become part of it only when it is installed.
    """
    words = [str(word) for word in command]
    print("$", " ".join(words).replace(f"{ROOT}{os.sep}", ""), flush=True)
    env = {**os.environ, "PYTHONSAFEPATH": "1", **(env or {})}
    return subprocess.run(words, cwd=cwd, env=env).returncode


# -- the environment ------------------------------------------------------------------------------


def cuda_driver() -> ctypes.CDLL | None:
    """The NVIDIA driver's library, or None where there is no driver."""
    try:
        return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None


def cuda_extra() -> str:
    """Name of the extra with the CuPy that fits the driver, empty where there is no driver."""
    version, driver = ctypes.c_int(0), cuda_driver()
    if driver is None or driver.cuDriverGetVersion(ctypes.byref(version)):
        return ""
    return "cuda13" if version.value >= 13000 else "cuda12"


def make_venv() -> None:
    """Create .venv, through virtualenv where this Python came without venv or ensurepip."""
    print(f"making {VENV.name} with Python {sys.version.split()[0]}", flush=True)
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode == 0:
        return
    bootstrap = ROOT / ".venv-bootstrap"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--upgrade", "--target", bootstrap)
    virtualenv = (sys.executable, "-m", "virtualenv", "--clear", VENV)
    if run(*pip, "virtualenv") or run(*virtualenv, env={"PYTHONPATH": str(bootstrap)}):
        sys.exit(
            f"{made.stdout}{made.stderr}\nNo environment could be made with {sys.executable}: "
            "install its venv module (python3-venv on Debian and Ubuntu)."
        )


def setup(name: str) -> None:
    """Install the project, editable, with the extras called `name`, unless that is done already."""
    cuda = cuda_extra()

    def key(name: str) -> str:
        text = f"{ROOT} {sys.version_info[:2]} {EXTRAS[name]} {cuda}"
        files = ((ROOT / file).read_text() for file in ("pyproject.toml", "constraints.txt"))
        return hashlib.sha256("\n".join([text, *files]).encode()).hexdigest()

    def installed(name: str) -> bool:
        stamp = VENV / f".installed-{name}"
        return Path(PYTHON).exists() and stamp.exists() and stamp.read_text() == key(name)

    if installed(name) or installed("dev"):
        return
    if not can_run(
        PYTHON, f"import pip, sys; assert sys.version_info[:2] == {sys.version_info[:2]}"
    ):
        make_venv()
    pip = (*PIP, "--constraint", "constraints.txt")
    editable = (*pip, "--no-build-isolation", "--editable")
    # setuptools first: then the build needs no environment of its own, and is pinned like the rest.
    if status := run(*pip, "setuptools") or run(*editable, f".[{EXTRAS[name]}]"):
        sys.exit(status)
    if cuda and run(*editable, f".[{cuda}]"):
        print(
            "warning: CuPy could not be installed, so the GPU stays unused; to try again: "
            f".venv/bin/python -m pip install -e '.[{cuda}]'",
            file=sys.stderr,
        )
    (VENV / f".installed-{name}").write_text(key(name))


def can_run(python: str, code: str) -> bool:
    """Whether that interpreter exists and runs the code without an error."""
    try:
        return subprocess.run([python, "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


# -- jobs -----------------------------------------------------------------------------------------


def build_wheel() -> int:
    """Build the wheel and unpack it: what mypy and the doctests read is what users install."""
    # A left-over build/lib or *.egg-info would put deleted modules into the wheel.
    for stale in (BUILD, *ROOT.glob("*.egg-info")):
        shutil.rmtree(stale, ignore_errors=True)
    dist = BUILD / "dist"
    status = run(PYTHON, "-m", "build", "--wheel", "--no-isolation", "--outdir", dist, ROOT)
    unpack = (*PIP, "--no-index", "--no-deps", "--target", WHEEL_SITE)
    return status or run(*unpack, *dist.glob("*.whl"))


def type_check() -> int:
    """Type-check the installed package under its own names, and this file."""
    mypy = (PYTHON, "-m", "mypy", "--config-file", ROOT / "pyproject.toml")
    cache = ("--cache-dir", ROOT / ".mypy_cache")
    package = run(*mypy, *cache, "-p", "nnx", cwd=BUILD, env={"MYPYPATH": str(WHEEL_SITE)})
    return package or run(*mypy, *cache, "tasks.py")


def doctests() -> int:
    """Run the docstrings' examples, on the wheel: there every module has the name users import."""
    pytest = (PYTHON, "-m", "pytest", "--doctest-modules", "-o", "python_files=", "-q")
    site = WHEEL_SITE / "nnx"
    cuda = ("--ignore", site / "backends" / "cuda")  # imports CuPy, and holds no examples
    return run(*pytest, *cuda, site, env={"PYTHONPATH": str(WHEEL_SITE)})


LINT: tuple[Step, ...] = (
    ("ruff check", lambda: run(PYTHON, "-m", "ruff", "check", ".")),
    ("ruff format", lambda: run(PYTHON, "-m", "ruff", "format", "--check", ".")),
    ("wheel", build_wheel),
    ("mypy", type_check),
)
# The tests are last, so that pytest's closing line about them ends the log.
TEST: tuple[Step, ...] = (
    *LINT,
    ("doctests", doctests),
    ("tests", lambda: run(PYTHON, "-m", "pytest", "tests", "--cov", "--durations=5")),
)


def check(steps: Sequence[Step], keep_going: bool) -> int:
    """Run the steps in order, up to the first that fails unless told to keep going."""
    setup("dev")
    rows = []
    for name, step in steps:
        start = time.monotonic()
        rows.append((name, step(), time.monotonic() - start))
        if rows[-1][1] and not keep_going:
            break
    return summary(rows, [name for name, _ in steps[len(rows) :]])


def summary(rows: Sequence[tuple[str, int, float]], not_run: Sequence[str] = ()) -> int:
    """Print how each step ended; return 1 if one failed."""
    print()
    for name, status, seconds in rows:
        print(f"{'FAIL' if status else 'ok':5}{name:12}{seconds:7.1f} s")
    for name in not_run:
        print(f"{'-':5}{name:12}not run")
    return int(any(status for _, status, _ in rows))


def bench() -> int:
    """Measure on the CPU and on every GPU that can be used; the report goes to bench-out/."""
    setup("bench")
    code = "from nnx.backends import available_devices; print(*available_devices())"
    devices = subprocess.check_output([PYTHON, "-P", "-c", code], text=True).split()
    options = [word for device in devices for word in ("--device", device)]
    out, nnx = ROOT / "bench-out", (PYTHON, "-m", "nnx.cli")
    # What was measured is worth a page even where a part of it failed.
    measured = [
        run(*nnx, "bench", *options, "--out", out),
        run(*nnx, "scale", "--quick", "--out", out),
    ]
    return run(*nnx, "report", out) or max(measured)


def clean(everything: bool) -> int:
    """Remove what the jobs made; with `everything` the environment too."""
    names = ["build", "bench-out", ".coverage", "*.egg-info", ".benchmarks", ".hypothesis"]
    names += [".mypy_cache", ".pytest_cache", ".ruff_cache"]
    names += [".venv", ".venv-bootstrap"] if everything else []
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    found = [path for folder in folders for path in folder.rglob("__pycache__")]
    for path in [*found, *(path for name in names for path in ROOT.glob(name))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return 0


# -- the GPU run ----------------------------------------------------------------------------------


def gpu(job: str, out: Path | None, seconds: float | None) -> int:
    """Run a call of the GPU run, with what is installed and without a network."""
    begun, name = time.monotonic(), gpu_name()
    if name is None:
        print("No NVIDIA GPU can be used here (no driver, or no device): nothing was run.")
        return 2
    needed = "import cupy, pytest"
    python = next((p for p in (sys.executable, PYTHON) if can_run(p, needed)), None)
    if python is None:
        print(f"{sys.executable} has no CuPy or no pytest: nothing was run.")
        return 2
    site = install_offline(python)
    call, most = GPU_CALLS[job]
    results = ROOT / "benchmarks" / "results" / re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    left = (seconds or most) - (time.monotonic() - begun)
    command = (python, "-m", "nnx.benchmarks.gpu", call, "--seconds", f"{left:.0f}")
    folders = ("--out", out or results, "--earlier", results, "--work", BUILD / "gpu-run")
    return run(*command, *folders, env={"PYTHONPATH": str(site)})


def plan(job: str, seconds: float | None) -> int:
    """Print what a call of the GPU run would run; needs no GPU."""
    setup("dev")
    call, most = GPU_CALLS[job]
    length = ("--seconds", str(seconds or most))
    return run(PYTHON, "-m", "nnx.benchmarks.gpu", call, "--plan", *length)


def gpu_wheels(python: str) -> int:
    """Fetch into .whl/ what an offline GPU machine with this Python (x86-64 Linux) lacks."""
    folder = ROOT / ".whl"
    shutil.rmtree(folder, ignore_errors=True)
    text = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    versions = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)$", text, re.MULTILINE))
    # pip takes each name of the platform as it is; the C library of these is on every GPU machine.
    names = [f"manylinux_2_{n}_x86_64" for n in range(17, 35)] + ["manylinux2014_x86_64"]
    platforms = [word for name in names for word in ("--platform", name)]
    download = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    wanted = [f"{name}=={versions[name]}" for name in GPU_WHEELS]
    kind = ("--no-deps", "--only-binary=:all:", "--python-version", python, *platforms)
    if status := run(*download, *kind, "--dest", folder, *wanted):
        return status
    sizes = {path.name: path.stat().st_size for path in sorted(folder.glob("*.whl"))}
    for name, size in sizes.items():
        print(f"{size / 2**20:7.1f} MiB  {name}")
    print(f"{sum(sizes.values()) / 2**20:7.1f} MiB  in {folder.name}/, for Python {python}")
    if sum(sizes.values()) > MOST_WHEEL_BYTES:
        print(f"more than {MOST_WHEEL_BYTES >> 20} MiB: not every machine takes so much along")
        return 1
    return 0


def gpu_name() -> str | None:
    """Name of the first GPU, or None where no GPU can be used."""
    driver, device, name = cuda_driver(), ctypes.c_int(), ctypes.create_string_buffer(128)
    if driver is None or driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    return None if driver.cuDeviceGetName(name, len(name), device) else name.value.decode()


def install_offline(python: str) -> Path:
    """Install the project, and the wheels in .whl/, into a fresh folder without any index."""
    site = BUILD / "gpu-site"
    shutil.rmtree(BUILD, ignore_errors=True)
    pip = (python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", site)
    if run(*pip, "--no-build-isolation", ROOT):
        print("pip could not build the project; its folders are linked instead", flush=True)
        link_packages(site)
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    version = subprocess.check_output([python, "-c", code], text=True).strip()
    for wheel in sorted((ROOT / ".whl").glob("*.whl")):
        if fits(wheel.name, version):
            zipfile.ZipFile(wheel).extractall(site)
        else:
            print(f"{wheel.name} is for another Python: tasks.py gpu-wheels --python {version}")
    return site


def fits(wheel: str, version: str) -> bool:
    """Whether a wheel, by its name, is for a Python of this version (such as "3.12")."""
    pythons = wheel.split("-")[-3].split(".")
    return "py3" in pythons or f"cp{version.replace('.', '')}" in pythons


def link_packages(site: Path) -> None:
    """Lay the packages out as pyproject.toml's package-dir does, with links and metadata."""
    shutil.rmtree(site, ignore_errors=True)
    (site / "nnx").mkdir(parents=True)
    folders = [ROOT / name for name in ("backends", "benchmarks", "examples")]
    for path in (*(ROOT / "nnx").iterdir(), *folders):
        (site / "nnx" / path.name).symlink_to(path)
    found = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    version = found[1] if found else "0"
    info = site / f"nnx_learn-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nnx-learn\nVersion: {version}\n")


def main() -> int:
    """Parse the command line and run the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    jobs = parser.add_subparsers(dest="job", required=True, metavar="JOB")
    jobs.add_parser("setup", help="make .venv and install the project with all that tests need")
    jobs.add_parser("bench", help="measure this machine, and write bench-out/report.html")
    test = jobs.add_parser("test", help="style, types, doctests, and tests with coverage")
    lint = jobs.add_parser("lint", help="style and types only")
    for job in (test, lint):
        job.add_argument("--keep-going", action="store_true", help="run on after a failed step")
    about = {
        "gpu": "on a GPU machine, without a network: does it work? At most 300 s",
        "gpu-measure": "after it: how fast is it? At most 390 s",
        "gpu-more": "what takes longer: whole grids, full studies, as far as its time goes",
    }
    for name, text in about.items():
        job = jobs.add_parser(name, help=text)
        job.add_argument("--plan", action="store_true", help="only show the parts; needs no GPU")
        job.add_argument("--out", type=Path, help="for the evidence; else benchmarks/results/<gpu>")
        if name == "gpu-more":
            job.add_argument("--seconds", type=float, help="in all (540)")
    wheels = jobs.add_parser("gpu-wheels", help="fetch into .whl/ what such a machine lacks")
    wheels.add_argument("--python", default="3.12", help="the GPU machine's Python (3.12)")
    cleaning = jobs.add_parser("clean", help="remove what the jobs made, except .venv")
    cleaning.add_argument("--all", action="store_true", help="remove .venv too")
    options = parser.parse_args()
    if options.job == "setup":
        setup("dev")
        return 0
    if options.job == "clean":
        return clean(options.all)
    if options.job in ("test", "lint"):
        return check(TEST if options.job == "test" else LINT, options.keep_going)
    if options.job == "bench":
        return bench()
    if options.job == "gpu-wheels":
        return gpu_wheels(options.python)
    seconds = getattr(options, "seconds", None)
    if options.plan:
        return plan(options.job, seconds)
    return gpu(options.job, options.out, seconds)


if __name__ == "__main__":
    sys.exit(main())
