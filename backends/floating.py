"""Floating-point errors: inside nnx they count as they do by default, whatever np.seterr says.

The formulas underflow on purpose, as exp far below zero does, and results are looked at where they
can be wrong. With np.seterr(all="raise") such a number would end the work: so at nnx's doors
"raise" becomes "warn", NumPy's default, and underflow is ignored, which is its default too. What
is silenced outside stays silent.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Where NumPy keeps the state: a look at it takes 20 ns, np.geterr 500. Should it move, np.geterr
# does as well.
_umath = getattr(getattr(np, "_core", None), "umath", None)
_state: ContextVar[Any] | None = getattr(_umath, "_extobj_contextvar", None)
_default: Any = None if _state is None else Context().run(_state.get)


def as_by_default(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function one of nnx's doors: its results do not depend on np.seterr."""

    @wraps(function)
    def door(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if _state is not None and _state.get() is _default:
            return function(*args, **kwargs)
        state: Any = np.geterr()
        softer: dict[str, Any] = {
            kind: "warn" if how == "raise" else how for kind, how in state.items()
        }
        softer["under"] = "ignore"
        if softer == state:
            return function(*args, **kwargs)
        with np.errstate(**softer):
            return function(*args, **kwargs)

    return door
