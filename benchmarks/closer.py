"""Closer looks at one axis each: the width unit by unit, the depth, the dtype.

All are training steps, at shapes of their own whatever the grid is.
"""

from dataclasses import dataclass

from nnx.backends import get_backend
from nnx.benchmarks.settings import DTYPES, Point, Settings

# Widths that fill the tiles of a product are followed by those that begin another tile.
_STEP, _BEYOND = 8, 1
_PRECISIONS = ("tf32", "bfloat16", "float16")  # of a GPU, with float32 parameters


@dataclass(frozen=True)
class _Look:
    """Points of a device: (from, to) of the widths and their m; m, n_h of the others."""

    widths: tuple[int, int]
    width_m: int
    depths: tuple[int, ...]
    depth_shape: tuple[int, int]
    dtype_shapes: tuple[tuple[int, int], ...]


_CPU = _Look((128, 208), 256, (1, 2, 4, 8, 16), (256, 128), ((256, 64), (256, 512), (4096, 512)))
_GPU = _Look((1024, 1280), 4096, (1, 2, 4, 8, 16), (4096, 512), ((256, 512), (4096, 2048)))
_FEW = _Look((64, 72), 64, (1, 4), (64, 16), ((64, 64),))


def closer_points(settings: Settings, device: str) -> list[Point]:
    """List the points of the parts "widths", "depth" and "dtype" that `settings` asks for."""
    look = (_CPU if device == "cpu" else _GPU) if settings.thorough else _FEW
    dtype, points = settings.dtypes[0], []
    if "widths" in settings.parts:
        first, last = look.widths
        for n_h in range(first, last + 1, _STEP):
            points += [
                Point(device, dtype, "step", look.width_m, n, 1, "widths")
                for n in (n_h, n_h + _BEYOND)
            ]
    if "depth" in settings.parts:
        m, n_h = look.depth_shape
        points += [Point(device, dtype, "step", m, n_h, L, "depth") for L in look.depths]
    if "dtype" in settings.parts:
        graphs = get_backend(device).why_no_graphs() is None
        points += [
            Point(device, name, "step", m, n_h, 1, "dtype")
            for name in (*DTYPES, *(_PRECISIONS if graphs else ()))
            for m, n_h in look.dtype_shapes
        ]
    return points
