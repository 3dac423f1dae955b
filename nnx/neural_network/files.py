"""Fitted estimators as files: arrays as safetensors, everything else as JSON in the same file.

Nothing is unpickled. A value is written as JSON where JSON can hold it, and otherwise as an object
with one key that says what it is: {"tuple": [...]}, {"tensor": name}, {"AdamOptimizer": {...}}, ...
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np

from nnx.backends.errors import CheckpointError, NnxError
from nnx.backends.reference.activations import Activation
from nnx.checkpoint import ESTIMATOR_FORMAT, describe_activation, read_activation, write_whole
from nnx.neural_network.conversion import PRIVATE, defaults

# Settings of a training run, of no use in a file: functions, data, and the device of a machine.
_LEFT_OUT = ("callbacks", "validation", "device")
_OBJECTS = (
    ("sklearn.preprocessing", "LabelBinarizer"),
    ("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer"),
    ("sklearn.neural_network._stochastic_optimizers", "SGDOptimizer"),
)


def save(estimator: Any, path: str | PathLike[str]) -> None:
    """Write `estimator` to `path`, whole or not at all.

    Raises
    ------
    CheckpointError
        Where it is not fitted, or holds what a file cannot describe.
    """
    from safetensors.numpy import save as serialise

    if not hasattr(estimator, "coefs_"):
        raise CheckpointError(f"this {type(estimator).__name__} is not fitted: call fit first")
    writer = _Writer()
    state = {
        name: writer.encode(name, value)
        for name, value in vars(estimator).items()
        if name not in _LEFT_OUT and name not in PRIVATE
    }
    description = {"format": ESTIMATOR_FORMAT, "class": type(estimator).__name__, "state": state}
    write_whole(Path(path), serialise(writer.tensors, metadata={"nnx": json.dumps(description)}))


def restore(
    description: Mapping[str, Any],
    tensors: Mapping[str, Any],
    device: str,
    path: str | PathLike[str],
) -> Any:
    """Return the estimator that a file describes.

    Raises
    ------
    CheckpointError
        Names the file and what is wrong with it.
    """
    from nnx import neural_network

    try:
        name = description["class"]
        if name not in neural_network.__all__:
            raise CheckpointError(f"it holds a {name!r}, which this nnx does not know")
        cls = getattr(neural_network, name)
        state = {key: _decode(value, tensors) for key, value in description["state"].items()}
        estimator = cls.__new__(cls)
        vars(estimator).update({**defaults(cls), **state, "device": device})
        _check(estimator)
    except KeyError as error:
        raise CheckpointError(f"{fspath(path)}: its description lacks {error}") from None
    except (NnxError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{fspath(path)}: {error}") from None
    return estimator


def _check(estimator: Any) -> None:
    """Refuse weights that do not fit together: prediction would fail, or be wrong."""
    n = [estimator.n_features_in_, *(W.shape[1] for W in estimator.coefs_)]
    for number, (W, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True), 1):
        needed = (n[number - 1], n[number])
        if W.shape != needed or b.shape != needed[1:]:
            raise CheckpointError(
                f"layer {number} has weights {W.shape} and biases {b.shape}, and needs "
                f"{needed} and {needed[1:]}"
            )


class _Writer:
    """Turns values into JSON, and collects the arrays in `tensors`."""

    def __init__(self) -> None:
        self.tensors: dict[str, np.ndarray[Any, Any]] = {}

    def encode(self, name: str, value: Any) -> Any:
        """Return `value` as JSON can hold it; `name` says where it lies, for tensors and errors."""
        if value is None or isinstance(value, bool | int | float | str):
            return value if type(value) in (bool, int, float, str, type(None)) else _plain(value)
        if isinstance(value, list):
            return [self.encode(f"{name}.{i}", each) for i, each in enumerate(value)]
        if isinstance(value, tuple):
            return {"tuple": [self.encode(f"{name}.{i}", each) for i, each in enumerate(value)]}
        if isinstance(value, dict):
            pairs = [
                [self.encode(f"{name}.key", key), self.encode(f"{name}.{key}", each)]
                for key, each in value.items()
            ]
            return {"dict": pairs}
        if isinstance(value, np.generic):
            return {"scalar": [value.dtype.str, value.item()]}
        if isinstance(value, np.ndarray):
            return self._array(name, value)
        if isinstance(value, np.random.RandomState):
            kind, keys, *rest = value.get_state()
            return {"RandomState": self.encode(name, [kind, keys, *rest])}
        known = {cls: cls.__name__ for cls in _objects().values()}
        if type(value) in known:
            return {known[type(value)]: self.encode(name, vars(value))}
        if isinstance(value, Activation) and value.builtin:
            return {"activation": describe_activation(value)}
        raise CheckpointError(
            f"{name} is {type(value).__qualname__}, which a file cannot describe; "
            "pickle the estimator, or leave it out"
        )

    def _array(self, name: str, value: np.ndarray[Any, Any]) -> Any:
        if value.dtype.kind in "fiub":
            # safetensors keeps rows contiguous; whether columns were is worth remembering, since
            # products round differently.
            columns = value.flags.f_contiguous and not value.flags.c_contiguous
            self.tensors[name] = np.ascontiguousarray(value)
            return {"tensor": [name, columns]}
        if value.dtype.kind in "US" or all(isinstance(each, str) for each in value.ravel()):
            text = value.astype(str) if value.dtype.kind == "S" else value
            return {"text": [value.dtype.str, text.tolist()]}
        raise CheckpointError(
            f"{name} holds objects that are no text, which a file cannot describe"
        )


def _plain(value: Any) -> Any:
    """Return a subclass of a plain type, such as numpy.float64 or an enum, as JSON can hold it."""
    if isinstance(value, np.generic):
        return {"scalar": [value.dtype.str, value.item()]}
    return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))


def _decode(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_decode(each, tensors) for each in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    inner = partial(_decode, tensors=tensors)
    readers: dict[str, Callable[[], Any]] = {
        "tuple": lambda: tuple(inner(each) for each in content),
        "dict": lambda: {inner(key): inner(each) for key, each in content},
        "scalar": lambda: np.dtype(content[0]).type(content[1]),
        "tensor": lambda: _tensor(tensors, *content),
        "text": lambda: np.array(content[1], dtype=content[0]),
        "RandomState": lambda: _random_state(inner(content)),
        "activation": lambda: read_activation(content, {}),
    }
    if kind in readers:
        return readers[kind]()
    classes: dict[str, Any] = _objects()
    if kind not in classes:
        raise CheckpointError(f"it holds a {kind!r}, which this nnx does not know")
    result = classes[kind].__new__(classes[kind])
    vars(result).update(inner(content))
    return result


def _tensor(tensors: Mapping[str, Any], name: str, columns: bool) -> np.ndarray[Any, Any]:
    array = np.array(tensors[name])
    return np.asfortranarray(array) if columns else array


def _random_state(state: list[Any]) -> np.random.RandomState:
    result = np.random.RandomState()
    result.set_state(tuple(state))
    return result


def _objects() -> dict[str, type]:
    from importlib import import_module

    return {name: getattr(import_module(module), name) for module, name in _OBJECTS}
