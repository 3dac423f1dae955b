"""The grid is checked before any work is done."""

from typing import Any

import pytest

from nnx.benchmarks import Settings
from nnx.errors import DataError, NnxError, UnknownNameError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"devices": ("cpuu",)}, r"unknown device 'cpuu'; did you mean 'cpu'"),
        ({"passes": ("foward",)}, r"unknown pass 'foward'; did you mean 'forward'"),
        ({"dtypes": ("float23",)}, r"unknown dtype 'float23'; did you mean 'float\d\d'"),
        ({"optimizer": "adam"}, r"unknown optimizer 'adam'"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(change: Any, message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        Settings(**change)


@pytest.mark.parametrize("name", ["m", "hidden", "layers"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "8"])
def test_the_grid_holds_whole_numbers_from_1_on(name: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"{name}: wanted whole numbers from 1 on, got {value!r}"):
        Settings(devices=("cpu",), **{name: (16, value)})


@pytest.mark.parametrize("name", ["m", "hidden", "layers", "dtypes", "passes"])
def test_an_empty_axis_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=f"{name}: wanted at least one value"):
        Settings(devices=("cpu",), **{name: ()})


@pytest.mark.parametrize("name", ["sample_seconds", "budget_seconds"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_times_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(DataError, match=f"{name}: wanted a number above 0"):
        Settings(devices=("cpu",), **{name: value})


def test_every_error_is_an_nnx_error() -> None:
    with pytest.raises(NnxError):
        Settings(devices=("cpu",), samples=0)


def test_repeated_values_are_measured_once_and_the_order_is_kept() -> None:
    settings = Settings(devices=("cpu", "cpu"), m=[64, 16, 64], hidden=[8], passes=["step"])
    assert settings.devices == ("cpu",)
    assert settings.m == (64, 16)
    assert [point.m for point in settings.points()] == [64, 16]


def test_without_devices_every_device_that_is_there_is_measured() -> None:
    assert "cpu" in Settings().devices


def test_the_points_are_the_product_of_the_grid() -> None:
    settings = Settings(
        devices=("cpu",), m=(1, 2, 3), hidden=(4, 5), layers=(1, 2), dtypes=("float32", "float64")
    )
    points = settings.points()
    assert len(points) == len(set(points)) == 3 * 2 * 2 * 2 * 3


def test_the_sizes_of_a_point_repeat_the_hidden_layer() -> None:
    settings = Settings(devices=("cpu",), m=(1,), hidden=(7,), layers=(3,), passes=("step",))
    assert settings.points()[0].sizes == [784, 7, 7, 7, 10]


def test_quick_is_smaller_and_can_be_changed() -> None:
    quick = Settings.quick(devices=("cpu",), m=(5,))
    assert quick.m == (5,)
    assert len(quick.points()) < len(Settings(devices=("cpu",)).points())
    assert quick.budget_seconds < Settings.budget_seconds
