"""Networks as files: safetensors with the parameters by name, and a description in JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nnx.backends.errors import CheckpointError, NnxError
from nnx.backends.reference.activations import ACTIVATIONS, Activation, elu, leaky_relu
from nnx.backends.reference.losses import LOSSES, Loss
from nnx.initialisers import INITIALISERS
from nnx.layers import Dense, Layer
from nnx.model import Model
from nnx.precision import check_precision

FORMAT = "nnx-network/1"
ESTIMATOR_FORMAT = "nnx-estimator/1"  # what nnx.neural_network writes
_WITH_ALPHA = {"leaky_relu": leaky_relu, "elu": elu}
_PLAIN = (str, int, float, bool, type(None))


def save(model: Model, path: str | PathLike[str]) -> None:
    """Write `model` to `path`, whole or not at all.

    Raises
    ------
    CheckpointError
        Where a layer of one's own cannot be described.
    """
    from safetensors.numpy import save as serialise

    tensors = {
        name: np.ascontiguousarray(model.backend.to_numpy(view))
        for name, view in model.parameters.items()
    }
    content = serialise(tensors, metadata={"nnx": json.dumps(describe(model))})
    write_whole(Path(path), content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary file, fsync, rename."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files that only their owner can read; a model is an ordinary file.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def describe(model: Model) -> dict[str, Any]:
    """Return all of a network but its parameters, as JSON can hold it."""
    return {
        "format": FORMAT,
        "n_x": model.n_x,
        "layers": [_describe_layer(layer) for layer in model.layers],
        "loss": _describe_loss(model.loss),
        "dtype": model.dtype,
        "precision": model.precision,
        "seed": model.seed,
        "l2": model.penalty.l2,
        "l1": model.penalty.l1,
    }


def _describe_layer(layer: Layer) -> dict[str, Any]:
    if isinstance(layer, Dense):
        initialiser = layer.initialiser
        if callable(initialiser):
            known = [name for name, f in INITIALISERS.items() if f is initialiser]
            initialiser = known[0] if known else getattr(initialiser, "__name__", "")
        return {
            "kind": "Dense",
            "units": int(layer.units),
            "activation": describe_activation(layer.g),
            "keep_prob": float(layer.keep_prob),
            "initialiser": initialiser,
        }
    kind = type(layer).__name__
    if not is_dataclass(layer):
        raise CheckpointError(f"layer {kind} cannot be saved: make it a dataclass")
    values = {field.name: getattr(layer, field.name) for field in fields(layer) if field.init}
    for name, value in values.items():
        if not isinstance(value, _PLAIN):
            raise CheckpointError(
                f"layer {kind} cannot be saved: its field {name} is {value!r}, not a plain value"
            )
    return {"kind": kind, **values}


def describe_activation(g: Activation) -> str | dict[str, Any]:
    """Return an activation as JSON can hold it: its name, and alpha where it has one."""
    if g.builtin in _WITH_ALPHA:
        return {"name": g.name, "alpha": g.alpha}  # type: ignore[attr-defined]
    return g.name


def _describe_loss(loss: Loss) -> dict[str, Any]:
    known = type(loss) is type(LOSSES.get(loss.name))
    values = {field.name: getattr(loss, field.name) for field in fields(loss)} if known else {}  # type: ignore[arg-type]
    return {"name": loss.name, **values}


def read(
    path: str | PathLike[str], custom: Sequence[Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Return what `Network` is to be called with, but the device, and the parameters by name.

    Raises
    ------
    CheckpointError
        Names the file and what is wrong with it.
    """
    description, parameters = open_file(path)
    try:
        if description["format"] != FORMAT:
            raise CheckpointError(f"its format is {description['format']!r}, not {FORMAT!r}")
        settings = _settings(description, custom)
        _check_parameters(settings, parameters)
    except KeyError as error:
        raise CheckpointError(f"{os.fspath(path)}: its description lacks {error}") from None
    except (NnxError, ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    return settings, parameters


def open_file(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and the arrays by name of a file that nnx wrote.

    Raises
    ------
    CheckpointError
        Where it is no such file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("nnx")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{os.fspath(path)}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{os.fspath(path)} is no safetensors file: {error}") from None
    if text is None:
        raise CheckpointError(
            f"{os.fspath(path)}: its metadata has no field 'nnx'; nnx did not write it"
        )
    try:
        description = json.loads(text)
    except ValueError as error:
        raise CheckpointError(f"{os.fspath(path)}: {error}") from None
    if not isinstance(description, dict):
        raise CheckpointError(f"{os.fspath(path)}: its description is no JSON object")
    return description, arrays


def _check_parameters(settings: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    n_prev = settings["n_x"]
    needed = {}
    for number, layer in enumerate(settings["layers"], 1):
        for name, parameter in layer.parameters(n_prev).items():
            needed[f"{name}{number}"] = parameter.shape
        n_prev = layer.units
    found = {name: array.shape for name, array in parameters.items()}
    for name in needed.keys() | found.keys():
        if needed.get(name) != found.get(name):
            raise CheckpointError(
                f"parameter {name} is {found.get(name, 'missing')}, and the described network "
                f"needs {needed.get(name, 'no such parameter')}"
            )


def _settings(description: Mapping[str, Any], custom: Sequence[Any]) -> dict[str, Any]:
    known: dict[str, Any] = {
        getattr(thing, "name", None) or thing.__name__: thing for thing in custom
    }
    settings = {key: description[key] for key in ("n_x", "dtype", "seed", "l2", "l1")}
    # Files of before there were precisions lack it.
    settings["precision"] = check_precision(description.get("precision"), settings["dtype"])
    settings["layers"] = [_read_layer(layer, known) for layer in description["layers"]]
    loss = dict(description["loss"])
    name = loss.pop("name")
    if name in known:
        settings["loss"] = known[name]
    else:
        settings["loss"] = replace(_find("loss", name, LOSSES), **loss)  # type: ignore[type-var]
    return settings


def _read_layer(description: Mapping[str, Any], known: Mapping[str, Any]) -> Layer:
    values = dict(description)
    kind = values.pop("kind")
    if kind != "Dense":
        layer = _find("layer", kind, known)(**values)
        if not isinstance(layer, Layer):
            raise CheckpointError(f"custom {kind} is no nnx.Layer")
        return layer
    values["activation"] = read_activation(values["activation"], known)
    # The initialiser did its work when the network was made; one that is not known any more,
    # such as a lambda, is no reason to refuse the file.
    name = values["initialiser"]
    values["initialiser"] = known.get(name) if name in known else INITIALISERS.get(name)
    return Dense(**values)


def read_activation(description: Any, known: Mapping[str, Any]) -> Activation:
    """Return the activation that `describe_activation` described; `known` has one's own."""
    if isinstance(description, dict):
        return _WITH_ALPHA[description["name"]](description["alpha"])
    found: Activation = known.get(description) or _find("activation", description, ACTIVATIONS)
    return found


def _find(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    if name not in known:
        raise CheckpointError(f"it uses the {kind} {name!r}; pass it: nnx.load(path, custom=[...])")
    return known[name]
