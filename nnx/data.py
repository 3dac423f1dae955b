"""Training and validation data: opened where they lie, then on the device or streamed to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nnx.backends import get_backend
from nnx.backends.errors import DataError
from nnx.inputs import (
    bring,
    check_finite,
    check_weights,
    labels_of,
    open_X,
    open_Y,
)
from nnx.model import Model
from nnx.sources import Source

Array = Any

_SPLIT = 1  # the stream of random numbers that chooses the validation examples


@dataclass(frozen=True)
class Data:
    """Checked examples: arrays on the device, or sources in host memory that are streamed.

    Attributes
    ----------
    X : array or Source (n_x, m)
    Y : array or Source (m,) or (n_y, m)
    weights : array (m,), optional
        On the device in any case.
    """

    X: Array | Source
    Y: Array | Source
    weights: Array | None = None

    @property
    def m(self) -> int:
        """Number of examples."""
        return int(self.X.shape[1])

    @property
    def streamed(self) -> bool:
        """Whether the examples stay in host memory."""
        return isinstance(self.X, Source)

    @property
    def labels(self) -> bool:
        """Whether Y holds labels (m,)."""
        return self.Y.ndim == 1


class Opened:
    """X and Y of the right shapes, nothing copied yet.

    Attributes
    ----------
    m : int
    on_host : bool
        Whether X lies in host memory, so that it can be streamed.
    needed : int
        Bytes that bringing X and Y to the device takes there.
    labels : bool
        Whether Y looks like labels (m,).
    """

    def __init__(self, model: Model, X: Any, Y: Any) -> None:
        self._model, self._Y = model, Y
        self._X = open_X(X, model.n_x, model.backend, model.dtype)
        self.m, self.on_host = int(self._X.shape[1]), isinstance(self._X, Source)
        there = model.backend.owns(self._X.array if isinstance(self._X, Source) else self._X)
        self.needed = 0
        if isinstance(self._X, Source) and not (there and self._X.ready):
            self.needed += self._X.nbytes
        shape = getattr(Y, "shape", None)
        whole = shape is None or len(shape) != 1 or model.loss.target != "classes"
        self.labels = not whole or (shape is None and model.loss.target == "classes")
        wanted = "int64" if self.labels else model.dtype
        if not (model.backend.owns(Y) and str(Y.dtype).endswith(wanted)):
            size = np.dtype(wanted).itemsize
            self.needed += size * self.m * (1 if self.labels else model.n_y)

    def copied(self, fraction: float) -> int:
        """Bytes on the device while a fraction of the examples is split off; with 0, `needed`."""
        size = np.dtype(self._model.dtype).itemsize
        y = 8 if self.labels else size * self._model.n_y
        return self.needed + (self.m * (size * self._model.n_x + y) if fraction else 0)

    def on_device(self) -> Data:
        """Check the values and bring them to the device."""
        model = self._model
        X = bring(self._X, model.backend, contiguous=True)
        check_finite("X", X, model.backend)
        return Data(X, model.check_Y(self._Y, self.m))

    def streamed(self) -> Data:
        """Check the values where they are, in bounded memory."""
        model = self._model
        assert isinstance(self._X, Source)
        check_finite("X", self._X, model.backend)
        return Data(self._X, open_Y(self._Y, model.loss, model.n_y, self.m, model.dtype))


def _weighted(
    model: Model, data: Data, sample_weight: Any, class_weight: Mapping[int, float] | None
) -> Data:
    """The same data with the weights of its examples."""
    backend, Y = model.backend, data.Y
    if isinstance(Y, Source):
        backend = get_backend("cpu")
        Y = _labels_or_values(model, Y) if class_weight is not None else None
    weights = check_weights(
        sample_weight, class_weight, Y, model.loss, data.m, backend, model.dtype
    )
    if weights is not None:
        weights = model.backend.asarray(weights)
    return Data(data.X, data.Y, weights)


def _labels_or_values(model: Model, Y: Source) -> Array:
    """The class of each example as Y would give it on the device; read in parts."""
    host = get_backend("cpu")
    parts = [labels_of(Y.read(part), model.loss, host) for part in Y.chunks()]
    if any(part is None for part in parts):
        return Y.read(slice(0, 1))  # real values have no class, whatever they are
    return np.concatenate([np.asarray(part) for part in parts], axis=-1)


def _split(model: Model, data: Data, fraction: float) -> tuple[Data, Data]:
    """Hold out a fraction of the examples: those to train with, and those to validate with."""
    held = round(fraction * data.m)
    if not 0 < held < data.m:
        raise DataError(f"validation={fraction} of m = {data.m} examples leaves an empty part")
    backend = model.backend
    order = np.random.default_rng([model.seed, _SPLIT]).permutation(data.m)

    def part(host_index: Array) -> Data:
        index = backend.asarray(host_index)
        weights = None if data.weights is None else backend.gather(data.weights, index)
        if isinstance(data.X, Source):
            assert isinstance(data.Y, Source)
            return Data(data.X.subset(host_index), data.Y.subset(host_index), weights)
        return Data(backend.gather(data.X, index), backend.gather(data.Y, index), weights)

    return part(order[held:]), part(order[:held])


def open_validation(
    model: Model, validation: tuple[Any, Any] | float | None
) -> Opened | float | None:
    """Validation data of the right shapes, or the fraction to hold out."""
    if validation is None:
        return None
    if isinstance(validation, tuple | list) and len(validation) == 2:
        return Opened(model, *validation)
    if isinstance(validation, float) and 0 < validation < 1:
        return validation
    raise DataError(
        f"validation must be (X_val, Y_val) or a fraction between 0 and 1, got {validation!r}"
    )


class _Places(Protocol):
    """What is settled about where data goes."""

    @property
    def stream(self) -> bool: ...

    @property
    def stream_validation(self) -> bool: ...


def prepare(
    model: Model,
    data: Opened,
    validation: Opened | float | None,
    places: _Places,
    sample_weight: Any,
    class_weight: Mapping[int, float] | None,
) -> tuple[Data, Data | None]:
    """Check the data, bring it to its place, and split off or check the validation data."""
    ready = data.streamed() if places.stream else data.on_device()
    ready = _weighted(model, ready, sample_weight, class_weight)
    if validation is None:
        return ready, None
    if isinstance(validation, float):
        return _split(model, ready, validation)
    return ready, validation.streamed() if places.stream_validation else validation.on_device()
