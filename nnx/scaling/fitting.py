"""From points to a fitted sum of power laws: the region, the robust fit, the resampled curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnx.scaling.law import interval_of
from nnx.scaling.sums import log_sum, minimise

Array = Any

# Huber's loss turns at twice the scatter: it loses 1 % of the efficiency where noise is normal.
_DELTA = 2.0
_NORMAL_MEDIAN = 0.6745  # median of |z| of a standard normal z
_NEGLIGIBLE = np.exp(-15)  # a floor below this share of the least error is none
_LOWEST = -25.0  # logarithm of the least share of it
_GAIN = 1e-6  # of the loss: what a floor must gain to be one
_EXACT = 1e-9  # scatter of a curve without noise: least squares meet it
_CUTS = 16  # places that are tried for the region's beginning
_CLEARLY = 8.0  # better by Akaike's criterion


@dataclass(frozen=True)
class Problem:
    """Points and the law that is to be fitted to them.

    Attributes
    ----------
    T : array (terms, points, p)
        log ε̂ = log Σ_k exp(T[k] θ).
    log_error, weights : array (points,)
    starts : array (starts, p)
    least : array (p,)
        Least values of the parameters.
    floor : int
        Which parameter is the logarithm of the floor.
    """

    T: Array
    log_error: Array
    weights: Array
    starts: Array
    least: Array
    floor: int

    def part(self, used: Array) -> Problem:
        """Return the problem of some of the points."""
        return Problem(
            self.T[:, used],
            self.log_error[used],
            self.weights[used],
            self.starts,
            self.least,
            self.floor,
        )

    @property
    def size(self) -> tuple[int, int]:
        """Points and parameters."""
        return int(self.T.shape[1]), int(self.T.shape[2])


@dataclass(frozen=True)
class Fitted:
    """The fit of a problem.

    Attributes
    ----------
    theta : array (p,)
    delta : float
        Where its loss turned.
    residuals : array (points,)
        log ε - log ε̂.
    noise : float
        Their scatter, by the degrees of freedom.
    """

    theta: Array
    delta: float
    residuals: Array
    noise: float


def least_floor(log_error: Array) -> float:
    """Return the logarithm of a floor that is as good as none."""
    return float(log_error.min() + _LOWEST)


def without_floor(problem: Problem, theta: Array) -> Array:
    """Tell which of the thetas (..., p) have no floor."""
    edge = problem.log_error.min() + np.log(_NEGLIGIBLE)
    found: Array = theta[..., problem.floor] < edge
    return found


def squares(problem: Problem, masks: Array) -> tuple[Array, Array]:
    """Least squares for each choice of points (choices, points): theta and the sum of squares."""
    starts = len(problem.starts)
    fits = minimise(
        problem.T,
        problem.log_error[None],
        np.repeat(masks * problem.weights, starts, axis=0),
        np.tile(problem.starts, (len(masks), 1)),
        np.inf,
        problem.least,
    ).best(starts)
    return fits.theta, 2 * fits.loss


def fit(problem: Problem, delta: float | None) -> Fitted:
    """Minimise the summed robust loss from all starts; a floor that gains nothing is none."""
    n, p = problem.size
    theta = squares(problem, np.ones((1, n)))[0][0]
    if delta is not None:
        theta = _from_everywhere(problem, theta, delta)
        return _fitted(problem, theta, delta)
    turn = np.inf
    for _ in range(4):
        r = np.abs(log_sum(problem.T, theta[None])[0][0] - problem.log_error)
        # As many residuals as there are parameters can be made zero by the fit: they tell nothing.
        scatter = float(np.median(np.sort(r)[min(p, n) - 1 :])) / _NORMAL_MEDIAN
        if scatter <= _EXACT or abs(_DELTA * scatter / turn - 1) < 1e-3:
            break
        turn = _DELTA * scatter
        theta = _from_everywhere(problem, theta, turn)
    return _fitted(problem, theta, turn)


def _from_everywhere(problem: Problem, theta: Array, delta: float) -> Array:
    """The best end over all starts, theta among them, and those without a floor."""
    starts = np.vstack([theta, problem.starts])
    bare = starts.copy()
    bare[:, problem.floor] = problem.least[problem.floor]
    T, y, w = problem.T, problem.log_error[None], problem.weights[None]
    full = minimise(T, y, w, np.vstack([starts, bare]), delta, problem.least).best(2 * len(starts))
    bare_T, least = _no_floor(problem)
    simple = minimise(bare_T, y, w, np.delete(starts, problem.floor, axis=1), delta, least)
    simple = simple.best(len(starts))
    if simple.loss[0] <= full.loss[0] * (1 + _GAIN) + 1e-25:
        return np.insert(simple.theta[0], problem.floor, problem.least[problem.floor])
    return full.theta[0]


def _no_floor(problem: Problem) -> tuple[Array, Array]:
    """T and the least values of the law without a floor."""
    terms = problem.T[:, :, problem.floor].max(axis=1) == 0
    T = np.delete(problem.T, problem.floor, axis=2)[terms]
    return T, np.delete(problem.least, problem.floor)


def _fitted(problem: Problem, theta: Array, delta: float) -> Fitted:
    n, p = problem.size
    residuals = problem.log_error - log_sum(problem.T, theta[None])[0][0]
    square = float((problem.weights * residuals**2).sum())
    return Fitted(theta, delta, residuals, float(np.sqrt(square / max(n - p, 1))))


def choose_region(problem: Problem, m: Array, cells: Array, least: int) -> Array:
    """Choose from which m on the points follow the law; return the mask of these points.

    The first of the different m are given a level of their own for each of their cells, and are
    left out where Akaike's criterion is clearly the better for it and they lie below the law, as
    errors near that of guessing do.

    m, cells : array (points,)
        The number of examples of each point, and which points measure the same thing.
    least : int
        Different m that must be left.
    """
    n, p = problem.size
    values = np.unique(m)
    last = max(0, len(values) - least)
    cuts = np.unique(np.linspace(0, last, min(last + 1, _CUTS)).round().astype(int))
    masks = np.array([m >= values[cut] for cut in cuts])
    theta, inside = squares(problem, masks.astype(float))
    best, chosen = np.inf, 0
    for j, mask in enumerate(masks):
        out = ~mask
        groups = np.unique(cells[out])
        outside = sum(
            _square_about_mean(problem.log_error[cells == g], problem.weights[cells == g])
            for g in groups
        )
        count = p + 1 + len(groups)
        if n - count - 1 < 1:
            break  # too few points to tell
        if j:
            beyond = log_sum(problem.T, theta[j][None])[0][0] - problem.log_error
            if beyond[out & (m >= values[cuts[j - 1]])].mean() <= 0:
                continue  # above the law's continuation: that is no saturation
        criterion = akaike(inside[j] + outside, n, count)
        if criterion < best - (_CLEARLY if j else 0.0):
            best, chosen = criterion, j
    return masks[chosen]


def akaike(square: float, n: int, count: int) -> float:
    """Return Akaike's criterion for `count` parameters, corrected for few points.

    Hurvich & Tsai, Regression and time series model selection in small samples, 1989; without
    their correction where n allows for none.
    """
    return float(n * np.log(max(square, 1e-20 * n) / n) + 2 * count * n / max(n - count - 1, 1))


def _square_about_mean(values: Array, weights: Array) -> float:
    mean = np.average(values, weights=weights)
    return float((weights * (values - mean) ** 2).sum())


def resample(problem: Problem, fitted: Fitted, draws: int, seed: int) -> tuple[Array, Array]:
    """Fit the law to resampled curves, with a floor and without; return both thetas (draws, p).

    A curve is what was measured plus errors drawn from the residuals. About the measurements,
    not about the fit, because the fit has forgotten how far the data were beyond a bound, a floor
    of 0 above all. Residuals are enlarged by their leverage, and each curve's by
    sqrt(f / chi²_f), f = n - p: what a scatter known from f residuals only leaves open (Student).
    """
    n, p = problem.size
    rng = np.random.default_rng(seed)
    J = log_sum(problem.T, fitted.theta[None])[1][0] * np.sqrt(problem.weights)[:, None]
    U, singular, _ = np.linalg.svd(J, full_matrices=False)
    U = U[:, singular > 1e-8 * singular[0]]
    root = np.sqrt(problem.weights)
    errors = fitted.residuals * root / np.sqrt(np.maximum(1 - (U**2).sum(axis=1), 1e-3))
    errors -= errors.mean()
    mean_square = (errors**2).mean()
    if mean_square > 0:
        errors *= fitted.noise / np.sqrt(mean_square)
    freedom = n - p
    scale = np.sqrt(freedom / rng.chisquare(freedom, (draws, 1)))
    y = problem.log_error + rng.choice(errors, (draws, n)) * scale / root
    # Errors that are added to residuals have the scatter of both.
    delta = fitted.delta * np.sqrt(2.0)
    starts = _nearby(problem, fitted.theta)
    fits = minimise(
        problem.T,
        np.repeat(y, len(starts), axis=0),
        problem.weights[None],
        np.tile(starts, (draws, 1)),
        delta,
        problem.least,
    ).best(len(starts))
    T, least = _no_floor(problem)
    start = np.tile(np.delete(fitted.theta, problem.floor), (draws, 1))
    bare = minimise(T, y, problem.weights[None], start, delta, least).theta
    return fits.theta, np.insert(bare, problem.floor, problem.least[problem.floor], axis=1)


def intervals(
    names: Sequence[str], draws: Array, bare: Array, floor: int, confidence: float
) -> dict[str, tuple[float, float]]:
    """Return each parameter's interval from its draws.

    Where the floor may be 0, the other intervals hold those of the law without it too: at the end
    of the floor's range resampled curves alone say too little.
    """
    low, high = interval_of(draws, confidence)
    if low[floor] == 0:
        ends = interval_of(bare, confidence)
        low, high = np.minimum(low, ends[0]), np.maximum(high, ends[1])
    return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}


def _nearby(problem: Problem, theta: Array) -> Array:
    """Where the fits of resampled curves start: at the fit, and at it with other floors."""
    lowest = problem.log_error.min()
    starts = np.tile(theta, (4, 1))
    starts[1:, problem.floor] = problem.least[problem.floor], lowest - 0.7, lowest - 0.05
    return starts
