"""ε(m) = α m^β + γ: the error of one contender over the number of examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnx.backends.errors import DataError
from nnx.scaling.fitting import (
    Fitted,
    Problem,
    akaike,
    choose_region,
    fit,
    intervals,
    least_floor,
    resample,
    without_floor,
)
from nnx.scaling.law import (
    HeldOut,
    check_predictable,
    from_plain,
    held_out_of,
    interval_of,
    kept,
    to_plain,
)
from nnx.scaling.points import FitOptions, hold_out_mask, positive

Array = Any
Interval = tuple[float, float]

_NAMES = ("alpha", "beta", "gamma")
_BETAS = (-0.05, -0.15, -0.35, -0.7, -1.5)
_FLOORS = (0.0, 0.3, 0.7, 0.95)  # shares of the least error
_LEAST_POINTS = 4  # different m: one more than parameters
_LEAST_FALLING = 3  # different m at which the error is visibly above its floor
_VISIBLE = 0.01  # share of the floor
_BENT, _DECISIVE = 0.05, 10.0  # scatter, and gain in Akaike's criterion, of a curve that is no line


@dataclass(frozen=True)
class PowerLaw:
    """ε(m) = α m^β + γ, as `fit_power_law` found it, or the reason why it found none.

    Attributes
    ----------
    alpha, beta, gamma : float
        β < 0, γ >= 0; NaN where there is no power law.
    intervals : dict
        {"alpha": (low, high), "beta": ..., "gamma": ...} at the level `confidence`.
    confidence : float
    region : (float, float) or None
        The least and the largest m that the law was fitted to. Smaller m, where the error is still
        near that of guessing, are left out; held out ones too.
    held_out : HeldOut or None
        The largest m, which the fit has not seen: what was measured there (the geometric mean) and
        what the law predicts.
    noise : float
        Scatter of log ε about the law.
    is_power_law : bool
    reason : str
        Why there is no power law; empty where there is one.
    draws : array (draws, 3)
        α, β, γ of the resampled curves (at most 200 of them), for intervals of what follows.
    """

    alpha: float
    beta: float
    gamma: float
    intervals: Mapping[str, Interval]
    confidence: float
    region: Interval | None
    held_out: HeldOut | None
    noise: float
    is_power_law: bool
    reason: str
    draws: Array = field(repr=False, compare=False)

    def predict(self, m: Any) -> Any:
        """Return the error that the law predicts at m, a number or an array of them.

        Raises
        ------
        DataError
            Where there is no power law; it says why.
        """
        check_predictable(self)
        m = np.asarray(m, np.float64)
        predicted = self.alpha * m**self.beta + self.gamma
        return predicted if predicted.ndim else float(predicted)

    def interval(self, m: Any) -> tuple[Any, Any]:
        """Return the interval of the law at m: of the law, not of a single measurement there."""
        check_predictable(self)
        m = np.asarray(m, np.float64)
        alpha, beta, gamma = self.draws.T.reshape((3, -1) + (1,) * m.ndim)
        return interval_of(alpha * m**beta + gamma, self.confidence)

    def m_for(self, error: float) -> float:
        """Return the number of examples at which the law reaches an error; inf where never."""
        check_predictable(self)
        if not np.isfinite(error) or error <= 0:
            raise DataError(f"error: wanted a finite number above 0, got {error!r}")
        return float(m_for(error, self.alpha, self.beta, self.gamma))

    def to_json(self) -> dict[str, Any]:
        """Return the law as plain JSON values; what is not a finite number is None."""
        return to_plain(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PowerLaw:
        """Return the law that `to_json` wrote.

        Raises
        ------
        DataError
            Where a field is missing or is none of a law's; it names the field.
        """
        return from_plain(cls, plain, _NAMES)


def m_for(error: float, alpha: Any, beta: Any, gamma: Any) -> Array:
    """m at which α m^β + γ = error; inf where γ is not below it."""
    alpha, beta, gamma = map(np.asarray, (alpha, beta, gamma))
    reached = (error > gamma) & (beta < 0)
    with np.errstate(over="ignore"):
        share = np.where(reached, error - gamma, 1.0) / alpha
        return np.where(reached, share ** (1 / np.where(reached, beta, -1.0)), np.inf)


def fit_power_law(
    m: Any,
    error: Any,
    *,
    weights: Any = None,
    hold_out: int = 1,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    delta: float | None = None,
) -> PowerLaw:
    """Fit ε(m) = α m^β + γ, with α > 0, β < 0 and γ >= 0, to measured errors.

    The loss is Σ w Huber_delta(log ε̂ - log ε), summed over the points and minimised from many
    starts until nothing is gained. A γ that does not lower the loss is 0. The least m are left out
    as long as the rest follows a power law clearly better (Akaike's criterion for few points).

    Parameters
    ----------
    m : array (k,)
        Numbers of examples; several measurements at one m, such as those of several seeds, stand as
        several points.
    error : array (k,)
        Error rates, losses: anything above 0 of which less is better.
    weights : array (k,), optional
        How much each point counts; by default all the same. Residuals of all points are drawn from
        one pool, so intervals suppose that log ε scatters alike everywhere: where it does not (rare
        errors scatter more), they are too narrow without weights of 1 / variance.
    hold_out : int
        How many of the largest different m are kept from the fit, to measure its extrapolation.
    bootstrap : int
        Resampled curves for the intervals; 0 for none. Residuals of the fit, corrected for the
        parameters that were fitted to them, are drawn with a scale of the width that so few points
        leave open (Student's), so that intervals cover at small k too.
    confidence : float
        Level of the intervals.
    seed : int
        Of the resampling; equal input and seed give equal numbers.
    delta : float, optional
        Where the loss turns from squares to absolute values. By default twice the scatter of the
        residuals, which is as good as squares where noise is normal; 1e-3 is Hoffmann et al.'s,
        nearly the sum of absolute values.

    Returns
    -------
    PowerLaw
        With `is_power_law` False and a `reason`, instead of numbers, where there are too few m, the
        error does not decrease, or it is at its floor already.

    Raises
    ------
    DataError, ShapeError
        Lengths that differ, NaN, infinity, numbers not above 0, or fewer than two different m left
        after `hold_out`.

    Examples
    --------
    >>> import numpy as np
    >>> from nnx import scaling
    >>> m = np.array([128, 256, 512, 1024, 2048, 4096, 8192, 16384])
    >>> noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(8))
    >>> law = scaling.fit_power_law(m, (2.0 * m**-0.5 + 0.01) * noise)
    >>> low, high = law.intervals["beta"]
    >>> bool(low < -0.5 < high and high - low < 0.2)
    True
    >>> law.held_out.m, abs(law.held_out.relative_error) < 0.05
    (16384.0, True)
    >>> scaling.fit_power_law([100, 200, 400, 800, 1600], [0.5, 0.5, 0.5, 0.5, 0.5]).reason
    'no decrease: the error is 0.5 at the least m and 0.5 at the largest'
    """
    options = FitOptions(hold_out, bootstrap, confidence, seed, delta)
    m = positive("m", m)
    error = positive("error", error, ("m", len(m)))
    weights = np.ones(len(m)) if weights is None else positive("weights", weights, ("m", len(m)))
    held = hold_out_mask(m, hold_out)
    used = ~held
    different = len(np.unique(m[used]))
    if different < _LEAST_POINTS:
        return _none(
            options,
            f"too few points: {different} different m to fit to, "
            f"at least {_LEAST_POINTS} are needed",
        )
    x = np.log(m)
    centre = float(x[used].mean())
    problem = _problem(x[used] - centre, error[used], weights[used] / weights[used].mean())
    inside = choose_region(problem, m[used], m[used], _LEAST_POINTS)
    problem, m_in = problem.part(inside), m[used][inside]
    fitted = fit(problem, delta)
    draws = bare = np.empty((0, 3))
    if bootstrap:
        curves = resample(problem, fitted, bootstrap, seed)
        draws, bare = (_natural(problem, theta, centre) for theta in curves)
    found = intervals(_NAMES, draws, bare, 2, confidence)
    reason = _why_none(problem, fitted, m_in, found["beta"])
    if reason:
        return _none(options, reason)
    alpha, beta, gamma = (float(value) for value in _natural(problem, fitted.theta, centre))
    extrapolated = None
    if held.any():
        largest = m == m.max()
        predicted = alpha * m[largest] ** beta + gamma
        extrapolated = held_out_of(float(m.max()), error[largest], predicted)
    return PowerLaw(
        alpha,
        beta,
        gamma,
        found,
        confidence,
        (float(m_in.min()), float(m_in.max())),
        extrapolated,
        fitted.noise,
        True,
        "",
        kept(draws),
    )


def _problem(x: Array, error: Array, weights: Array) -> Problem:
    """The law with θ = (log of its falling part at x = 0, β, log γ); x is log m about its mean."""
    T = np.zeros((2, len(x), 3))
    T[0, :, 0], T[0, :, 1], T[1, :, 2] = 1.0, x, 1.0
    lowest = error.min()
    starts = []
    for share in _FLOORS:
        rest = np.log(error - share * lowest)
        gamma = np.log(share * lowest) if share else least_floor(np.log(error))
        starts += [(np.median(rest - beta * x), beta, gamma) for beta in _BETAS]
    least = np.array([-np.inf, -np.inf, least_floor(np.log(error))])
    return Problem(T, np.log(error), weights, np.array(starts), least, 2)


def _natural(problem: Problem, theta: Array, centre: float) -> Array:
    """α, β, γ (..., 3) of θ (..., 3)."""
    u, beta, g = np.moveaxis(theta, -1, 0)
    gamma = np.where(without_floor(problem, theta), 0.0, np.exp(g))
    return np.stack([np.exp(np.clip(u - beta * centre, -700, 700)), beta, gamma], axis=-1)


def _none(options: FitOptions, reason: str) -> PowerLaw:
    nan = float("nan")
    nothing = dict.fromkeys(_NAMES, (nan, nan))
    return PowerLaw(
        nan, nan, nan, nothing, options.confidence, None, None, nan, False, reason, np.empty((0, 3))
    )


def _why_none(problem: Problem, fitted: Fitted, m: Array, beta: Interval) -> str:
    """Why the fit is no power law; empty where it is one."""
    values = np.unique(m)
    n, _ = problem.size
    y, w = problem.log_error, problem.weights
    first, last = (
        float(np.exp(np.average(y[m == value], weights=w[m == value])))
        for value in (values[0], values[-1])
    )
    about = f"the error is {first:.3g} at the least m and {last:.3g} at the largest"
    square = float((w * fitted.residuals**2).sum())
    level = float((w * (y - np.average(y, weights=w)) ** 2).sum())
    flat = level <= 1e-20 * n or akaike(level, n, 2) <= akaike(square, n, 4)
    if fitted.theta[1] >= 0 or first <= last or flat:
        return f"no decrease: {about}"
    bare = bool(without_floor(problem, fitted.theta))
    if not bare:
        falling = fitted.theta[0] + fitted.theta[1] * np.unique(problem.T[0, :, 1])
        above = np.log1p(np.exp(falling - fitted.theta[2]))
        seen = int((above > max(2 * fitted.noise, _VISIBLE)).sum())
        if seen < _LEAST_FALLING:
            return (
                f"already at its floor: from m = {values[min(seen, len(values) - 1)]:g} on the "
                f"error stays near {np.exp(fitted.theta[2]):.3g}"
            )
    if beta[1] >= 0:
        between = f"β lies between {beta[0]:.3g} and {beta[1]:.3g}"
        return f"no decrease beyond the noise: {between}, {about}"
    if bare and fitted.noise > _BENT:
        x = problem.T[0, :, 1]
        curve = np.polynomial.Polynomial.fit(x, y, 2, w=np.sqrt(w))
        bent = float((w * (y - curve(x)) ** 2).sum())
        if curve.deriv(2)(0.0) < 0 and akaike(bent, n, 4) < akaike(square, n, 3) - _DECISIVE:
            return "no power-law region: the error falls faster and faster with m"
    return ""
