"""Sums of power laws, fitted in the logarithm by a robust loss: many problems at once.

A law here is ε̂ = Σ_k exp(T[k] θ), where T[k] θ is linear in the parameters θ: the floor γ is the
term exp(g), α m^β is exp(u + β log m). All laws of this package are of this kind, so one minimiser
serves them all, over as many starts and resampled curves as wanted in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = Any

# A descent ends when a step cannot lower the loss by more than this share of it.
_TOLERANCE = 1e-13
_NOTHING = 1e-26  # of squared logarithms: a curve without noise is met to rounding
_ROUNDS = 400
_LONGEST_STEP = 4.0  # in any parameter: e^4 in a factor, 4 in an exponent
_LEAST_DAMPING, _MOST_DAMPING = 1e-12, 1e12


@dataclass(frozen=True)
class Fits:
    """The ends of a batch of descents.

    Attributes
    ----------
    theta : array (batch, p)
    loss : array (batch,)
        The summed robust loss.
    """

    theta: Array
    loss: Array

    def best(self, starts: int) -> Fits:
        """Return the best of each `starts` descents that follow each other."""
        loss = self.loss.reshape(-1, starts)
        best = np.arange(len(loss)) * starts + np.argmin(loss, axis=1)
        return Fits(self.theta[best], self.loss[best])


def log_sum(T: Array, theta: Array) -> tuple[Array, Array]:
    """Return log ε̂ and its Jacobian.

    T (terms, points, p), theta (batch, p) -> log ε̂ (batch, points), J (batch, points, p)
    """
    terms = np.einsum("knp,bp->bkn", T, theta, optimize=True)
    top = terms.max(axis=1)
    shares = np.exp(terms - top[:, None])
    total = shares.sum(axis=1)
    shares /= total[:, None]
    return top + np.log(total), np.einsum("bkn,knp->bnp", shares, T, optimize=True)


def huber(r: Array, delta: Array) -> Array:
    """Huber's loss: r²/2 up to |r| = delta, delta (|r| - delta/2) beyond (Huber, 1964)."""
    size = np.minimum(np.abs(r), delta)
    return size * (np.abs(r) - size / 2)


def minimise(
    T: Array, log_error: Array, weights: Array, theta: Array, delta: float, floor: Array
) -> Fits:
    """Minimise Σ w Huber_delta(log ε̂ - log ε) from each start, run until nothing is gained.

    The loss is summed and the end is judged relative to it: averaged, or ended at an absolute
    tolerance, such fits stop early and give other exponents (Besiroglu et al., arXiv:2404.10102).

    Parameters
    ----------
    T : array (terms, points, p)
    log_error, weights : array (batch, points)
        The data of each problem; a weight of 0 leaves a point out.
    theta : array (batch, p)
        Where each descent starts.
    delta : float
        Where the loss turns from squares to absolute values; inf for least squares.
    floor : array (p,)
        Least values of the parameters.
    """
    # A small delta makes a kinked loss; the way there leads over rounder ones (Madsen & Nielsen,
    # A finite smoothing algorithm for linear l1 estimation, 1993).
    fits = Fits(theta, np.zeros(len(theta)))
    for step in _deltas(T, log_error, weights, theta, delta):
        fits = _descend(T, log_error, weights, fits.theta, step, floor)
    return fits


def _deltas(T: Array, log_error: Array, weights: Array, theta: Array, delta: float) -> list[float]:
    """The deltas on the way to `delta`, each a fifth of the one before."""
    if not np.isfinite(delta):
        return [delta]
    r = np.abs(log_sum(T, theta)[0] - log_error)
    far = float(np.median(r[np.broadcast_to(weights > 0, r.shape)]))
    way = [delta]
    while way[-1] * 5 < far:
        way.append(way[-1] * 5)
    return way[::-1]


def _descend(
    T: Array, log_error: Array, weights: Array, theta: Array, delta: float, floor: Array
) -> Fits:
    """Damped Newton steps; a problem leaves the batch when it has ended.

    The Hessian of Huber's loss sees only the points within delta. To it comes a share `damping`
    of the matrix whose step can only go down, that of iteratively reweighted least squares.
    """
    theta = np.maximum(theta, floor)
    weights = np.broadcast_to(weights, (len(theta), T.shape[1]))
    log_error = np.broadcast_to(log_error, weights.shape)
    ends, losses = theta.copy(), np.empty(len(theta))
    open_ = np.arange(len(theta))
    damping = np.ones(len(theta))
    y, w = log_error, weights
    fitted, J = log_sum(T, theta)
    r = fitted - y
    loss = (w * huber(r, delta)).sum(axis=1)
    eye = np.eye(theta.shape[1])
    for _ in range(_ROUNDS):
        size = np.abs(r)
        pull = w * np.clip(r, -delta, delta)
        gradient = np.einsum("bnp,bn->bp", J, pull)
        # Both matrices from one product: J^T D J with D for Newton plus damping times reweighting.
        inside, reweighted = (
            w * (size <= delta),
            w * np.minimum(1.0, delta / np.maximum(size, 1e-300)),
        )
        D = inside + damping[:, None] * reweighted
        H = np.einsum("bnp,bnq->bpq", J * D[:, :, None], J)
        # A parameter at its least value that would go below it stays there.
        free = (theta > floor) | (gradient < 0)
        gradient *= free
        scale = np.einsum("bpp->b", H)[:, None, None]
        H = np.where(free[:, :, None] & free[:, None, :], H, 0.0)
        H += (1e-13 * scale + 1e-290 + np.where(free, 0.0, 1.0)[:, :, None]) * eye
        step = -np.linalg.solve(H, gradient[:, :, None])[:, :, 0]
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        trial = np.maximum(theta + step, floor)
        new_fitted, new_J = log_sum(T, trial)
        new_r = new_fitted - y
        new_loss = (w * huber(new_r, delta)).sum(axis=1)
        better = new_loss < loss
        gained = np.where(better, loss - new_loss, 0.0)
        # What a whole step would still gain, as the quadratic model foresees it, or did gain.
        foreseen = -np.einsum("bp,bp->b", gradient, trial - theta)
        nothing = np.where(better, gained, foreseen) <= _TOLERANCE * loss + _NOTHING
        done = (nothing & (~better | (damping <= 1))) | (~better & (damping >= _MOST_DAMPING))
        theta = np.where(better[:, None], trial, theta)
        J = np.where(better[:, None, None], new_J, J)
        r = np.where(better[:, None], new_r, r)
        loss = np.where(better, new_loss, loss)
        damping = np.where(
            better,
            np.maximum(damping * 0.2, _LEAST_DAMPING),
            np.minimum(damping * 8, _MOST_DAMPING),
        )
        if done.any():
            ends[open_[done]], losses[open_[done]] = theta[done], loss[done]
            keep = ~done
            open_, theta, J, r, loss = open_[keep], theta[keep], J[keep], r[keep], loss[keep]
            damping, y, w = damping[keep], y[keep], w[keep]
            if not len(open_):
                break
    ends[open_], losses[open_] = theta, loss
    return Fits(ends, losses)
