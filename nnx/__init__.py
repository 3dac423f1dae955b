"""nnx: neural networks in the notation of the lecture course, on NumPy or an NVIDIA GPU.

X (n_x, m) holds one example per column; layer l computes Z[l] = W[l] A[l-1] + b[l] and
A[l] = g[l](Z[l]).

>>> import numpy as np, nnx
>>> X = np.array([[0, 0, 1, 1], [0, 1, 0, 1]])
>>> Y = np.array([0, 1, 1, 0])
>>> net = nnx.MLP([2, 8, 1], hidden="tanh", output="sigmoid", device="cpu", seed=1)
>>> history = net.fit(X, Y, epochs=300, optimizer=nnx.Adam(0.05))
>>> net.predict(X)
array([0, 1, 1, 0])
"""

from typing import TYPE_CHECKING, Any

from nnx import datasets, errors, schedules
from nnx.backends import available_devices, get_backend
from nnx.backends.reference.activations import Activation, Elementwise, elu, leaky_relu
from nnx.backends.reference.losses import (
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    Poisson,
)
from nnx.backends.reference.updates import UpdateRule
from nnx.callbacks import Callback, EarlyStopping
from nnx.differences import gradient_check
from nnx.errors import NnxError
from nnx.explain import StepReport, explain_step
from nnx.history import History
from nnx.initialisers import normal
from nnx.layers import Dense, DenseCache, Layer, dense_backward, dense_forward, linear_backward
from nnx.loading import load
from nnx.network import MLP, LogisticRegression, Network
from nnx.optimizers import (
    LBFGS,
    Adam,
    AdamW,
    GradientDescent,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
)
from nnx.parameters import Parameter
from nnx.step import TrainingStep

if TYPE_CHECKING:
    from nnx import examples, scaling

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "MLP",
    "Activation",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "Callback",
    "CategoricalCrossEntropy",
    "Dense",
    "DenseCache",
    "EarlyStopping",
    "Elementwise",
    "GradientDescent",
    "History",
    "Huber",
    "Layer",
    "LogisticRegression",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Momentum",
    "Nesterov",
    "Network",
    "NnxError",
    "Optimizer",
    "Parameter",
    "Poisson",
    "RMSprop",
    "StepReport",
    "TrainingStep",
    "UpdateRule",
    "available_devices",
    "datasets",
    "dense_backward",
    "dense_forward",
    "elu",
    "errors",
    "examples",
    "explain_step",
    "get_backend",
    "gradient_check",
    "leaky_relu",
    "linear_backward",
    "load",
    "normal",
    "scaling",
    "schedules",
]


def __getattr__(name: str) -> Any:
    """Import `nnx.examples` and `nnx.scaling` where they are first used."""
    if name in ("examples", "scaling"):
        import importlib

        return importlib.import_module(f"nnx.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
