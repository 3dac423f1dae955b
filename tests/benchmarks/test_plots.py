"""The picture: its axes, its curves, its limit, its files."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nnx.benchmarks import Cell, Record
from nnx.benchmarks.plots import LIMIT_LABEL, SPREAD_LABEL, draw, picture
from nnx.errors import DataError, MissingDependencyError

pytest.importorskip("matplotlib")
Records = Callable[..., Record]


def two_devices(record: Record, make_cell: Callable[..., Cell]) -> Record:
    """The record with every cell once more on a GPU."""
    cells = [
        make_cell(device="cuda:0", pass_=cell.pass_, m=cell.m, n_h=cell.n_h)
        for cell in record.cells
    ]
    return Record(
        {**record.settings, "devices": ("cpu", "cuda:0")},
        {**record.environment, "gpus": [], "devices": {"cuda:0": {"name": "A GPU"}}},
        (*record.cells, *cells),
    )


def texts(figure: Any) -> str:
    """Every text outside the panels."""
    return "\n".join([figure.get_suptitle(), *(text.get_text() for text in figure.texts)])


def test_a_panel_per_pass_with_log_axes_and_units(make_record: Records) -> None:
    record = make_record()
    panels = picture(record.cells, record).axes
    assert [panel.get_title() for panel in panels] == [
        "cpu: forward pass",
        "cpu: forward + backward pass",
        "cpu: training step",
    ]
    assert {panel.get_xlabel() for panel in panels} == {"m (examples in one call)"}
    assert panels[0].get_ylabel() == "throughput (examples / s)"
    assert {panel.get_xscale() for panel in panels} == {"log"}
    assert {panel.get_yscale() for panel in panels} == {"log"}
    assert [tick.get_text() for tick in panels[0].get_xticklabels()] == ["16", "256"]


def test_a_curve_per_n_h_and_its_limit_dashed_above(make_record: Records) -> None:
    record = make_record()
    (forward, *_) = picture(record.cells, record).axes
    lines = forward.get_lines()
    curves, limits = lines[::2], lines[1::2]
    assert [line.get_label() for line in curves] == ["n_h = 8", "n_h = 32"]
    for curve, limit in zip(curves, limits, strict=True):
        assert limit.is_dashed()
        assert curve.get_color() == limit.get_color()
        np.testing.assert_allclose(curve.get_xdata(), [16, 256])
        np.testing.assert_allclose(curve.get_ydata(), [8, 128])
        np.testing.assert_allclose(limit.get_ydata(), [16, 256])


def test_the_legend_explains_every_mark_and_the_headline_the_hardware(
    make_record: Records,
) -> None:
    record = make_record()
    figure = picture(record.cells, record)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["n_h = 8", "n_h = 32", LIMIT_LABEL, SPREAD_LABEL]
    assert "[784, n_h, 10], ReLU and softmax, float32" in texts(figure)
    assert "a processor, 2 cores" in texts(figure)
    assert "GradientDescent" in texts(figure)


def test_the_legend_and_the_headline_cover_no_panel(make_record: Records) -> None:
    record = make_record()
    figure = picture(record.cells, record)
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    outside = [figure.legends[0], *figure.texts]
    for panel in figure.axes:
        frame = panel.get_tightbbox(renderer)
        for artist in outside:
            box = artist.get_window_extent(renderer)
            assert not box.overlaps(frame)
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1


def test_devices_are_rows_and_stand_side_by_side_for_one_pass(
    make_record: Records, make_cell: Callable[..., Cell]
) -> None:
    record = two_devices(make_record(), make_cell)
    assert picture(record.cells, record).axes[0].get_gridspec().get_geometry() == (2, 3)
    one = two_devices(make_record(passes=("step",)), make_cell)
    figure = picture(one.cells, one)
    assert figure.axes[0].get_gridspec().get_geometry() == (1, 2)
    assert "cuda:0: A GPU" in texts(figure)
    left, right = figure.axes
    assert left.get_ylim() == right.get_ylim()


def test_without_a_step_no_optimizer_is_named(make_record: Records) -> None:
    record = make_record(passes=("forward",))
    assert "optimizer" not in texts(picture(record.cells, record))


def test_many_curves_keep_colours_apart_and_many_m_keep_labels_apart(
    make_record: Records,
) -> None:
    record = make_record(hidden=tuple(range(1, 10)), m=tuple(2**k for k in range(16)))
    panel = picture(record.cells, record).axes[0]
    assert len({line.get_color() for line in panel.get_lines()}) == 9
    labels = [tick.get_text() for tick in panel.get_xticklabels()]
    assert labels == ["1", "8", "64", "512", "4k", "32k"]


def test_a_file_for_each_dtype_and_depth(tmp_path: Path, make_record: Records) -> None:
    record = make_record(dtypes=("float32", "float64"), layers=(1, 2), passes=("step",))
    paths = draw(record, tmp_path)
    assert [path.name for path in paths] == [
        "throughput-float32-1.png",
        "throughput-float32-2.png",
        "throughput-float64-1.png",
        "throughput-float64-2.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_one_dtype_and_depth_is_one_file(tmp_path: Path, make_record: Records) -> None:
    (path,) = draw(make_record(), tmp_path)
    assert path == tmp_path / "throughput.png"


def test_skipped_cells_leave_gaps_and_nothing_measured_is_an_error(
    tmp_path: Path, make_record: Records, make_cell: Callable[..., Cell]
) -> None:
    record = make_record(passes=("forward",))
    skipped = make_cell(m=10**6, timings={}, reason="too large")
    assert draw(Record(record.settings, {}, (*record.cells, skipped)), tmp_path)
    with pytest.raises(DataError, match="no cell was measured"):
        draw(Record(record.settings, {}, (skipped,)), tmp_path)


def test_without_matplotlib_the_error_names_the_extra(
    tmp_path: Path, make_record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"nnx-learn\[plot\]"):
        draw(make_record(), tmp_path)
