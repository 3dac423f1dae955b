"""The three calls and their parts; what tells most comes first, what may be dropped last."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

Tests = dict[str, tuple[str, ...]]
_SUITE = "tests/accel/test_scikit_learn_suite.py"
# Tests of what runs on the GPU itself, in processes that run side by side: most of their time goes
# into Python and compilers, on one core each.
_GROUND: Tests = {
    "steps": ("tests/nnx/test_graph_step.py",),
    "products": ("tests/backends/cuda/test_products.py",),
    "primitives": ("tests/backends/cuda", "--ignore=tests/backends/cuda/test_products.py"),
    "estimators": ("tests/neural_network/test_gpu.py", "tests/benchmarks/test_probe.py"),
}
_REST: Tests = {
    "backends": ("tests/backends", "--ignore=tests/backends/cuda"),
    "network": ("tests/nnx", "--ignore=tests/nnx/test_graph_step.py"),
    "others": (
        "tests", "--ignore=tests/backends", "--ignore=tests/nnx", f"--ignore={_SUITE}",
        "--ignore=tests/neural_network/test_gpu.py", "--ignore=tests/benchmarks/test_probe.py",
    ),
}  # fmt: skip
# Kernels used in all ways, and few enough for a tool that makes each 10 to 100 times slower.
_SANITIZED: Tests = {
    "primitives": ("tests/backends/cuda/test_primitives.py", "-k", "threads_that_loop"),
    "steps": ("tests/nnx/test_graph_step.py", "-k", "float32 or gradients"),
}


@dataclass(frozen=True)
class Part:
    """One part of a call.

    Attributes
    ----------
    name : str
    seconds : float
        After which it is ended.
    tests : dict of str to tuple of str
        Arguments of pytest, for each process; those marked `gpu` run.
    command : tuple of str
        Instead of tests: arguments of Python. "{out}" stands for the folder of the evidence,
        "{work}" for one whose files go into the archive, "{left}" for the seconds that measuring
        may take.
    cases : callable () -> int
        How many cases the command has.
    tool : str
        Of compute-sanitizer, under which the tests run.
    needed : bool
        Whether the call ends where this part fails.
    again : bool
        Whether tests that failed in earlier calls run again.
    keeps : dict of str to str
        Records and pictures below "{work}" and their names in the folder of the evidence.
    """

    name: str
    seconds: float
    tests: Tests | None = None
    command: tuple[str, ...] = ()
    cases: Callable[[], int] = lambda: 1
    tool: str = ""
    needed: bool = False
    again: bool = False
    keeps: Mapping[str, str] = field(default_factory=dict)


def _count(module: str, **arguments: object) -> Callable[[], int]:
    """The number of cases that a benchmark says it has; it is imported when it is asked."""
    return lambda: int(importlib.import_module(module).count(**arguments))


def _peers(precisions: Sequence[str], m: Sequence[int], hidden: Sequence[int]) -> int:
    return len(precisions) * len(m) * len(hidden)


def _scale() -> int:
    from nnx.benchmarks.scale import Settings

    full = Settings.full()
    return len(full.sizes) * (len(full.rates) + len(full.m) * len(full.seeds))


def _teacher_law() -> int:
    from nnx.benchmarks.teacher_law import Settings

    full = Settings.full()
    return len(full.d) * full.teachers * len(full.widths) * full.students


_PREFLIGHT = Part(
    "preflight", 15, command=("-m", "nnx.benchmarks.gpu.preflight", "--out", "{work}"), needed=True
)
_FIRST_FIT = ("-m", "nnx.benchmarks.gpu.first_fit", "--out", "{work}")
_M, _HIDDEN = (256, 4096), (512, 2048)

CHECK = (
    _PREFLIGHT,
    Part("first fit, cold", 15, command=(*_FIRST_FIT, "--name", "first-fit-cold")),
    Part("kernels", 20, command=("-m", "nnx.benchmarks.gpu.kernels"),
         cases=_count("nnx.benchmarks.gpu.kernels")),
    Part("first fit, warm", 10, command=(*_FIRST_FIT, "--name", "first-fit-warm")),
    Part("probe", 30,
         command=("-m", "nnx.benchmarks.probe", "--ask", "habits", "smallest", "products",
                  "--shape", "hidden", "--out", "{out}"),
         cases=_count("nnx.benchmarks.probe", ask=("habits", "smallest", "products"),
                      shapes=("hidden",))),
    Part("tests", 100, tests=_GROUND),
    Part("agreement", 25, command=("-m", "nnx.benchmarks.agreement", "--out", "{out}"),
         cases=_count("nnx.benchmarks.agreement")),
    Part("memcheck", 35, tests=_SANITIZED, tool="memcheck"),
    Part("racecheck", 35, tests=_SANITIZED, tool="racecheck"),
)  # fmt: skip

MEASURE = (
    replace(_PREFLIGHT, seconds=10),
    Part("tests", 60, tests=_REST, again=True),
    Part("steps", 65,
         command=("-m", "nnx.benchmarks.probe", "--ask", "steps", "--record", "steps.json",
                  "--out", "{out}"),
         cases=_count("nnx.benchmarks.probe", ask=("steps",))),
    Part("peers", 130,
         command=("-m", "nnx.cli", "peers", "--device", "cuda", "--no-fits", "--samples", "3",
                  "--m", ",".join(map(str, _M)), "--hidden", ",".join(map(str, _HIDDEN)),
                  "--limit", "{left}", "--out", "{out}"),
         cases=lambda: _peers(("float32", "tf32", "bfloat16"), _M, _HIDDEN)),
    Part("streaming", 60,
         command=("-m", "nnx.benchmarks.streaming", "--device", "cuda", "--hidden", "512",
                  "--precision", "float32", "bfloat16", "--samples", "3", "--limit", "{left}",
                  "--out", "{out}"),
         cases=_count("nnx.benchmarks.streaming", device="cuda", hidden=(512,),
                      precisions=("float32", "bfloat16"))),
    Part("estimators", 40,
         command=("-m", "nnx.benchmarks.estimators", "--device", "cuda", "--dtype", "float32",
                  "--rows", "100000", "--hidden", "512,512", "--solver", "adam", "--samples", "3",
                  "--limit", "{left}", "--out", "{out}/estimators.json"),
         cases=_count("nnx.benchmarks.estimators", rows=(100_000,), hidden=((512, 512),),
                      solvers=("adam",))),
)  # fmt: skip

MORE = (
    replace(_PREFLIGHT, seconds=10),
    Part("scikit-learn's suite", 90, tests={"suite": (_SUITE,)}),
    Part("estimators", 150,
         command=("-m", "nnx.benchmarks.estimators", "--device", "cuda", "--dtype", "float32",
                  "--samples", "3", "--limit", "{left}", "--out", "{out}/estimators-grid.json"),
         cases=_count("nnx.benchmarks.estimators")),
    Part("streaming", 90,
         command=("-m", "nnx.benchmarks.streaming", "--device", "cuda", "--m", "1000000",
                  "--samples", "3", "--limit", "{left}", "--out", "{work}/streaming"),
         cases=_count("nnx.benchmarks.streaming", device="cuda"),
         keeps={"streaming/streaming.json": "streaming-full.json"}),
    Part("bench", 60,
         command=("-m", "nnx.cli", "bench", "--quick", "--device", "cpu", "--device", "cuda",
                  "--out", "{work}/bench"),
         keeps={"bench/throughput.json": "throughput.json",
                "bench/throughput.png": "throughput.png"}),
    Part("scale", 80, command=("-m", "nnx.cli", "scale", "--full", "--device", "cuda",
                               "--out", "{work}/scale"), cases=_scale,
         keeps={"scale/scale.json": "scale.json"}),
    Part("teacher law", 60,
         command=("-m", "nnx.benchmarks.teacher_law", "--full", "--device", "cuda",
                  "--out", "{work}/teacher-law"),
         cases=_teacher_law, keeps={"teacher-law/teacher-law.json": "teacher-law.json"}),
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call: its parts, and the seconds that they may take in all."""

    name: str
    seconds: float
    parts: tuple[Part, ...]

    def within(self, seconds: float) -> Call:
        """The call in so many seconds, each part with its share."""
        share = seconds / self.seconds
        parts = tuple(replace(part, seconds=part.seconds * share) for part in self.parts)
        return Call(self.name, seconds, parts)


CALLS = {
    call.name: call
    for call in (Call("check", 300, CHECK), Call("measure", 390, MEASURE), Call("more", 540, MORE))
}
