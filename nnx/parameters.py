"""All parameters as views into one flat vector theta: the penalised ones first.

Each starts at a multiple of 256 bytes, which the fastest matrix products want. The gaps hold zeros
and no formula reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from nnx.backends import Backend
from nnx.initialisers import Initialiser

Array = Any
_ALIGN = 64  # elements: 256 bytes of float32


class Parameter(NamedTuple):
    """What a layer says about one of its parameters.

    Attributes
    ----------
    shape : tuple of int
    initialiser : callable (shape, rng) -> array
    penalised : bool
        Whether the L1 and L2 penalties count it: weights yes, biases no.
    """

    shape: tuple[int, ...]
    initialiser: Initialiser
    penalised: bool


class FlatVector:
    """A flat vector of zeros, with a view for each parameter of each layer.

    Parameters
    ----------
    layers : sequence of mapping
        For layer 1, 2, ..., L: parameter name -> Parameter, e.g. {"W": ..., "b": ...}.
    backend : Backend
    dtype : str
    prefix : str
        "" for parameters, "d" for gradients.

    Attributes
    ----------
    flat : array (size,)
    layers : tuple of mapping
        layers[l-1]: name -> view, e.g. "W", "b".
    views : mapping
        The same views by their full names: "W1", "b1", ...; "dW1", "db1", ...
    penalised : int
        flat[:penalised] holds the parameters that the penalties count.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Parameter]],
        backend: Backend,
        dtype: str,
        prefix: str = "",
    ) -> None:
        starts, end = {}, 0
        for penalised in (True, False):
            for number, layer in enumerate(layers, 1):
                for name, parameter in layer.items():
                    if parameter.penalised is penalised:
                        starts[name, number] = end
                        end += -(-_size(parameter.shape) // _ALIGN) * _ALIGN
            if penalised:
                self.penalised = end
        self.flat = backend.zeros((end,), dtype)

        def view(name: str, number: int, shape: tuple[int, ...]) -> Array:
            start = starts[name, number]
            return backend.xp.reshape(self.flat[start : start + _size(shape)], shape)

        self.layers = tuple(
            {name: view(name, number, parameter.shape) for name, parameter in layer.items()}
            for number, layer in enumerate(layers, 1)
        )
        self.views: Mapping[str, Array] = MappingProxyType(
            {
                f"{prefix}{name}{number}": array
                for number, layer in enumerate(self.layers, 1)
                for name, array in layer.items()
            }
        )


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
