"""The examples' pictures: what is drawn is what was computed, without pyplot and without traces."""

import contextlib
import io
import pickle
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnx
from nnx import examples
from nnx.errors import DataError, MissingDependencyError
from nnx.examples import pictures

pytest.importorskip("matplotlib")

Output = pytest.CaptureFixture[str]
PNG = b"\x89PNG\r\n\x1a\n"
# Enough training for what the picture has to show, and no more.
QUICK: dict[str, dict[str, Any]] = {
    "flower": {"epochs": 1000},
    "loop": {"m": 200},
    "zeros": {"epochs": 500},
    "linear": {"epochs": 1000},
    "houses": {"epochs": 20},
    "depth": {"n_bits": 4, "runs": 2, "epochs": 100},
    "digits": {"epochs": 2},
}


@cache
def shown(name: str) -> examples.Numbers:
    """What an example computed; the same for all tests."""
    if name == "digits":
        pytest.importorskip("sklearn")
    with contextlib.redirect_stdout(io.StringIO()):
        return examples.run(name, device="cpu", **QUICK[name])


@cache
def picture(name: str) -> Any:
    """Its picture, to be read by all tests and changed by none."""
    return shown(name).plot()


def panels(name: str) -> list[Any]:
    return list(picture(name).axes)


def answers(axes: Any) -> tuple[Any, Any]:
    """What the colours say at each point that is drawn on them, and the class of its mark."""
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    A = np.asarray(image.get_array())
    rows, columns = A.shape
    said, true = [], []
    for label, points in enumerate(axes.collections[-2:]):
        x_1, x_2 = np.asarray(points.get_offsets()).T
        i = np.rint((x_2 - bottom) / (top - bottom) * (rows - 1)).astype(int)
        j = np.rint((x_1 - left) / (right - left) * (columns - 1)).astype(int)
        said.append(A[i, j] > 0.5)
        true.append(np.full(len(i), label))
    return np.concatenate(said), np.concatenate(true)


def right(axes: Any) -> float:
    said, true = answers(axes)
    return float(np.mean(said == true))


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_every_example_has_a_picture_that_says_what_is_seen(name: str) -> None:
    figure = picture(name)
    assert type(figure).__mro__[1].__module__ == "matplotlib.figure"
    assert len(figure.get_suptitle()) > 20
    assert panels(name)
    for axes in panels(name):
        assert axes.get_title() or (name == "zeros" and axes.get_xlabel())
        if name != "digits" or axes.lines:
            assert axes.get_xlabel() or axes.get_subplotspec().rowspan.start == 0
    content = pictures.encode(figure, dpi=50)
    assert content.startswith(PNG)
    assert int.from_bytes(content[16:20], "big") == 500  # ten inches


def test_the_flower_is_separated_the_better_the_more_hidden_units_there_are() -> None:
    *boundaries, costs = panels("flower")
    assert [axes.get_title().split(":")[0] for axes in boundaries] == [
        "no hidden layer", "$n_h = 1$", "$n_h = 2$", "$n_h = 4$", "$n_h = 20$",
    ]  # fmt: skip
    for axes, accuracy in zip(boundaries, shown("flower").values(), strict=True):
        assert right(axes) == pytest.approx(accuracy, abs=0.02)
        assert f": {accuracy:.1%} right" in axes.get_title()
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("$x_1$", "$x_2$")
    assert right(boundaries[0]) < 0.6 < right(boundaries[1]) < 0.8 < right(boundaries[4])
    assert len(costs.lines) == 5
    assert all(len(line.get_xdata()) == 1000 for line in costs.lines)
    last = [line.get_ydata()[-1] for line in costs.lines]
    assert max(last[3:]) < min(last[:3])
    assert costs.get_ylabel() == "cost $J$"


def test_units_that_start_at_zero_go_one_way_and_the_others_go_their_own() -> None:
    above = panels("zeros")[:3]
    ways = [
        [np.column_stack(line.get_data()) for line in axes.lines if len(line.get_xdata()) > 100]
        for axes in above
    ]
    assert [len(way) for way in ways] == [4, 1, 4]
    assert not np.any(ways[0][0][0])  # from zero
    for way in ways[0][1:]:
        np.testing.assert_allclose(way, ways[0][0], atol=1e-6)
    widths = [line.get_linewidth() for line in above[0].lines[:8:2]]
    assert widths == sorted(set(widths), reverse=True)  # each shows beside those on top of it
    ends = np.stack([way[-1] for way in ways[2]])
    assert min(np.abs(a - b).max() for k, a in enumerate(ends) for b in ends[:k]) > 0.5


def test_identity_layers_draw_a_straight_line_and_tanh_does_not() -> None:
    from matplotlib.contour import QuadContourSet

    axes = panels("linear")
    assert len(axes) == 6
    for one, straight in zip(axes, [True, True, False] * 2, strict=True):
        (contour,) = (c for c in one.collections if isinstance(c, QuadContourSet))
        points = np.concatenate([path.vertices for path in contour.get_paths()])
        points = points - points.mean(axis=0)
        off = np.linalg.svd(points, compute_uv=False)[1] / np.sqrt(len(points))
        assert (off < 0.01) == straight, one.get_title()
    assert right(axes[2]) > right(axes[1]) + 0.05


def test_the_houses_are_drawn_where_price_and_prediction_say() -> None:
    numbers = shown("houses")
    assert len(panels("houses")) == 4
    for axes, (name, error) in zip(panels("houses"), numbers.items(), strict=True):
        true, predicted = np.asarray(axes.collections[0].get_offsets()).T
        assert len(true) == 1000
        assert 1e5 * np.abs(predicted - true).mean() == pytest.approx(error, rel=1e-4)
        assert axes.get_title().startswith(name)
        assert f"{error:,.0f}" in axes.get_title()
    assert panels("houses")[2].get_xlabel().startswith("true price $y$")


def test_parity_shows_the_units_that_were_built_and_the_cost_of_each_depth() -> None:
    numbers = shown("depth")
    units, costs = panels("depth")
    drawn = {
        line.get_label(): line.get_data() for line in units.lines if len(line.get_xdata()) == 1
    }
    assert [(n[0], count[0]) for n, count in drawn.values()] == [
        (4, numbers["one_unit_per_pattern units"]),
        (4, numbers["xor_tree units"]),
        (4, numbers["counting units"]),
    ]
    for line, mark in zip(units.lines[::2], units.lines[1::2], strict=True):
        at = dict(zip(*line.get_data(), strict=True))
        assert at[4] == mark.get_ydata()[0]  # the formula is that of the network
    assert len(costs.lines) == 4 * 2
    assert [text.get_text()[:7] for text in costs.get_legend().get_texts()] == [
        f"$L = {L}$" for L in (1, 2, 3, 4)
    ]


def test_the_loop_s_bars_are_the_times_that_were_measured() -> None:
    bars, lines = panels("loop")
    widths = [bar.get_width() for bar in bars.patches]
    wanted = [1e3 * shown("loop")[f"{name}_seconds"] for name in ("loop", "vectorized", "blocks")]
    assert widths == pytest.approx(wanted)
    for line, milliseconds in zip(lines.lines, wanted, strict=True):
        assert list(line.get_xdata()) == [1, 2, 20, 200]
        assert line.get_ydata()[-1] == pytest.approx(milliseconds)
    assert lines.get_xlabel() == "examples $m$"


def test_the_digits_show_rows_of_the_first_layer_and_all_mistakes_first() -> None:
    weights, seen, cost = panels("digits")
    assert len(weights.images) == 49
    assert {image.get_array().shape for image in weights.images} == {(8, 8)}
    words = [text.get_text() for text in seen.texts]
    wrong = ["is" in word for word in words]
    assert wrong == sorted(wrong, reverse=True)
    mistakes = round((1 - shown("digits")["test"]) * 449)
    assert sum(wrong) == min(mistakes, len(words))
    assert len(cost.lines[0].get_xdata()) == 2


def test_nothing_is_trained_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = shown("linear")
    monkeypatch.setattr(nnx.Network, "fit", lambda *_, **__: pytest.fail("trained again"))
    numbers.plot()
    assert pickle.loads(pickle.dumps(numbers)) == dict(numbers)


def test_the_same_seed_gives_the_same_file(capsys: Output) -> None:
    first, again, other = (
        pictures.encode(examples.houses.plot(device="cpu", seed=seed, epochs=1), dpi=50)
        for seed in (0, 0, 1)
    )
    assert first == again != other
    assert "Prices of 1000 houses" in capsys.readouterr().out  # `plot` prints the numbers too
    for kind in ("svg", "pdf"):
        assert pictures.encode(shown("loop").plot(), kind) == pictures.encode(picture("loop"), kind)


def test_the_user_s_own_style_neither_shows_nor_is_lost() -> None:
    import matplotlib as mpl

    plain = pictures.encode(shown("loop").plot())
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 30, "savefig.dpi": 30}):
        before = mpl.rcParams.copy()
        assert pictures.encode(shown("loop").plot()) == plain
        assert mpl.rcParams.copy() == before


def test_a_notebook_gets_a_figure_and_shows_it() -> None:
    from matplotlib.figure import Figure

    figure = picture("loop")
    assert isinstance(figure, Figure)
    assert type(figure.canvas).__name__ == "FigureCanvasAgg"
    image = figure._repr_png_()
    assert image.startswith(PNG)
    assert int.from_bytes(image[16:20], "big") == 1000


def test_pyplot_is_not_imported_and_no_backend_chosen() -> None:
    code = (
        "import sys, nnx\n"
        "assert 'matplotlib' not in sys.modules\n"
        "numbers = nnx.examples.loop.main(device='cpu', m=20)\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib\n"
        "before = matplotlib.rcParams.copy()\n"
        "nnx.examples.pictures.encode(numbers.plot())\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_matplotlib_the_error_names_the_extra_before_any_work(
    no_matplotlib: None, capsys: Output
) -> None:
    missing = r"an example needs matplotlib.*nnx-learn\[plot\]"
    with pytest.raises(MissingDependencyError, match=missing):
        examples.flower.plot()
    assert capsys.readouterr().out == ""
    with pytest.raises(MissingDependencyError, match=missing):
        shown("loop").plot()


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "start"), [("a.png", PNG), ("b.svg", b"<?xml"), ("c.PDF", b"%PDF"), ("d/e.png", PNG)]
)
def test_a_picture_is_saved_whole_in_the_format_of_its_name(
    name: str, start: bytes, tmp_path: Path
) -> None:
    path = pictures.save(picture("loop"), pictures.check_path(tmp_path / name))
    assert path == tmp_path / name
    assert path.read_bytes().startswith(start)
    assert list(path.parent.iterdir()) == [path]  # no temporary file is left


def test_an_interrupted_save_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def stop(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(DataError, match=r"a\.png: cannot be written: No space left"):
        pictures.save(picture("loop"), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["picture", "picture.txt", "picture.jpg"])
def test_a_format_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{name}: .* ends in \.png, \.svg or \.pdf"):
        pictures.check_path(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataError, match=r"a\.png: is a folder"):
        pictures.check_path(tmp_path / "a.png")


def test_only_pictures_of_nnx_s_own_are_replaced_unasked(tmp_path: Path) -> None:
    free = pictures.free_path(tmp_path, "loop")
    assert free == tmp_path / "loop.png"
    pictures.save(picture("loop"), free)
    assert pictures.free_path(tmp_path, "loop") == free
    free.write_bytes(PNG + b"a photograph")
    assert pictures.free_path(tmp_path, "loop") == tmp_path / "loop-2.png"
    (tmp_path / "loop-2.png").mkdir()
    assert pictures.free_path(tmp_path, "loop") == tmp_path / "loop-3.png"


# -- an example as a program ----------------------------------------------------------------------


def run_script(name: str, *options: str) -> None:
    sys.argv = [f"{name}.py", *options]
    folder = Path(examples.__file__).parent
    runpy.run_path(str(folder / f"{name}.py"), run_name="__main__")


def test_a_script_saves_its_picture_where_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "loop.png"
    run_script("loop", "--device", "cpu", "--plot", str(path))
    assert path.read_bytes().startswith(PNG)
    assert capsys.readouterr().out.endswith(f"picture: {path}\n")
    assert list(tmp_path.iterdir()) == [path]


def test_a_script_refuses_a_picture_that_cannot_be_before_any_work(
    monkeypatch: pytest.MonkeyPatch, no_matplotlib: None, capsys: Output
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    with pytest.raises(MissingDependencyError, match="--plot needs matplotlib"):
        run_script("flower", "--plot", "never.png")
    with pytest.raises(DataError, match="ends in"):
        run_script("flower", "--plot", "never")
    assert capsys.readouterr().out == ""
