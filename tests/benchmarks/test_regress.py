"""Which shares fell, which only seem to have, and which records cannot be compared."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from nnx.benchmarks import Cell, Record, Timing
from nnx.benchmarks.cell import LIMITS, NETWORK
from nnx.benchmarks.regress import Change, changes, check_amount, confirmed, differences
from nnx.errors import DataError


def change(make_cell: Callable[..., Cell], share: float, spread: float = 0.0) -> Change:
    """A share of 1 that becomes `share`; quartiles so far from the median, as a part of it."""

    def timing(seconds: float) -> Timing:
        return Timing(1, tuple(seconds * (1 + spread * k) for k in (-1, -1, 0, 1, 1)))

    def cell(seconds: float) -> Cell:
        limits = dict.fromkeys(LIMITS.values(), timing(1.0))
        return make_cell(timings={NETWORK: timing(seconds), **limits})

    return Change(cell(1.0), cell(1 / share))


@pytest.mark.parametrize(
    ("share", "spread", "fell"),
    [
        (0.8, 0.0, True),
        (0.8, 0.001, True),
        (0.8, 0.2, False),  # within what such samples may vary
        (0.91, 0.0, False),  # less than a tenth
        (0.89, 0.0, True),
        (1.5, 0.0, False),
    ],
)
def test_a_share_fell_when_it_did_so_beyond_the_amount_and_the_noise(
    make_cell: Callable[..., Cell], share: float, spread: float, fell: bool
) -> None:
    found = change(make_cell, share, spread)
    assert found.fall == pytest.approx(1 - share)
    assert found.fell(0.1) is fell


def test_the_noise_is_the_spread_of_the_medians() -> None:
    """The stated statistic against the standard deviation of ln(share) over many draws."""
    rng, cells = np.random.default_rng(0), []
    for _ in range(2000):
        samples = rng.normal(1.0, 0.01, (2, 9))
        timings = {
            NETWORK: Timing(1, tuple(samples[0])),
            LIMITS["network"]: Timing(1, tuple(samples[1])),
        }
        cells.append(Cell("cpu", "float32", "step", 1, 1, 1, 1, 1, timings))
    pairs = [Change(a, b) for a, b in zip(cells[::2], cells[1::2], strict=True)]
    logs = [np.log(pair.after.share / pair.before.share) for pair in pairs]
    typical = float(np.sqrt(np.mean([pair.noise**2 for pair in pairs])))
    assert typical == pytest.approx(np.std(logs), rel=0.2)


def test_only_cells_that_both_measured_are_compared(
    make_record: Callable[..., Record], make_cell: Callable[..., Cell]
) -> None:
    record = make_record()
    first, *rest = record.cells
    skipped = make_cell(m=first.m, n_h=first.n_h, timings={}, reason="too large")
    closer = make_cell(m=first.m, n_h=first.n_h, part="widths")
    other = Record(record.settings, {}, (skipped, closer, *rest))
    assert [pair.after for pair in changes(record, other)] == rest


def test_a_fall_must_show_again(make_cell: Callable[..., Cell]) -> None:
    fell, kept = change(make_cell, 0.5), change(make_cell, 1.0)
    assert confirmed([fell], [fell.after], 0.1) == [fell]
    assert confirmed([fell], [kept.after], 0.1) == []
    gone = make_cell(timings={}, reason="out of memory")
    assert confirmed([fell], [gone], 0.1) == []


@pytest.mark.parametrize("amount", [0.0, 1.0, -0.1, float("nan")])
def test_an_amount_that_no_share_can_fall_by_is_refused(amount: float) -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        check_amount(amount)


def test_machines_differ_by_what_they_compute_with() -> None:
    here: dict[str, Any] = {
        "cpu": {"model": "a", "usable_cores": 2},
        "blas": {"name": "b", "kernels": "c", "threads": 2},
        "devices": {"cpu": {"name": "x86_64"}, "cuda:0": {"name": "H100"}},
        "date": "today",
    }
    assert differences(here, {**here, "date": "tomorrow"}) == []
    other = {**here, "cpu": {"model": "z", "usable_cores": 2}}
    assert differences(here, other) == ["processor: a then, z now"]
    gpu = {**here, "devices": {"cuda:0": {"name": "T4"}}}
    assert differences(here, gpu) == ["cuda:0: H100 then, T4 now"]
    # A device that was measured once alone is no difference.
    assert differences(here, {**here, "devices": {}}) == []
    assert differences({}, here)
