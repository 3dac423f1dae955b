"""An nnx network whose parameters are an estimator's `coefs_` and `intercepts_`.

scikit-learn's coefs_[l] (n[l], n[l+1]) is W[l+1].T, and its intercepts_[l] is b[l+1][:, 0]. On the
host the estimator's lists hold views of theta, so that both are the same numbers; for another
device they are views of a copy on the host, moved by `upload` and `download` in one transfer each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from nnx.backends import get_backend
from nnx.backends.errors import ShapeError
from nnx.network import Network
from nnx.parameters import FlatVector

Array = Any


class HostVector:
    """A vector laid out as theta, as scikit-learn's list of matrices and biases on the host.

    Attributes
    ----------
    arrays : list of ndarray
        The matrices (n[l-1], n[l]) of all layers, then the biases (n[l],): views.
    """

    def __init__(self, net: Network, vector: FlatVector) -> None:
        self._backend, self._device = net.backend, vector
        self._shared = isinstance(vector.flat, np.ndarray)
        self._host = vector if self._shared else net.zero_vector(backend=get_backend("cpu"))
        layers = self._host.layers
        self.arrays = [layer["W"].T for layer in layers] + [layer["b"][:, 0] for layer in layers]

    def load(self, arrays: Sequence[Array]) -> None:
        """Take these numbers in, those that are not the views themselves, and send all over."""
        for view, given in zip(self.arrays, arrays, strict=True):
            if view is given:
                continue
            if np.shape(given) != view.shape:
                raise ShapeError(
                    f"the layers ask for weights of shape {view.shape}, and the estimator has "
                    f"{np.shape(given)}; fit it anew (warm_start=False) for other layers"
                )
            view[...] = given
        self.upload()

    def holds(self, arrays: Sequence[Array]) -> bool:
        """Whether these are the views themselves."""
        return len(arrays) == len(self.arrays) and all(
            view is given for view, given in zip(self.arrays, arrays, strict=True)
        )

    def upload(self) -> None:
        """Bring what stands on the host to the device."""
        if not self._shared:
            self._device.flat[...] = self._backend.asarray(self._host.flat)

    def download(self) -> None:
        """Bring what stands on the device to the host."""
        if not self._shared:
            self._host.flat[...] = self._backend.to_numpy(self._device.flat)


class Binding:
    """The network of an estimator, and its parameters as scikit-learn holds them.

    Attributes
    ----------
    net : Network
    key : tuple
        What the network was made for; another key needs another network.
    theta : HostVector
    """

    def __init__(self, net: Network, key: tuple[Any, ...]) -> None:
        self.net, self.key = net, key
        self.theta = HostVector(net, net.vector)

    @property
    def coefs(self) -> list[Array]:
        """The weight matrices as `coefs_`."""
        return self.theta.arrays[: self.net.L]

    @property
    def intercepts(self) -> list[Array]:
        """The biases as `intercepts_`."""
        return self.theta.arrays[self.net.L :]


class Packing:
    """scikit-learn's order of all parameters in one vector: matrices row by row, then biases."""

    def __init__(self, units: Sequence[int]) -> None:
        shapes: list[tuple[int, ...]] = [*pairwise(units), *((n,) for n in units[1:])]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        self.size = int(ends[-1])
        starts = [0, *(int(end) for end in ends[:-1])]
        self._parts = [
            (slice(start, int(end)), shape)
            for start, end, shape in zip(starts, ends, shapes, strict=True)
        ]
        layers = len(units) - 1
        self.coef_indptr = [(p.start, p.stop, shape) for p, shape in self._parts[:layers]]
        self.intercept_indptr = [(p.start, p.stop) for p, _ in self._parts[layers:]]

    def pack(self, arrays: Sequence[Array], out: Array) -> Array:
        """Write the arrays into the vector `out`, and return it."""
        for (part, shape), array in zip(self._parts, arrays, strict=True):
            out[part].reshape(shape)[...] = array
        return out

    def unpack(self, packed: Array) -> list[Array]:
        """Views of the vector: matrices and biases."""
        return [packed[part].reshape(shape) for part, shape in self._parts]
