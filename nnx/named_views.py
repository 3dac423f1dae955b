"""Parameters and gradients as users hold them: a mapping that writes into the flat vector."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, NoReturn, Self

import numpy as np

from nnx.backends import Backend
from nnx.backends.errors import DataError, DTypeError, ShapeError, UnknownNameError

Array = Any


class UnknownParameterError(UnknownNameError, KeyError):
    """A name that is none of a network's parameters; a KeyError too, as of any mapping."""

    __str__ = Exception.__str__  # KeyError's would put the message in quotes


class NamedViews(Mapping[str, Array]):
    """The parts of a flat vector by name: a fixed set of names, each with a fixed array.

    Assigning to a name copies the values into its array, and so into the flat vector, once they
    are known to be right: real and finite numbers of exactly the shape that is there. Otherwise
    nothing is changed. Names cannot be added or deleted.

    Parameters
    ----------
    views : dict
        Name -> view of the flat vector.
    backend : Backend
    dtype : str
    kind : str
        What the messages call one of them: "parameter" or "gradient".
    """

    __slots__ = ("_backend", "_dtype", "_kind", "_views")

    def __init__(self, views: dict[str, Array], backend: Backend, dtype: str, kind: str) -> None:
        self._views, self._backend, self._dtype, self._kind = views, backend, dtype, kind

    # -- reading --------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Array:
        try:
            return self._views[name]
        except KeyError:
            raise self._unknown(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def __contains__(self, name: object) -> bool:
        return name in self._views

    # A dict's own are several times faster than those that Mapping builds on __getitem__.

    def keys(self) -> KeysView[str]:
        """Return the names."""
        return self._views.keys()

    def values(self) -> ValuesView[Array]:
        """Return the arrays: views, not copies."""
        return self._views.values()

    def items(self) -> ItemsView[str, Array]:
        """Return the pairs of name and view."""
        return self._views.items()

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {tuple(view.shape)}" for name, view in self._views.items())
        return f"{self._kind.capitalize()}s({parts}; {self._dtype} on {self._backend.device})"

    def _ipython_key_completions_(self) -> list[str]:
        return list(self._views)

    def copy(self) -> dict[str, Array]:
        """Return the values as they are now, in arrays of their own."""
        return {name: self._backend.asarray(view, copy=True) for name, view in self.items()}

    def __reduce__(self) -> tuple[type[dict[str, Array]], tuple[dict[str, Array]]]:
        # A pickled or deep-copied view would no longer be part of the flat vector.
        return dict, (self.copy(),)

    # -- writing --------------------------------------------------------------------------------

    def __setitem__(self, name: str, value: Any) -> None:
        self._write({name: value})

    def update(
        self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), /, **named: Any
    ) -> None:
        """Assign to several names: to all of them, or, where one value is wrong, to none."""
        self._write({**_as_dict(values, self._kind), **named})

    def __ior__(self, values: Mapping[str, Any]) -> Self:
        self.update(values)
        return self

    def replace(self, values: Mapping[str, Any]) -> None:
        """Assign to all names, none left out, or, where one value is wrong, to none."""
        if values is self:  # what `net.parameters |= ...` has updated already
            return
        values = _as_dict(values, self._kind)
        missing = [name for name in self._views if name not in values]
        if missing:
            raise DataError(
                f"{', '.join(missing)} missing: all {self._kind}s are replaced at once "
                f"({', '.join(self._views)}); update(...) changes those that it is given"
            )
        self._write(values)

    def __delitem__(self, name: str) -> NoReturn:
        if name not in self._views:
            raise self._unknown(name)
        raise DataError(
            f"{name} cannot be deleted: the layers decide which {self._kind}s there are "
            f"({', '.join(self._views)})"
        )

    def _write(self, values: dict[str, Any]) -> None:
        with self._backend.active():
            # All are checked and copied before the first is written: one may be a view of another.
            ready = {name: self._checked(name, value) for name, value in values.items()}
            for name, array in ready.items():
                if array is not self._views[name]:
                    self._views[name][...] = array

    def _checked(self, name: str, value: Any) -> Array:
        """Return the value in an array of its own, or raise the error that says why it is none."""
        if name not in self._views:
            raise self._unknown(name)
        view, xp = self._views[name], self._backend.xp
        if value is view:  # `parameters["W1"] -= ...` has written into it already
            return view
        try:
            array = self._backend.asarray(value)
        except DTypeError as error:
            raise DTypeError(f"{name}: {error}") from None
        needed, found = tuple(view.shape), tuple(array.shape)
        if found != needed:
            raise ShapeError(f"{name} must be of shape {needed}; got {found}{_hint(needed, found)}")
        if not xp.isdtype(array.dtype, "real floating"):
            return self._backend.asarray(array, self._dtype, copy=True)
        if not bool(xp.all(xp.isfinite(array))):
            bad = "NaN" if bool(xp.any(xp.isnan(array))) else "infinity"
            raise DataError(f"{name} contains {bad}; {self._kind}s must be finite numbers")
        with np.errstate(over="ignore"):  # found out below
            array = self._backend.asarray(array, self._dtype, copy=True)
        if not bool(xp.all(xp.isfinite(array))):
            raise DataError(f"{name} contains a number that is too large for {self._dtype}")
        return array

    def _unknown(self, name: object) -> UnknownParameterError:
        # Not the nearest name by its letters, as elsewhere: to "w1", that would be b1.
        near = [known for known in self._views if known.lower() == str(name).lower()]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        known = ", ".join(self._views)
        return UnknownParameterError(f"unknown {self._kind} {name!r}{hint} (known: {known})")


def _as_dict(values: Any, kind: str) -> dict[str, Any]:
    try:
        return dict(values)
    except (TypeError, ValueError):
        raise DTypeError(
            f'{kind}s are assigned from a mapping of names to arrays, such as {{"W1": ...}}; '
            f"got {type(values).__name__}"
        ) from None


def _hint(needed: tuple[int, ...], found: tuple[int, ...]) -> str:
    """What might have been meant by an array of another shape."""
    if found == needed[::-1]:
        return "; pass its transpose"
    if len(needed) == 2 and found == needed[:1]:
        return "; it is a column, so pass it as [:, None]"
    if found in ((), (1,), (1, 1)):
        return "; [...] = fills all of it with one number"
    return ""
