"""How tests run on a GPU: few examples and no shrinking, a time limit each, and no memory pool."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = Path(__file__).parent
SLEEPING = """
import atexit
import signal
import threading

import conftest
import pytest
from hypothesis import given
from hypothesis import strategies as st

numbers, finalized = [], []
atexit.register(lambda: print("LEFT", signal.getitimer(signal.ITIMER_REAL)))


def sleep():
    threading.Event().wait(20)


@given(st.integers())
def test_loads_hypothesis(number):
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 30


def test_lowers_the_limit():
    conftest.TEST_SECONDS = 0.3


def test_sleeps():
    try:
        sleep()
    except Exception:
        sleep()


def test_follows():
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 0.3


@given(st.integers())
def test_sleeps_while_it_draws(number):
    numbers.append(number)
    if len(numbers) == 3:
        sleep()


def test_no_example_came_after_the_one_that_slept():
    assert len(numbers) == 3


@pytest.fixture
def sleeper():
    sleep()


def test_sleeps_in_a_fixture(sleeper):
    pass


def test_sleeps_in_a_finalizer(request):
    request.addfinalizer(lambda: finalized.append(1))
    request.addfinalizer(sleep)


def test_the_other_finalizer_ran():
    assert finalized
"""
EXAMPLES = """
from drawn import drawn
from hypothesis import given, settings
from hypothesis import strategies as st

counts = {"default": 0, "many": 0, "few": 0, "failing": 0}


@given(st.integers())
def test_default(number):
    counts["default"] += 1


@drawn(150)
@given(st.integers())
def test_many(number):
    counts["many"] += 1


@given(st.integers())
@drawn(7)
def test_few(number):
    counts["few"] += 1


@drawn(150)
@given(st.integers(min_value=0))
def test_failing(number):
    counts["failing"] += 1
    assert counts["failing"] < 3


def test_the_counts():
    print("COUNTS", counts)
"""
FAKE_CUPY = """
import sys
import types

import pytest

allocators = []
cupy = types.ModuleType("cupy")
cupy.cuda = types.SimpleNamespace(set_allocator=allocators.append)
sys.modules["cupy"] = WHAT


@pytest.mark.gpu
@pytest.mark.parametrize("number", [1, 2])
def test_allocators(number):
    print("ALLOCATORS", [*allocators])
"""


@pytest.fixture
def run(tmp_path):
    """Run a file of tests with this project's conftest; return (outcome by test, what it said)."""

    def run(text, **variables):
        (tmp_path / "test_it.py").write_text(text)
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
        names = ("NNX_REQUIRE_GPU", "NNX_SANITIZER")
        environment = {k: v for k, v in os.environ.items() if k not in names} | variables
        environment["PYTHONPATH"] = os.pathsep.join(map(str, (TESTS, TESTS / "support")))
        options = ("-p", "conftest", "-p", "no:cacheprovider", "-rA", "--junitxml=it.xml")
        done = subprocess.run(
            (sys.executable, "-m", "pytest", *options), cwd=tmp_path, env=environment,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert (tmp_path / "it.xml").exists(), said
        cases = ElementTree.parse(tmp_path / "it.xml").iter("testcase")
        return {case.get("name"): [child.tag for child in case] for case in cases}, said

    return run


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timer")
def test_a_test_that_takes_too_long_fails_and_the_next_one_runs(run):
    found, said = run(SLEEPING, NNX_REQUIRE_GPU="1")
    assert {name for name, tags in found.items() if tags and tags[0] != "system-out"} == {
        "test_sleeps", "test_sleeps_while_it_draws", "test_sleeps_in_a_fixture",
        "test_sleeps_in_a_finalizer",
    }, said  # fmt: skip
    assert len(found) == 9
    assert "longer than 0.3 s: no test of a GPU run may take more" in said
    assert "LEFT (0.0, 0.0)" in said


def test_a_gpu_run_draws_few_examples_and_shrinks_none(run):
    found, said = run(EXAMPLES, NNX_REQUIRE_GPU="1")
    assert found["test_failing"] == ["failure"]
    # Two that are good, the one that fails, and once more as it is reported.
    assert "COUNTS {'default': 25, 'many': 25, 'few': 7, 'failing': 4}" in said
    assert "@reproduce_failure" in said


def test_elsewhere_as_many_as_are_asked_for(run):
    _, said = run(EXAMPLES)
    assert "'default': 100, 'many': 150, 'few': 7" in said


@pytest.mark.parametrize(
    ("cupy", "variables", "allocators"),
    [
        ("cupy", {"NNX_SANITIZER": "1"}, "[None]"),  # once, and before the first test
        ("None", {"NNX_SANITIZER": "1"}, "[]"),  # cannot be imported
        ("cupy", {}, "[]"),
    ],
)
def test_compute_sanitizer_sees_each_array(run, cupy, variables, allocators):
    found, said = run(FAKE_CUPY.replace("WHAT", cupy), NNX_REQUIRE_GPU="1", **variables)
    assert len(found) == 2
    assert said.count(f"ALLOCATORS {allocators}\n") == 2
