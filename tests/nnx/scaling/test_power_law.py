"""fit_power_law: what it finds, what it says where there is nothing, what it refuses."""

import json
import math
from typing import Any

import numpy as np
import pytest

from nnx.errors import DataError, ShapeError
from nnx.scaling import PowerLaw, fit_power_law

M = 2.0 ** np.arange(7, 18)
THREE = np.repeat(M, 3)


def noisy(error: Any, scatter: float, seed: int = 0) -> Any:
    return error * np.exp(scatter * np.random.default_rng(seed).standard_normal(len(error)))


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma"), [(2.0, -0.5, 0.01), (13.0, -0.066, 0.0), (30.5, -0.291, 0.5)]
)
def test_a_curve_without_noise_gives_its_parameters(
    alpha: float, beta: float, gamma: float
) -> None:
    law = fit_power_law(M, alpha * M**beta + gamma)
    np.testing.assert_allclose((law.alpha, law.beta), (alpha, beta), rtol=1e-6)
    np.testing.assert_allclose(law.gamma, gamma, rtol=1e-6)
    assert law.region == (M[0], M[-2])
    assert law.held_out is not None
    assert law.held_out.m == M[-1]
    assert abs(law.held_out.relative_error) < 1e-9
    assert law.m_for(law.predict(5e4)) == pytest.approx(5e4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beta", "gamma", "repeats", "scatter"), [(-0.5, 0.05, 1, 0.05), (-0.5, 0.0, 3, 0.1)]
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    beta: float, gamma: float, repeats: int, scatter: float
) -> None:
    m = np.repeat(M, repeats)
    truth = {"alpha": 2.0, "beta": beta, "gamma": gamma}
    covered = dict.fromkeys(truth, 0)
    draws = 200
    for seed in range(5000, 5000 + draws):  # none of them was seen while the method was built
        law = fit_power_law(m, noisy(2.0 * m**beta + gamma, scatter, seed), bootstrap=200)
        for name, value in truth.items():
            low, high = law.intervals[name]
            covered[name] += low <= value <= high
    for name, count in covered.items():
        # A floor of 0 is the end of all it can be: there an interval has one side only to miss.
        most = 1.0 if truth[name] == 0 else 0.99
        assert 0.90 <= count / draws <= most, (name, count / draws)


def test_a_floor_that_gains_nothing_is_zero() -> None:
    """A curve without a floor is met as well with γ = 1e-9 as with 0: the tie goes to 0."""
    assert fit_power_law(M, 3 * M**-0.25).gamma == 0.0
    # Bent downwards, every γ above 0 fits worse.
    law = fit_power_law(M, 3 * M**-0.25 * np.exp(-0.002 * np.log(M) ** 2))
    assert law.gamma == 0.0
    assert law.intervals["gamma"][0] == 0.0


def test_an_outlier_hardly_moves_the_law() -> None:
    error = noisy(2.0 * THREE**-0.5 + 0.01, 0.02)
    clean = fit_power_law(THREE, error, bootstrap=0)
    error[10] *= 3
    law = fit_power_law(THREE, error, bootstrap=0)
    assert law.beta == pytest.approx(clean.beta, abs=0.01)
    squares = fit_power_law(THREE, error, bootstrap=0, delta=1e3)
    assert abs(squares.beta - clean.beta) > 0.01


def test_errors_near_guessing_are_left_out() -> None:
    """Small-data region, as Hestness et al. draw it: 0.9 up to where 20 m^-1/2 falls below."""
    error = noisy(np.minimum(0.9, 20 * THREE**-0.5), 0.03)
    law = fit_power_law(THREE, error)
    assert law.region == (512, M[-2])
    assert law.beta == pytest.approx(-0.5, abs=0.05)


def test_weights_count_as_repeated_points() -> None:
    m = M[:4]  # too few to leave any out
    error = noisy(2.0 * m**-0.5 + 0.01, 0.05)
    weights = np.array([3, 1, 2, 1])
    options: dict[str, Any] = {"bootstrap": 0, "delta": 0.01, "hold_out": 0}
    once = fit_power_law(m, error, weights=weights, **options)
    often = fit_power_law(np.repeat(m, weights), np.repeat(error, weights), **options)
    np.testing.assert_allclose(once.predict(m), often.predict(m), rtol=1e-6)
    assert once.predict(m[0]) != fit_power_law(m, error, **options).predict(m[0])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (noisy(0.3 + 0 * THREE, 0.05, 1), "no decrease"),
        (0.1 * THREE**0.1, "no decrease"),
        (noisy(0.2 + 1000 * THREE**-2, 0.05), "already at its floor"),
        (noisy(THREE**-0.005, 0.1), "no decrease"),
        (np.exp(-THREE / 2e4), "no power-law region"),
    ],
)
def test_what_is_no_power_law_says_so(error: Any, reason: str) -> None:
    law = fit_power_law(THREE, error)
    assert not law.is_power_law
    assert law.reason.startswith(reason)
    assert all(math.isnan(value) for value in (law.alpha, law.beta, law.gamma))
    for use in (law.predict, law.m_for, law.interval):
        with pytest.raises(DataError, match=f"no power law to predict from: {reason}"):
            use(100.0)


def test_too_few_points() -> None:
    law = fit_power_law(M[:4], 2 * M[:4] ** -0.5)
    assert law.reason == "too few points: 3 different m to fit to, at least 4 are needed"
    with pytest.raises(DataError, match="at least 3 different numbers of examples, 1 of them held"):
        fit_power_law([100, 100, 200], [0.3, 0.3, 0.2])


def test_below_the_floor_no_m_suffices() -> None:
    law = fit_power_law(M, 2 * M**-0.5 + 0.01)
    assert law.m_for(0.009) == math.inf
    with pytest.raises(DataError, match="error: wanted a finite number above 0"):
        law.m_for(-1)


def test_the_same_seed_gives_the_same_law() -> None:
    error = noisy(2.0 * M**-0.5 + 0.01, 0.05)
    assert fit_power_law(M, error) == fit_power_law(M, error)
    assert fit_power_law(M, error) != fit_power_law(M, error, seed=1)


def test_the_interval_holds_the_law() -> None:
    law = fit_power_law(THREE, noisy(2.0 * THREE**-0.5 + 0.01, 0.05))
    low, high = law.interval(M)
    assert ((low < law.predict(M)) & (law.predict(M) < high)).all()
    bare = fit_power_law(THREE, noisy(2.0 * THREE**-0.5 + 0.01, 0.05), bootstrap=0)
    assert np.isnan(bare.interval(M)).all()
    assert np.isnan(bare.intervals["beta"]).all()


@pytest.mark.parametrize("error", [2 * M**-0.5 + 0.01, 0.3 + 0 * M])
def test_json_gives_the_law_back(error: Any) -> None:
    law = fit_power_law(M, noisy(error, 0.02))
    text = json.dumps(law.to_json(), allow_nan=False)
    back = PowerLaw.from_json(json.loads(text))
    assert json.dumps(back.to_json()) == text
    if law.is_power_law:
        assert back == law
        np.testing.assert_array_equal(back.draws, law.draws)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("beta", None, "beta is missing"),
        ("beta", "steep", "beta: wanted a number or null, got 'steep'"),
        ("is_power_law", 1, "is_power_law: wanted bool"),
        ("intervals", {"alpha": [1, 2]}, "intervals.beta: wanted two numbers"),
        ("region", [1], "region: wanted two numbers"),
        ("held_out", {"m": 1}, "held_out.measured is missing"),
        ("draws", [[1, 2]], "draws: wanted lists of 3 numbers"),
    ],
)
def test_foreign_json_is_refused(field: str, value: Any, match: str) -> None:
    plain = fit_power_law(M, 2 * M**-0.5 + 0.01, bootstrap=0).to_json()
    if value is None:
        del plain[field]
    else:
        plain[field] = value
    with pytest.raises(DataError, match=f"PowerLaw: {match}"):
        PowerLaw.from_json(plain)


@pytest.mark.parametrize(
    ("m", "error", "options", "kind", "match"),
    [
        (M, M[:-1], {}, ShapeError, "error: wanted as many numbers as m has, 11; got 10"),
        (M, [[1.0]], {}, ShapeError, r"error: wanted one list of numbers \(k,\), got shape"),
        (M, [0.1] * 10 + [np.nan], {}, DataError, "error: .* above 0; number 10 is nan"),
        (M, [0.1] * 10 + [0.0], {}, DataError, "error: .* above 0; number 10 is 0"),
        ([-1.0] * 11, M, {}, DataError, r"m: .* number 0 is -1 \(and 10 more are not\)"),
        ("many", M, {}, DataError, "m: wanted numbers"),
        (M, M, {"weights": [1.0]}, ShapeError, "weights: wanted as many numbers"),
        (M, M, {"hold_out": -1}, DataError, "hold_out: wanted a whole number from 0 on"),
        (M, M, {"hold_out": 10}, DataError, "at least 12 different"),
        (M, M, {"bootstrap": 5}, DataError, "bootstrap: wanted 0 or at least 20"),
        (M, M, {"confidence": 95}, DataError, "confidence: wanted a number between 0 and 1"),
        (M, M, {"delta": 0}, DataError, "delta: wanted a number above 0"),
        (M, M, {"seed": 0.5}, DataError, "seed: wanted a whole number"),
        ([], [], {}, DataError, "wanted at least 3 different"),
    ],
)
def test_bad_input_is_refused(
    m: Any, error: Any, options: dict[str, Any], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match):
        fit_power_law(m, error, **options)
