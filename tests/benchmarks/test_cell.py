"""Medians, quartiles, rates and shares of a cell."""

from collections.abc import Callable

import pytest

from nnx.benchmarks import Cell, Timing


def test_the_quartiles_and_the_median_are_of_the_samples() -> None:
    timing = Timing(3, (5.0, 1.0, 2.0, 4.0, 3.0))
    assert timing.quartiles == (2.0, 3.0, 4.0)
    assert timing.median == 3.0


def test_rates_follow_from_the_median(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell((2.0, 1.0, 1.5))
    assert cell.measured
    assert cell.examples_per_second == 50
    assert cell.gflop_per_second == 2
    assert cell.limit_examples_per_second == 100
    assert cell.share == 0.5


@pytest.mark.parametrize(
    ("network", "other", "order"), [(1.0, 1.5, "network"), (1.5, 1.0, "other")]
)
def test_the_limit_is_the_faster_memory_order(
    make_cell: Callable[..., Cell], network: float, other: float, order: str
) -> None:
    cell = make_cell((2.0, network, other))
    assert cell.limit_order == order
    assert cell.limit.median == 1.0


def test_the_json_holds_every_sample_and_the_derived_numbers(
    make_cell: Callable[..., Cell],
) -> None:
    plain = make_cell((2.0, 1.0, 1.5)).to_json()
    assert plain["status"] == "measured"
    assert plain["timings"]["nnx"] == {
        "repeats": 1,
        "seconds_per_call": [1.8, 2.0, 2.0, 2.0, 2.2],
        "median": 2.0,
        "quartiles": [2.0, 2.0],
    }
    assert plain["limit_order"] == "network"
    assert plain["share_of_limit"] == 0.5


def test_a_skipped_cell_says_why_and_has_no_numbers(make_cell: Callable[..., Cell]) -> None:
    cell = make_cell(timings={}, reason="too large")
    assert not cell.measured
    plain = cell.to_json()
    assert (plain["status"], plain["reason"]) == ("skipped", "too large")
    assert "timings" not in plain
    assert "share_of_limit" not in plain
