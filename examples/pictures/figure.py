"""The Figure of all pictures. This module needs matplotlib."""

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nnx.examples import pictures


class Picture(Figure):  # type: ignore[misc]
    """A matplotlib Figure that draws itself without a display, in a notebook too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        """Return what a notebook shows; of itself it knows the figures of pyplot only."""
        return pictures.encode(self, dpi=100)
