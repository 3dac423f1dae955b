"""Examples depend on part, seed and index alone; the parts share nothing; files are checked."""

import csv

import numpy as np
import pytest

from nnx.benchmarks.scale.tasks import ERROR_RATE, SQUARED_ERROR, get_task
from nnx.benchmarks.scale.tasks.digits import Digits
from nnx.benchmarks.scale.tasks.flower import Flower
from nnx.benchmarks.scale.tasks.table import Table
from nnx.benchmarks.scale.tasks.task import BLOCK, PARTS
from nnx.benchmarks.scale.tasks.teacher import Teacher
from nnx.errors import DataError, UnknownNameError

TASKS = [Digits, Teacher, Flower]


@pytest.mark.parametrize("make", TASKS)
def test_a_larger_m_begins_with_the_examples_of_a_smaller_one(make):
    X, Y = make().examples("train", BLOCK + 100, 3)
    for m in (1, 7, BLOCK, BLOCK + 1):
        x, y = make().examples("train", m, 3)
        np.testing.assert_array_equal(x, X[:m])
        np.testing.assert_array_equal(y, Y[:m])
    assert X.dtype == np.float32
    assert not X.flags.writeable


@pytest.mark.parametrize("make", TASKS)
def test_seeds_have_other_training_examples_and_the_same_test(make):
    task = make()
    parts = [task.examples(part, 50, seed)[0] for seed in (0, 1) for part in PARTS]
    for i, j in ((0, 3), (0, 1), (1, 2), (0, 2)):
        assert not np.array_equal(parts[i], parts[j])
    for i, j in ((1, 4), (2, 5)):
        np.testing.assert_array_equal(parts[i], parts[j])


def test_images_are_divided_before_they_are_distorted():
    still = Digits(shift=0, rotation=0, scale=0, elastic=0)
    images = [{row.tobytes() for row in still.examples(part, 20 * BLOCK)[0]} for part in PARTS]
    assert [len(part) for part in images] == [1078, 359, 360]
    assert not images[0] & images[1]
    assert not images[0] & images[2]
    assert not images[1] & images[2]


def test_undistorted_digits_are_the_originals():
    from nnx import datasets

    still = Digits(shift=0, rotation=0, scale=0, elastic=0)
    X, Y = still.examples("test", 200)
    originals = {row.tobytes(): label for row, label in zip(
        ((datasets.digits().X.T - 0.3) / 0.35).astype(np.float32), datasets.digits().Y,
        strict=True)}  # fmt: skip
    known = np.array([(row * 0.35 + 0.3) * 16 for row in X])
    np.testing.assert_allclose(known, np.round(known), atol=1e-4)
    assert set(Y) == set(range(10))
    assert len(originals) == 1797


def test_distortions_move_digits_by_what_they_say():
    moved = Digits(shift=1, rotation=0, scale=0, elastic=0).examples("test", 4 * BLOCK)[0]
    still = Digits(shift=0, rotation=0, scale=0, elastic=0).examples("test", 4 * BLOCK)[0]
    pixels = np.arange(8)

    def centre(X):
        grey = (X * 0.35 + 0.3).reshape(-1, 8, 8).astype(np.float64)
        return (grey.sum(1) * pixels).sum(1) / grey.sum((1, 2))

    shift = centre(moved) - centre(still)
    assert np.abs(shift).max() < 1.3  # what leaves the image moves the centre too
    assert 0.4 < shift.std() < 0.65  # uniform in [-1, 1]: 0.58


def test_the_teachers_values_are_shares_of_their_deviation():
    Y = Teacher().examples("test", 8192)[1]
    assert abs(Y.mean()) < 0.1
    assert abs(Y.std() - 1) < 0.05
    X, Y = Teacher(live=2).examples("train", 100)
    other = X.copy()
    other[:, 2:] = 0
    teacher = Teacher(live=2)
    np.testing.assert_array_equal(teacher._say(X), teacher._say(other))


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("digit", {}, "did you mean 'digits'"),
        ("teacher", {"live": 30}, "live must be n_x = 20 or less, got 30"),
        ("teacher", {"lives": 3}, "task teacher: .*lives"),
        ("flower", {"noise": -1}, "flower: noise"),
        ("data", {"target": "y"}, "give --data FILE and --target COLUMN"),
    ],
)
def test_what_is_no_task_is_an_error(name, options, says):
    with pytest.raises((DataError, UnknownNameError), match=says):
        get_task(name, options)


# -- one's own data -------------------------------------------------------------------------------


@pytest.fixture
def houses():
    rng = np.random.default_rng(0)
    size, age = rng.uniform(20, 200, 100), rng.integers(0, 80, 100)
    return {"size": size, "age": age, "price": 3 * size - age + 0.25, "good": size > 90}


def write_csv(path, columns):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return path


def write_npz(path, columns):
    np.savez(path, **columns)
    return path


def write_parquet(path, columns):
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path)
    return path


WRITERS = {"csv": write_csv, "npz": write_npz, "parquet": write_parquet}


@pytest.mark.parametrize("kind", WRITERS)
def test_values_of_a_file_are_scaled_over_the_training_part(tmp_path, houses, kind):
    del houses["good"]
    task = Table(WRITERS[kind](tmp_path / f"houses.{kind}", houses), "price")
    X, Y = task.examples("train", 60)
    assert (task.metric, task.n_x, task.n_y, task.most) == (SQUARED_ERROR, 2, 1, 60)
    np.testing.assert_allclose(X.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose([*X.std(0), Y.std()], 1, rtol=1e-5)
    assert [len(task.examples(part, 4096)[1]) for part in PARTS] == [60, 20, 20]
    rows = np.concatenate([task.examples(part, 100)[0] for part in PARTS])
    assert len(np.unique(rows, axis=0)) == 100


@pytest.mark.parametrize("kind", WRITERS)
def test_text_whole_numbers_and_booleans_are_classes(tmp_path, houses, kind):
    houses["name"] = np.where(houses.pop("good"), "large", "small")
    task = Table(WRITERS[kind](tmp_path / f"houses.{kind}", houses), "name")
    assert (task.metric, task.n_x, task.n_y) == (ERROR_RATE, 3, 2)
    assert set(task.examples("train", 60)[1]) == {0, 1}
    assert 0.2 < task.chance < 0.5


def test_an_npz_may_hold_images(tmp_path):
    rng = np.random.default_rng(0)
    file = write_npz(
        tmp_path / "a.npz",
        {"X": rng.random((60, 4, 4)), "y": rng.integers(3, size=60), "other": np.ones(7)},
    )
    assert Table(file, "y").n_x == 16


def test_a_file_that_changes_is_an_error(tmp_path, houses):
    path = write_csv(tmp_path / "a.csv", houses)
    options = dict(Table(path, "price").options)
    Table(path, **options)
    write_csv(path, {**houses, "age": houses["age"] + 1})
    with pytest.raises(DataError, match="has changed"):
        Table(path, **options)


@pytest.mark.parametrize(
    ("change", "target", "says"),
    [
        ({}, "prize", "unknown target 'prize'; did you mean 'price'"),
        ({"age": ["x"] * 100}, "price", "age: wanted numbers"),
        ({"age": ["", *["1"] * 99]}, "price", "age: wanted finite numbers, got .*nan.* in row 1"),
        ({"price": ["", *["1"] * 99]}, "price", "price: wanted finite numbers"),
        ({"price": ["1"] * 100}, "price", "price: wanted two classes or more"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path, houses, change, target, says):
    path = write_csv(tmp_path / "a.csv", houses | change)
    with pytest.raises(DataError, match=says) as error:
        Table(path, target)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.csv", None, "cannot be read: No such file"),
        ("a.txt", b"x,y\n", "wanted a file that ends in .npz, .csv, .parquet"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"x,y\n1,2\n1\n", "row 2: wanted 2 columns"),
        ("a.csv", b"\xff\xfe", "not a .csv file"),
        ("a.csv", b"x,y\n1,2\n", "wanted 50 rows or more, got 1"),
        ("a.npz", b"PK\x03\x04cut", "not a whole .npz file"),
        ("a.parquet", b"PAR1cut", "not a whole .parquet file"),
    ],
    ids=range(8),
)
def test_files_that_cannot_be_used_are_named(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=says) as error:
        Table(path, "y")
    assert str(path) in str(error.value)
