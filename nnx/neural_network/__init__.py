"""scikit-learn's multi-layer perceptron on nnx: same names, parameters, attributes and results.

Needs scikit-learn (extra `sklearn`); with Numba (extra `fast`) training is compiled.

>>> from nnx.neural_network import MLPClassifier
>>> MLPClassifier(hidden_layer_sizes=(10,), random_state=0, device="cpu")
MLPClassifier(device='cpu', hidden_layer_sizes=(10,), random_state=0)
"""

from nnx.backends.errors import MissingDependencyError

try:
    import sklearn as _sklearn  # noqa: F401 (only here to say what is missing)
except ImportError:
    raise MissingDependencyError("scikit-learn", "sklearn", "nnx.neural_network") from None

from nnx.neural_network.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
