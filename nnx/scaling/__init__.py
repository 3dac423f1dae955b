"""Scaling laws from anyone's numbers: error over examples and size, and what follows from it.

    ε(m) = α m^β + γ                       `fit_power_law`  (Hestness et al., arXiv:1712.00409)
    ε(m, N) = E + A / N^a + B / m^b        `fit_joint_law`  (Rosenfeld et al., arXiv:1909.12673;
                                                             Hoffmann et al., arXiv:2203.15556)

Both are fitted to logarithms by a summed robust loss, from many starts, until nothing is gained;
both come with bootstrap intervals, and with the error of their extrapolation to the largest m,
which they have not seen. NumPy is all that is needed.
"""

from nnx.scaling.consequences import (
    BestSize,
    DataNeeded,
    best_size,
    data_needed,
    overtakes,
)
from nnx.scaling.joint_law import JointLaw, fit_joint_law
from nnx.scaling.law import HeldOut
from nnx.scaling.power_law import PowerLaw, fit_power_law

__all__ = [
    "BestSize",
    "DataNeeded",
    "HeldOut",
    "JointLaw",
    "PowerLaw",
    "best_size",
    "data_needed",
    "fit_joint_law",
    "fit_power_law",
    "overtakes",
]
