"""Calibration, warming up and alternation, on a clock of our own."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nnx.backends import Timer
from nnx.backends.cpu import CpuBackend
from nnx.benchmarks import timing
from nnx.benchmarks.timing import Local, Sampling, alternate, calibrate, timed, warm_up


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
        {
            "a": Local(clock, lambda: call("a", 1.0)),
            "b": Local(clock, lambda: call("b", 2.0)),
        },
        Sampling(samples=3, sample_seconds=0.5, limit_seconds=1000),
    )
    assert order[-6:] == ["a", "b"] * 3
    assert found["a"].samples == (1.0, 1.0, 1.0)
    assert found["b"].median == 2.0
    assert found["a"].repeats == 1


def test_time_that_is_used_up_leaves_five_samples(clock: Clock) -> None:
    sampling = Sampling(samples=20, sample_seconds=0.1, limit_seconds=1.0)
    found = alternate({"slow": Local(clock, lambda: clock.work(10.0))}, sampling)
    assert len(found["slow"].samples) == timing.MINIMUM_SAMPLES


def test_fewer_samples_than_five_can_be_asked_for(clock: Clock) -> None:
    sampling = Sampling(samples=2, sample_seconds=0.1, limit_seconds=1.0)
    assert (
        len(alternate({"slow": Local(clock, lambda: clock.work(10.0))}, sampling)["slow"].samples)
        == 2
    )


def test_the_slow_calls_at_the_head_of_a_sample_do_not_count(clock: Clock) -> None:
    """As on a processor whose threads have gone to sleep while the others were measured."""
    awake = [0]

    def call() -> None:
        clock.work(1e-4 if awake[0] >= 5 else 2e-3)
        awake[0] += 1

    contender = Local(clock, call)
    for _ in range(3):
        awake[0] = 0
        assert contender.seconds(20, 0.02) == pytest.approx(1e-4)


@pytest.mark.parametrize(
    ("seconds", "calls"),
    [
        ((5.0, *[1.0] * 5, 1.05, 1.0), 7),
        ((3.0, 2.0, 1.5, 1.2, *[1.0] * 7), 10),
        ((*[2.0] * 5, *[1.0] * 7), 11),
        ((*[1.0] * 5, 1.2, *[1.0] * 7), 12),
    ],
)
def test_warming_up_ends_once_a_call_takes_as_long_as_the_fastest(
    clock: Clock, seconds: tuple[float, ...], calls: int
) -> None:
    left = list(seconds)
    warm_up(clock, lambda: clock.work(left.pop(0)), 1000.0)
    assert len(seconds) - len(left) == calls


def test_warming_up_ends_when_its_time_is_over(clock: Clock) -> None:
    done: list[float] = []

    def slower_and_slower() -> None:
        done.append(0.001 * 1.5 ** len(done))
        clock.work(done[-1])

    warm_up(clock, slower_and_slower, 0.02)
    assert sum(done[:-1]) < 0.02 <= sum(done)


def test_a_call_that_fills_a_sample_alone_is_not_made_for_nothing(clock: Clock) -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        clock.work(1.0)

    alternate({"slow": Local(clock, call)}, Sampling(3, 0.01, 1000.0))
    assert len(calls) == 2 + 3  # calibration, samples
