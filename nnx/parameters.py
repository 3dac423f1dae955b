"""All parameters as views into one flat vector theta: the penalised ones first.

Each starts at a multiple of 256 bytes, which the fastest matrix products want. Where a backend asks
for it (`Backend.multiple`), the rows and columns of a matrix are rounded up too, and the view
leaves the rest out. All gaps hold zeros, and stay zero: no formula needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nnx.backends import Backend
from nnx.initialisers import Initialiser
from nnx.named_views import NamedViews

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
    multiple : int, optional
        Rows and columns of matrices are rounded up to it; by default the backend's own.

    Attributes
    ----------
    flat : array (size,)
    layers : tuple of mapping
        layers[l-1]: name -> view, e.g. "W", "b".
    views : NamedViews
        The same views by their full names: "W1", "b1", ...; "dW1", "db1", ...
    starts : tuple of dict
        starts[l-1]: name -> position of the first element in `flat`.
    penalised : int
        flat[:penalised] holds the parameters that the penalties count.
    """

    def __init__(
        self,
        layers: Sequence[Mapping[str, Parameter]],
        backend: Backend,
        dtype: str,
        prefix: str = "",
        multiple: int | None = None,
    ) -> None:
        multiple = backend.multiple if multiple is None else multiple
        self.starts: tuple[dict[str, int], ...] = tuple({} for _ in layers)
        end = 0
        for penalised in (True, False):
            for starts, layer in zip(self.starts, layers, strict=True):
                for name, parameter in layer.items():
                    if parameter.penalised is penalised:
                        starts[name] = end
                        end += round_up(_size(_padded(parameter, multiple)), _ALIGN)
            if penalised:
                self.penalised = end
        self.flat = backend.zeros((end,), dtype)

        def view(start: int, parameter: Parameter) -> Array:
            shape = _padded(parameter, multiple)
            whole = backend.xp.reshape(self.flat[start : start + _size(shape)], shape)
            if shape == parameter.shape:
                return whole
            rows, columns = parameter.shape
            return whole[:rows, :columns]

        self.layers = tuple(
            {name: view(starts[name], parameter) for name, parameter in layer.items()}
            for starts, layer in zip(self.starts, layers, strict=True)
        )
        views = {
            f"{prefix}{name}{number}": array
            for number, layer in enumerate(self.layers, 1)
            for name, array in layer.items()
        }
        self.views = NamedViews(views, backend, dtype, "gradient" if prefix == "d" else "parameter")


def round_up(size: int, multiple: int) -> int:
    """Return the smallest multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def _padded(parameter: Parameter, multiple: int) -> tuple[int, ...]:
    """The shape that a parameter takes up: weight matrices are rounded up, columns b[l] are not."""
    if len(parameter.shape) != 2 or not parameter.penalised:
        return parameter.shape
    return tuple(round_up(n, multiple) for n in parameter.shape)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
