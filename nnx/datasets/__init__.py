"""Data sets for lectures, tests and measurements: generated with NumPy, or bundled by scikit-learn.

Every function returns a `Dataset` with one column per example.
"""

from nnx.datasets._bundled import breast_cancer, diabetes, digits
from nnx.datasets._dataset import Dataset, standardize
from nnx.datasets._functions import parity, teacher
from nnx.datasets._houses import houses
from nnx.datasets._plane import flower, moons

__all__ = [
    "Dataset",
    "breast_cancer",
    "diabetes",
    "digits",
    "flower",
    "houses",
    "moons",
    "parity",
    "standardize",
    "teacher",
]
