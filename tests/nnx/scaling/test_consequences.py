"""What follows from the laws."""

import math

import numpy as np
import pytest

from nnx.errors import DataError
from nnx.scaling import best_size, data_needed, fit_joint_law, fit_power_law, overtakes

M = 2.0 ** np.arange(7, 18)
SMALL = fit_power_law(M, 1 * M**-0.3 + 0.05)
LARGE = fit_power_law(M, 4 * M**-0.5 + 0.01)
NONE = fit_power_law(M, 0.3 + 0 * M)


def test_the_crossing_is_where_the_laws_meet() -> None:
    m = overtakes(SMALL, LARGE)
    assert m is not None
    assert SMALL.predict(m) == pytest.approx(LARGE.predict(m), rel=1e-9)
    assert LARGE.predict(m * 1.01) < SMALL.predict(m * 1.01)
    assert LARGE.predict(m / 1.01) > SMALL.predict(m / 1.01)


def test_ahead_all_the_way_or_never() -> None:
    better = fit_power_law(M, 0.5 * M**-0.3 + 0.02)
    assert overtakes(SMALL, better) == M[0]
    assert overtakes(better, SMALL) is None
    assert overtakes(LARGE, SMALL) is None


def test_data_needed_has_an_interval() -> None:
    noise = np.exp(0.03 * np.random.default_rng(0).standard_normal(len(M)))
    law = fit_power_law(M, (2 * M**-0.5 + 0.01) * noise)
    needed = data_needed(law, 0.02)
    assert law.predict(needed.m) == pytest.approx(0.02)
    assert needed.interval[0] < needed.m < needed.interval[1]
    assert data_needed(law, 1e-4).m == math.inf
    assert data_needed(law, 1e-4).interval[1] == math.inf


def test_the_best_size_is_that_of_the_closed_form() -> None:
    """N = G (C / 6)^(b / (a + b)), G = (a A / (b B))^(1 / (a + b)) (Hoffmann et al., eq. 4)."""
    m, n = (grid.ravel() for grid in np.meshgrid(M, [1e3, 1e4, 1e5]))
    law = fit_joint_law(m, n, 0.01 + 5 / n**0.5 + 3 / m**0.4, bootstrap=0)
    for flop in (1e9, 1e13):
        best = best_size(law, flop)
        G = (0.5 * 5 / (0.4 * 3)) ** (1 / 0.9)
        assert best.parameters == pytest.approx(G * (flop / 6) ** (0.4 / 0.9), rel=1e-4)
        assert best.m * 6 * best.parameters == pytest.approx(flop)
        assert best.error == law.predict(best.m, best.parameters)
    thrice = best_size(law, 3e9, lambda n: 18 * n)
    assert thrice.parameters == pytest.approx(best_size(law, 1e9).parameters)
    with pytest.raises(DataError, match="flop: wanted a finite number above 0"):
        best_size(law, -1)
    with pytest.raises(DataError, match="flop_per_example"):
        best_size(law, 1e9, lambda n: 0)


def test_nothing_follows_from_no_law() -> None:
    for use in (lambda: overtakes(SMALL, NONE), lambda: data_needed(NONE, 0.1)):
        with pytest.raises(DataError, match="no power law to predict from: no decrease"):
            use()
