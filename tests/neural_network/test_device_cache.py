"""A grid search brings each fold to the device twice, however many networks it fits."""

import threading
from collections.abc import Iterator
from typing import Any

import array_api_strict
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from nnx.backends import Backend, registry
from nnx.errors import DataError
from nnx.neural_network import MLPClassifier, MLPRegressor
from nnx.neural_network.device_cache import CACHE, DeviceCache

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)


class Counting(Backend):
    """A device of its own memory that counts what is copied there from the host."""

    def __init__(self, device: str = "counting") -> None:
        super().__init__(array_api_strict, device)
        self.copies: list[tuple[int, ...]] = []

    def asarray(self, x: Any, dtype: str | None = None, *, copy: bool | None = None) -> Any:
        if isinstance(x, np.ndarray):
            self.copies.append(x.shape)
            x = x.copy()  # a device does not see what happens on the host later
        return super().asarray(x, dtype, copy=copy)


@pytest.fixture
def device() -> Iterator[Counting]:
    """The device "counting", with an empty cache before and after."""
    backend = Counting()
    registry._made["counting"] = backend
    CACHE.clear()
    yield backend
    CACHE.clear()
    del registry._made["counting"]


def bits(x: Any) -> Any:
    return np.asarray(x)


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_grid_search_copies_folds_and_not_fits(cls: Any, solver: str, device: Counting) -> None:
    alphas, folds = [1e-4, 1e-3, 1e-2, 0.1, 1.0], 3
    scores = []
    for name in ("cpu", "counting"):
        model = cls(hidden_layer_sizes=(4,), solver=solver, max_iter=3, random_state=0, device=name)
        search = GridSearchCV(model, {"alpha": alphas}, cv=folds, refit=False, error_score="raise")
        scores.append(search.fit(X, Y).cv_results_["mean_test_score"])
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-9)
    of_folds = [shape for shape in device.copies if shape == (4, 100)]
    assert len(of_folds) == 2 * folds < len(alphas) * folds


def test_what_was_changed_in_place_is_never_taken_for_what_it_was(device: Counting) -> None:
    """Nor where all but one number, which is not looked at first, are the same."""
    cache, data = DeviceCache(1 << 20), np.random.default_rng(0).normal(size=(200, 50))
    for _ in range(3):
        cache.columns(device, data)
    assert device.copies == [(50, 200)] * 2
    for place in range(1, data.size, 97):
        data.reshape(-1)[place] += 1
        for _ in range(2):
            np.testing.assert_array_equal(bits(cache.columns(device, data)), data.T)


def test_the_same_data_in_another_array_is_recognised(device: Counting) -> None:
    cache, data = DeviceCache(1 << 20), np.random.default_rng(0).normal(size=(30, 5))
    data[3, 3] = np.nan
    found = [cache.columns(device, data.copy()) for _ in range(4)]
    assert found[1] is found[2] is found[3]
    assert len(device.copies) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.astype("float32"),
        lambda x: x.reshape(10, 15),
        lambda x: np.where(x == 0, -0.0, x),
        lambda x: x[::-1].copy(),
    ],
)
def test_what_differs_in_any_way_is_copied(change: Any, device: Counting) -> None:
    cache, data = DeviceCache(1 << 20), np.arange(150.0).reshape(30, 5)
    kept = [cache.columns(device, data) for _ in range(3)][-1]
    other = change(data)
    found = cache.columns(device, other)
    assert found is not kept
    np.testing.assert_array_equal(bits(found), other.T)
    np.testing.assert_array_equal(np.signbit(bits(found)), np.signbit(other.T))


def test_devices_do_not_share(device: Counting) -> None:
    cache, data, second = DeviceCache(1 << 20), np.arange(6.0).reshape(3, 2), Counting("second")
    for _ in range(3):
        cache.columns(device, data)
        cache.columns(second, data)
    assert len(device.copies) == len(second.copies) == 2


def test_the_bound_holds_and_what_was_used_last_stays(device: Counting) -> None:
    arrays = [np.full((10, 10), float(i)) for i in range(4)]  # 800 bytes each
    cache = DeviceCache(2000)
    for data in arrays:
        for _ in range(2):
            cache.columns(device, data)
        assert cache.nbytes <= 2000
    assert cache.nbytes == 1600
    device.copies.clear()
    for data in reversed(arrays):
        cache.columns(device, data)
    assert len(device.copies) == 2
    cache.clear()
    assert cache.nbytes == 0
    large = np.zeros((20, 20))
    for _ in range(3):
        cache.columns(device, large)
    assert cache.nbytes == 0


def test_a_single_fit_keeps_nothing(device: Counting) -> None:
    MLPClassifier((3,), max_iter=2, random_state=0, device="counting").fit(X, Y)
    assert CACHE.nbytes == 0


def test_on_the_cpu_nothing_is_copied_or_kept() -> None:
    cache, data = DeviceCache(1 << 20), np.zeros((30, 5))
    for _ in range(3):
        assert np.shares_memory(cache.columns(registry.get_backend("cpu"), data), data)
    assert cache.nbytes == 0


def test_the_environment_sets_the_bound(monkeypatch: pytest.MonkeyPatch, device: Counting) -> None:
    cache, data = DeviceCache(), np.zeros((30, 5))
    assert cache.limit == 256 << 20
    monkeypatch.setenv("NNX_DEVICE_CACHE", "3")
    assert cache.limit == 3 << 20
    monkeypatch.setenv("NNX_DEVICE_CACHE", "0")
    for _ in range(3):
        cache.columns(device, data)
    assert len(device.copies) == 3
    monkeypatch.setenv("NNX_DEVICE_CACHE", "much")
    with pytest.raises(DataError, match="NNX_DEVICE_CACHE='much' is no number of mebibytes"):
        cache.columns(device, data)


def test_threads_share_it(device: Counting) -> None:
    cache, data = DeviceCache(1 << 20), np.arange(1000.0).reshape(100, 10)
    wrong: list[Any] = []

    def use() -> None:
        for _ in range(50):
            if not np.array_equal(bits(cache.columns(device, data)), data.T):
                wrong.append(1)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(device.copies) == 2


@pytest.mark.gpu
def test_a_grid_search_on_a_gpu_scores_as_on_the_cpu() -> None:
    scores = []
    for name in ("cpu", "cuda"):
        model = MLPClassifier((4,), max_iter=5, random_state=0, device=name)
        search = GridSearchCV(model, {"alpha": [1e-4, 1e-2, 1.0]}, cv=3, error_score="raise")
        scores.append(search.fit(X, Y).cv_results_["mean_test_score"])
    np.testing.assert_allclose(scores[1], scores[0], atol=0.02)
