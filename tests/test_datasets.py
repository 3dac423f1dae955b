"""The data sets: shapes, layout, seeds, splits, and errors that name the argument."""

import re
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnx import datasets
from nnx.datasets import Dataset
from nnx.errors import DataError, MissingDependencyError, ShapeError

GENERATED: dict[str, Callable[..., Dataset]] = {
    "flower": datasets.flower,
    "moons": datasets.moons,
    "parity": lambda m=64, seed=0: datasets.parity(6, m, seed=seed),
    "teacher": lambda m=100, seed=0: datasets.teacher(m, 5, (8,), seed=seed),
    "teacher_classes": lambda m=100, seed=0: datasets.teacher(
        m, 5, (8,), 3, classes=True, seed=seed
    ),
    "houses": datasets.houses,
}
BUNDLED = ["digits", "breast_cancer", "diabetes"]


def check_form(data: Dataset) -> None:
    assert data.X.dtype == np.float32
    assert data.X.shape == (data.n_x, data.m)
    assert data.X.flags.f_contiguous
    assert data.X.flags.writeable
    assert np.isfinite(data.X).all()
    assert len(data.feature_names) == data.n_x
    if np.issubdtype(data.Y.dtype, np.integer):
        assert data.Y.dtype == np.int64
        assert data.Y.shape == (data.m,)
        assert data.Y.min() >= 0
        assert data.Y.max() < len(data.target_names)
    else:
        assert data.Y.dtype == np.float32
        assert data.Y.shape == (len(data.target_names), data.m)
        assert data.Y.flags.f_contiguous
        assert np.isfinite(data.Y).all()


def same(a: Dataset, b: Dataset) -> bool:
    return np.array_equal(a.X, b.X) and np.array_equal(a.Y, b.Y)


@pytest.mark.parametrize("make", GENERATED.values(), ids=GENERATED)
@pytest.mark.parametrize("m", [1, 2, 51])
def test_generated_sets_have_the_documented_form(make: Callable[..., Dataset], m: int) -> None:
    data = make(m=m)
    assert data.m == m
    check_form(data)


@pytest.mark.parametrize("make", GENERATED.values(), ids=GENERATED)
def test_the_seed_decides_the_data(make: Callable[..., Dataset]) -> None:
    assert same(make(seed=3), make(seed=3))
    assert same(make(seed=np.int64(3)), make(seed=3))
    assert not same(make(seed=3), make(seed=4))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_have_the_documented_form(name: str) -> None:
    pytest.importorskip("sklearn")
    data = getattr(datasets, name)()
    assert data.name == name
    check_form(data)


def test_bundled_sets_hold_the_published_numbers() -> None:
    pytest.importorskip("sklearn")
    digits, cancer, diabetes = (getattr(datasets, name)() for name in BUNDLED)
    assert (digits.n_x, digits.m, len(digits.target_names)) == (64, 1797, 10)
    assert (digits.X.min(), digits.X.max()) == (0, 1)
    assert (cancer.n_x, cancer.m) == (30, 569)
    assert (cancer.target_names, int((cancer.Y == 0).sum())) == (("malignant", "benign"), 212)
    assert (diabetes.n_x, diabetes.m) == (10, 442)
    assert (diabetes.Y.min(), diabetes.Y.max()) == (25, 346)


@pytest.mark.parametrize("name", BUNDLED)
def test_without_scikit_learn_the_error_names_the_extra(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"nnx-learn\[sklearn\]"):
        getattr(datasets, name)()


def test_importing_the_data_sets_imports_no_optional_library() -> None:
    code = (
        "import sys, nnx.datasets as d; d.flower(); d.houses()\n"
        "assert not {'sklearn', 'scipy', 'cupy', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("make", [datasets.flower, datasets.moons])
def test_planar_sets_are_half_one_class_half_the_other(make: Callable[..., Dataset]) -> None:
    assert make(400).Y.sum() == 200
    assert make(401).Y.sum() == 200


@pytest.mark.parametrize("make", [datasets.flower, datasets.moons])
def test_planar_sets_are_shuffled(make: Callable[..., Dataset]) -> None:
    for Y in np.split(make(400).Y, 8):
        assert 10 <= Y.sum() <= 40


def test_flower_without_noise_lies_on_the_course_curve() -> None:
    data = datasets.flower(200, noise=0)
    X, Y = data.X, data.Y
    radius, angle = np.hypot(*X), np.arctan2(X[0], X[1])
    np.testing.assert_allclose(radius, np.abs(4 * np.sin(4 * angle)), atol=1e-4)
    # The second class goes on where the first ends, so both have petals on either side.
    for j in (0, 1):
        assert (X[:, j == Y].min(axis=1) < -1.5).all()
        assert (X[:, j == Y].max(axis=1) > 1.5).all()


def test_moons_without_noise_lie_on_two_half_circles() -> None:
    data = datasets.moons(100, noise=0)
    X, Y = data.X, data.Y
    centres = np.array([[0, 1], [0, 0.5]])
    np.testing.assert_allclose(np.hypot(*(X - centres[:, Y])), 1, atol=1e-6)
    assert (X[1, Y == 0] > -1e-6).all()
    assert (X[1, Y == 1] < 0.5 + 1e-6).all()


@given(n_bits=st.integers(1, 10))
def test_parity_lists_every_vector_once(n_bits: int) -> None:
    data = datasets.parity(n_bits)
    weights = 2 ** np.arange(n_bits - 1, -1, -1)
    np.testing.assert_array_equal(weights @ data.X, np.arange(2**n_bits))
    np.testing.assert_array_equal(data.Y, np.logical_xor.reduce(data.X.astype(bool), axis=0))


def test_parity_draws_bits_at_random() -> None:
    data = datasets.parity(20, 5000, seed=1)
    assert set(np.unique(data.X)) == {0, 1}
    np.testing.assert_allclose(data.X.mean(axis=1), 0.5, atol=0.05)
    np.testing.assert_array_equal(data.Y, data.X.sum(axis=0) % 2)


def test_the_teacher_sees_the_live_inputs_only() -> None:
    def values(live: int) -> Dataset:
        return datasets.teacher(3000, 6, (50,), live=live, seed=2)

    X, Y = values(1).X, values(1).Y
    assert (X.min(), X.max()) == (pytest.approx(-0.5, abs=0.01), pytest.approx(0.5, abs=0.01))
    # A teacher of one live input without biases is linear on either side of zero.
    for side in (X[0] > 0, X[0] < 0):
        assert abs(np.corrcoef(X[0, side], Y[0, side])[0, 1]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_array_equal(X, values(6).X)
    assert not np.allclose(Y, values(6).Y)


def test_the_teacher_is_the_network_it_says() -> None:
    n_x, n_1, m = 4, 200, 20_000
    data = datasets.teacher(m, n_x, (n_1,), 1, seed=5)
    # E[y²] = E[relu(z)²] Σ w²/n_1 ≈ n_x/12 · 1/n_x · 1/2, up to the luck of one draw of weights.
    assert np.mean(data.Y**2) == pytest.approx(1 / 24, rel=0.5)
    np.testing.assert_array_equal(datasets.teacher(100, n_x, (n_1,), 1, seed=5).X, data.X[:, :100])


def test_teacher_labels_are_the_largest_output() -> None:
    values = datasets.teacher(200, 5, (8, 8), 3, seed=1)
    labels = datasets.teacher(200, 5, (8, 8), 3, classes=True, seed=1)
    np.testing.assert_array_equal(labels.Y, values.Y.argmax(axis=0))


def test_teacher_examples_do_not_depend_on_how_many_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = datasets.teacher(100, 5, (8, 8), 2, seed=1)
    monkeypatch.setattr("nnx.datasets._functions._EXAMPLES_AT_ONCE", 16)
    pieces = datasets.teacher(90, 5, (8, 8), 2, seed=1)
    np.testing.assert_array_equal(pieces.X, whole.X[:, :90])
    np.testing.assert_allclose(pieces.Y, whole.Y[:, :90], rtol=1e-5, atol=1e-6)


def test_houses_are_plausible_and_not_linear() -> None:
    data = datasets.houses(4000, noise=0)
    X, Y = data.X, data.Y
    table = dict(zip(data.feature_names, X, strict=True))
    assert table["size_m2"].min() >= 30
    np.testing.assert_array_equal(table["bedrooms"], np.rint(table["bedrooms"]))
    assert (Y > 0).all()
    assert np.corrcoef(table["size_m2"], Y[0])[0, 1] > 0.5
    design = np.vstack([X, np.ones_like(Y)]).T.astype(np.float64)
    weights, *_ = np.linalg.lstsq(design, Y[0].astype(np.float64))
    assert 0.5 < 1 - np.var(Y[0] - design @ weights) / np.var(Y) < 0.85


def test_house_noise_is_the_deviation_of_the_log_price() -> None:
    noisy, exact = (datasets.houses(4000, noise=noise).Y for noise in (0.1, 0))
    assert np.log(noisy / exact).std() == pytest.approx(0.1, rel=0.1)


@given(m=st.integers(2, 200), test=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_split_gives_every_example_to_one_part(m: int, test: float, seed: int) -> None:
    data = datasets.houses(m)
    parts = train, held_out = data.split(test, seed)
    assert 1 <= held_out.m < m
    assert abs(held_out.m - test * m) <= 1
    assert train.m + held_out.m == m
    for part in parts:
        check_form(part)
    X, Y = (np.concatenate([getattr(part, of) for part in parts], axis=1) for of in "XY")
    order, expected = np.argsort(X[0]), np.argsort(data.X[0])
    np.testing.assert_array_equal(X[:, order], data.X[:, expected])
    np.testing.assert_array_equal(Y[:, order], data.Y[:, expected])


@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(lambda c: sum(c) > 1),
    test=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_split_keeps_the_mix_of_classes(counts: list[int], test: float, seed: int) -> None:
    Y = np.repeat(np.arange(len(counts)), counts)
    X = np.asfortranarray(np.arange(Y.size, dtype=np.float32)[None, :])
    data = Dataset(X, Y, "drawn", ("x",), tuple("abcdef"[: len(counts)]))
    train, held_out = data.split(test, seed)
    found = np.bincount(held_out.Y, minlength=len(counts))
    assert (np.abs(found - np.array(counts) * held_out.m / data.m) <= 1.5).all()
    np.testing.assert_array_equal(Y[train.X[0].astype(int)], train.Y)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([train.X[0], held_out.X[0]])), np.arange(data.m)
    )


def test_split_depends_on_the_seed_only_and_leaves_the_data_alone() -> None:
    data = datasets.flower()
    before = data.X.copy()
    assert same(data.split(seed=1)[1], data.split(seed=1)[1])
    assert not same(data.split(seed=1)[1], data.split(seed=2)[1])
    np.testing.assert_array_equal(data.X, before)


def test_standardize_uses_the_training_set_only() -> None:
    train, test = datasets.houses(400).split()
    scaled_train, scaled_test = datasets.standardize(train, test)
    np.testing.assert_allclose(scaled_train.X.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled_train.X.std(axis=1), 1, rtol=1e-5)
    mean, deviation = train.X.mean(axis=1), train.X.std(axis=1)
    np.testing.assert_allclose(
        scaled_test.X, (test.X - mean[:, None]) / deviation[:, None], atol=1e-4
    )
    check_form(scaled_test)
    np.testing.assert_array_equal(scaled_test.Y, test.Y)


def test_standardize_only_moves_a_constant_input() -> None:
    X = np.array([[0.1] * 7, range(7)], np.float32, order="F")
    data = Dataset(X, np.zeros(7, np.int64), "constant", ("x_1", "x_2"), ("a",))
    (scaled,) = datasets.standardize(data)
    np.testing.assert_allclose(scaled.X[0], 0, atol=1e-7)


def test_standardize_refuses_another_set_of_inputs() -> None:
    message = r"must have the n_x = 1 inputs of parity, got houses with n_x = 5"
    with pytest.raises(ShapeError, match=message):
        datasets.standardize(datasets.parity(1), datasets.parity(1), datasets.houses())


def test_a_set_shows_its_name_and_shapes_not_its_numbers() -> None:
    assert repr(datasets.houses(7)) == "Dataset('houses', X (5, 7), Y (1, 7))"


COUNT = "must be a whole number of at least"
FRACTION = "split: test must be a fraction of the examples, above 0 and below 1, got"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: datasets.flower(0), f"flower: m {COUNT} 1, got 0"),
        (lambda: datasets.moons(2.5), f"moons: m {COUNT} 1, got 2.5"),
        (lambda: datasets.houses(True), f"houses: m {COUNT} 1, got True"),
        (lambda: datasets.teacher("many"), f"teacher: m {COUNT} 1, got 'many'"),
        (lambda: datasets.parity(0), f"parity: n_bits {COUNT} 1, got 0"),
        (lambda: datasets.parity(2.0), f"parity: n_bits {COUNT} 1, got 2.0"),
        (lambda: datasets.parity(21), "parity: n_bits must be 20 or less, got 21"),
        (lambda: datasets.parity(4, 0), f"parity: m {COUNT} 1, got 0"),
        (lambda: datasets.flower(seed=-1), f"flower: seed {COUNT} 0, got -1"),
        (lambda: datasets.moons(seed=None), f"moons: seed {COUNT} 0, got None"),
        (lambda: datasets.houses(seed=0.5), f"houses: seed {COUNT} 0, got 0.5"),
        (lambda: datasets.parity(seed=-1), f"parity: seed {COUNT} 0, got -1"),
        (lambda: datasets.teacher(seed="a"), f"teacher: seed {COUNT} 0, got 'a'"),
        (lambda: datasets.teacher(n_x=0), f"teacher: n_x {COUNT} 1, got 0"),
        (lambda: datasets.teacher(n_y=0), f"teacher: n_y {COUNT} 1, got 0"),
        (lambda: datasets.teacher(classes=True), f"n_y with classes=True {COUNT} 2, got 1"),
        (lambda: datasets.teacher(live=0), f"teacher: live {COUNT} 1, got 0"),
        (lambda: datasets.teacher(n_x=3, live=4), "teacher: live must be n_x = 3 or less, got 4"),
        (lambda: datasets.teacher(hidden=(8, 0)), f"teacher: hidden[1] {COUNT} 1, got 0"),
        (lambda: datasets.teacher(hidden=8), "hidden must be a list or tuple of whole numbers"),
        (lambda: datasets.teacher(hidden="8"), "hidden must be a list or tuple of whole numbers"),
        (lambda: datasets.flower().split(0), f"{FRACTION} 0"),
        (lambda: datasets.flower().split(1.0), f"{FRACTION} 1.0"),
        (lambda: datasets.flower().split(np.nan), f"{FRACTION} nan"),
        (lambda: datasets.flower().split("a"), f"{FRACTION} 'a'"),
        (lambda: datasets.flower().split(seed=-2), f"split: seed {COUNT} 0, got -2"),
        (lambda: datasets.flower(1).split(), "flower must have 2 examples or more, got m = 1"),
    ],
)
def test_a_bad_argument_is_named_with_what_was_wanted(
    call: Callable[[], object], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("make", [datasets.flower, datasets.moons, datasets.houses])
@pytest.mark.parametrize("noise", [-0.1, np.nan, np.inf, "a"])
def test_noise_is_a_finite_number_that_is_not_negative(
    make: Callable[..., Dataset], noise: object
) -> None:
    message = rf"^{make.__name__}: noise must be .*number of at least 0, got {noise!r}$"
    with pytest.raises(DataError, match=message):
        make(noise=noise)
