"""What follows from the laws: when a larger network pays, how much data, which size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nnx.backends.errors import DataError
from nnx.scaling.joint_law import JointLaw
from nnx.scaling.law import check_predictable, interval_of
from nnx.scaling.power_law import PowerLaw, m_for

_FARTHEST = 2.0**20  # times the largest m: beyond that nobody extrapolates
_POINTS = 4001


@dataclass(frozen=True)
class DataNeeded:
    """How many examples an error takes.

    Attributes
    ----------
    error : float
    m : float
        inf where the law never reaches it.
    interval : (float, float)
        At the law's level of confidence; NaN where it was fitted without bootstrap.
    """

    error: float
    m: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class BestSize:
    """The best use of a compute budget.

    Attributes
    ----------
    flop : float
    parameters, m : float
        N and the number of examples that the budget then allows.
    error : float
        What the law predicts there.
    """

    flop: float
    parameters: float
    m: float
    error: float


def overtakes(smaller: PowerLaw, larger: PowerLaw) -> float | None:
    """Return the m from which on the larger network has the lower error.

    Searched from the beginning of the region that both laws hold in, up to 2^20 times the largest
    m that either was fitted to. Where the larger one is ahead all the way, that beginning is
    returned; None where it is behind at the end.

    Examples
    --------
    >>> import numpy as np
    >>> from nnx.scaling import fit_power_law, overtakes
    >>> m = 2.0 ** np.arange(7, 18)
    >>> small, large = fit_power_law(m, 1 * m**-0.3 + 0.05), fit_power_law(m, 4 * m**-0.5 + 0.01)
    >>> crossing = overtakes(small, large)
    >>> round(crossing), bool(np.isclose(small.predict(crossing), large.predict(crossing)))
    (359, True)
    >>> overtakes(large, small) is None
    True
    """
    for law in (smaller, larger):
        check_predictable(law)
    assert smaller.region is not None
    assert larger.region is not None
    first = max(smaller.region[0], larger.region[0])
    last = max(smaller.region[1], larger.region[1]) * _FARTHEST

    def ahead(m: float | np.ndarray) -> np.ndarray:
        return np.asarray(larger.predict(m) < smaller.predict(m))

    m = np.geomspace(first, last, _POINTS)
    behind = np.flatnonzero(~ahead(m))
    if not len(behind):
        return float(first)
    if behind[-1] == len(m) - 1:
        return None
    low, high = float(m[behind[-1]]), float(m[behind[-1] + 1])
    while high / low > 1 + 1e-12:
        middle = float(np.sqrt(low * high))
        if not low < middle < high:
            break
        low, high = (low, middle) if ahead(middle) else (middle, high)
    return high


def data_needed(law: PowerLaw, error: float) -> DataNeeded:
    """Return how many examples a target error takes, with its interval.

    Examples
    --------
    >>> import numpy as np
    >>> from nnx.scaling import data_needed, fit_power_law
    >>> m = 2.0 ** np.arange(7, 18)
    >>> law = fit_power_law(m, 2 * m**-0.5 + 0.01)
    >>> round(data_needed(law, 0.012).m), data_needed(law, 0.005).m
    (1000000, inf)
    """
    m = law.m_for(error)
    return DataNeeded(float(error), m, interval_of(m_for(error, *law.draws.T), law.confidence))


def best_size(
    law: JointLaw, flop: float, flop_per_example: Callable[[float], float] | None = None
) -> BestSize:
    """Return the size N, and with it m, at which a budget of FLOP gives the least error.

    Parameters
    ----------
    law : JointLaw
    flop : float
        The budget of one training run.
    flop_per_example : callable, optional
        What training on one example takes at size N; by default 6 N, one pass over the data
        (Kaplan et al., arXiv:2001.08361). With e epochs it is e times that.

    Examples
    --------
    >>> import numpy as np
    >>> from nnx.scaling import best_size, fit_joint_law
    >>> m, n = np.meshgrid(2.0 ** np.arange(8, 16), [1e3, 1e4, 1e5])
    >>> error = 0.01 + 5 / n**0.5 + 3 / m**0.4
    >>> law = fit_joint_law(m.ravel(), n.ravel(), error.ravel())
    >>> best = best_size(law, 6e9)
    >>> f"{best.parameters:.3g} parameters, {best.m:.3g} examples, error {best.error:.3g}"
    '2.26e+04 parameters, 4.42e+04 examples, error 0.0848'
    """
    check_predictable(law)
    if not np.isfinite(flop) or flop <= 0:
        raise DataError(f"flop: wanted a finite number above 0, got {flop!r}")
    cost = flop_per_example if flop_per_example is not None else lambda n: 6.0 * n

    def examples(n: float) -> float:
        price = float(cost(n))
        if not np.isfinite(price) or price <= 0:
            raise DataError(f"flop_per_example({n:g}): wanted a finite number above 0, got {price}")
        return flop / price

    # In log N the predicted error is a sum of falling and rising exponentials, so it has one
    # valley where the cost is a power of N; a grid finds the valley of other costs too.
    low, high = 0.0, float(np.log(max(flop, 2.0)))
    for _ in range(8):
        grid = np.linspace(low, high, 201)
        errors = [float(law.predict(examples(n), n)) for n in np.exp(grid).tolist()]
        best = int(np.argmin(errors))
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 200)])
    n = float(np.exp(grid[best]))
    return BestSize(float(flop), n, examples(n), errors[best])
