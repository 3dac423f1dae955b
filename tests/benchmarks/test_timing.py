"""Calibration and alternation, on a clock of our own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nnx.backends import Timer
from nnx.backends.cpu import CpuBackend
from nnx.benchmarks import timing
from nnx.benchmarks.timing import Sampling, alternate, calibrate, timed


class Clock(CpuBackend):
    """A device whose time passes only when `work` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def work(self, seconds: float) -> None:
        self.now += seconds

    @contextmanager
    def timer(self) -> Iterator[Timer]:
        result, start = Timer(), self.now
        yield result
        result.seconds = self.now - start


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock, which is also the host's."""
    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_a_sample_holds_the_asked_number_of_calls(clock: Clock) -> None:
    assert timed(clock, lambda: clock.work(0.5), 4) == 2.0


@pytest.mark.parametrize("seconds", [1e-6, 1e-4, 1e-3, 0.02])
def test_calibration_reaches_the_length_of_a_sample(clock: Clock, seconds: float) -> None:
    repeats = calibrate(clock, lambda: clock.work(seconds), 0.005)
    assert 0.005 <= repeats * seconds <= max(0.05, 1.3 * seconds)


def test_a_call_that_takes_no_time_does_not_calibrate_for_ever(clock: Clock) -> None:
    assert calibrate(clock, lambda: None, 0.005) == timing._MOST_REPEATS


def test_the_functions_take_turns(clock: Clock) -> None:
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        clock.work(seconds)

    found = alternate(
        clock,
        {"a": lambda: call("a", 1.0), "b": lambda: call("b", 2.0)},
        Sampling(samples=3, sample_seconds=0.5, limit_seconds=1000),
    )
    assert order[-6:] == ["a", "b"] * 3
    assert found["a"].samples == (1.0, 1.0, 1.0)
    assert found["b"].median == 2.0
    assert found["a"].repeats == 1


def test_time_that_is_used_up_leaves_five_samples(clock: Clock) -> None:
    sampling = Sampling(samples=20, sample_seconds=0.1, limit_seconds=1.0)
    found = alternate(clock, {"slow": lambda: clock.work(10.0)}, sampling)
    assert len(found["slow"].samples) == timing.MINIMUM_SAMPLES


def test_fewer_samples_than_five_can_be_asked_for(clock: Clock) -> None:
    sampling = Sampling(samples=2, sample_seconds=0.1, limit_seconds=1.0)
    assert len(alternate(clock, {"slow": lambda: clock.work(10.0)}, sampling)["slow"].samples) == 2
