"""Bad input: a clear error that names what was wrong and what would be right, and nothing lost."""

import copy
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.backends.cuda import why_unusable
from nnx.errors import DataError, DTypeError, ShapeError, UnknownNameError

X = np.random.default_rng(0).standard_normal((4, 6))
LABELS = np.array([0, 1, 2, 0, 1, 2])


def classifier(device: str = "cpu", **settings: Any) -> nnx.Network:
    return nnx.MLP([4, 5, 3], device=device, **settings)


def with_value(value: float, place: tuple[int, int] = (1, 2)) -> Any:
    array = X.copy()
    array[place] = value
    return array


BAD_X: list[tuple[Any, type[Exception], str]] = [
    (X.T, ShapeError, r"X = A\[0\] must be of shape \(4, m\); got \(6, 4\); .*pass X.T"),
    (X[:3], ShapeError, r"must be of shape \(4, m\); got \(3, 6\)$"),
    (X[:, 0], ShapeError, r"got \(4,\); one example is one column, so pass X\[:, None\]"),
    (X[:, :0], DataError, r"X is empty: its shape is \(4, 0\), and m must be 1 or more"),
    (with_value(np.nan), DataError, r"X contains NaN, first in example \(column\) 2"),
    (with_value(-np.inf, (0, 5)), DataError, r"X contains infinity, first in example \(column\) 5"),
    (np.full((4, 2), "a"), DTypeError, "wanted real numbers, got an array of dtype <U1"),
    (X * 1j, DTypeError, "wanted real numbers, got an array of dtype complex128"),
    ([[1, 2], [3]], DTypeError, "not a rectangular array of numbers"),
    (None, DTypeError, "wanted real numbers"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_X)
@pytest.mark.parametrize("method", ["forward", "predict", "predict_proba", "score", "fit"])
def test_bad_X(device: str, method: str, bad: Any, error: type[Exception], message: str) -> None:
    net = classifier(device)
    before = net.backend.to_numpy(net.theta).copy()
    arguments = (bad, LABELS) if method in ("score", "fit") else (bad,)
    with pytest.raises(error, match=message):
        getattr(net, method)(*arguments)
    np.testing.assert_array_equal(net.backend.to_numpy(net.theta), before)


def test_the_search_for_NaN_can_be_left_out() -> None:
    A_L, _ = classifier().forward(with_value(np.nan), check=False)
    assert np.isnan(A_L[:, 2]).all()
    assert np.isfinite(np.delete(A_L, 2, axis=1)).all()


BAD_LABELS: list[tuple[Any, type[Exception], str]] = [
    (
        LABELS + 1,
        DataError,
        "label 3 in Y is out of range: .* n_y = 3 units, so labels go from 0 to 2",
    ),
    (LABELS - 1, DataError, "label -1 in Y is out of range"),
    (LABELS + 0.5, DataError, "labels in Y must be whole numbers"),
    (LABELS * np.nan, DataError, "Y contains NaN"),
    (LABELS[:5], ShapeError, r"Y must be of shape \(6,\) with labels from 0 to 2, or \(3, 6\)"),
    (np.eye(3)[LABELS], ShapeError, r"got \(6, 3\); one example is one column, so pass Y.T"),
    (np.ones((3, 6)), DataError, "each column of Y must sum to one .* off by 2"),
    (np.array(list("abcabc")), DTypeError, "wanted real numbers"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_LABELS)
def test_bad_labels(device: str, bad: Any, error: type[Exception], message: str) -> None:
    net = classifier(device)
    A_L, caches = net.forward(X)
    for call in (
        lambda: net.fit(X, bad),
        lambda: net.score(X, bad),
        lambda: net.cost(A_L, bad),
        lambda: net.backward(bad, caches),
        lambda: nnx.gradient_check(net, X, bad),
        lambda: net.fit(X, LABELS, validation=(X, bad)),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize(
    ("output", "bad", "message"),
    [
        (
            "sigmoid",
            [0, 1, 2, 0, 1, 2],
            r"binary_cross_entropy needs targets in \[0, 1\]; Y contains 2",
        ),
        ("sigmoid", [0, -1, 0, 0, 1, 1], r"Y contains -1"),
        (
            "identity",
            [0, np.inf, 0, 0, 1, 1],
            r"Y contains infinity, first in example \(column\) 1",
        ),
        ("identity", np.zeros((2, 6)), r"Y must be of shape \(1, 6\) or \(6,\); got \(2, 6\)"),
    ],
)
def test_bad_values(output: str, bad: Any, message: str) -> None:
    with pytest.raises(nnx.NnxError, match=message):
        nnx.MLP([4, 2, 1], output=output, device="cpu").fit(X, bad)


def test_forms_of_targets_that_mean_the_same(device: str) -> None:
    net = classifier(device)
    A_L, _ = net.forward(X)
    one_hot = np.eye(3)[:, LABELS]
    forms = (LABELS, LABELS.tolist(), LABELS.astype(np.int8), LABELS.astype(float), LABELS[None])
    costs = {net.cost(A_L, Y) for Y in forms}
    assert len(costs) == 1
    assert net.cost(A_L, one_hot) == pytest.approx(costs.pop(), rel=1e-6)
    binary = nnx.LogisticRegression(4, device=device)
    answers = LABELS > 0
    A_L, _ = binary.forward(X)
    assert binary.cost(A_L, answers) == binary.cost(A_L, answers[None].astype(int))


BAD_SETTINGS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"epochs": 0}, DataError, "epochs must be a whole number of at least 1, got 0"),
    ({"epochs": 1.5}, DataError, "epochs must be a whole number"),
    (
        {"batch_size": 0},
        DataError,
        r"batch_size \(a number, 'all' or 'auto'\) must be a whole number",
    ),
    ({"batch_size": "half"}, DataError, "batch_size .* got 'half'"),
    ({"optimizer": "adamm"}, UnknownNameError, "unknown optimizer 'adamm'; did you mean 'adam'"),
    ({"optimizer": 0.1}, DTypeError, "optimizer must be a name or an nnx.Optimizer, got 0.1"),
    ({"validation": 1.5}, DataError, r"validation must be \(X_val, Y_val\) or a fraction"),
    ({"validation": 0.01}, DataError, "validation=0.01 of m = 6 examples leaves an empty part"),
    ({"callbacks": [3]}, DataError, "a callback must be callable, got 3"),
    (
        {"sample_weight": np.ones(5)},
        ShapeError,
        r"sample_weight must be of shape \(6,\); got \(5,\)",
    ),
    ({"sample_weight": [-1, 1, 1, 1, 1, 1]}, DataError, "weights must not be negative"),
    ({"sample_weight": np.zeros(6)}, DataError, "weights must not be negative, and not all zero"),
    ({"sample_weight": [np.nan, 1, 1, 1, 1, 1]}, DataError, "sample_weight contains NaN"),
    ({"class_weight": {0: 1, 1: 1}}, DataError, "class_weight has no weight for class 2"),
    ({"resume": True}, DataError, "resume=True, but there is no earlier fit"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_SETTINGS)
def test_bad_settings_of_fit(bad: dict[str, Any], error: type[Exception], message: str) -> None:
    net = classifier()
    before = net.theta.copy()
    with pytest.raises(error, match=message):
        net.fit(X, LABELS, **bad)
    np.testing.assert_array_equal(net.theta, before)


def test_class_weight_needs_classes() -> None:
    net = nnx.MLP([4, 2, 1], output="identity", device="cpu")
    with pytest.raises(DataError, match="mean_squared_error has none"):
        net.fit(X, LABELS, class_weight={0: 1.0})


BAD_NETWORKS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"layers": []}, DataError, "layers is empty"),
    (
        {"layers": [nnx.Dense(2), 3]},
        DataError,
        r"layers\[1\] must be an nnx.Layer such as Dense, got 3",
    ),
    ({"n_x": 0}, DataError, "n_x must be a whole number of at least 1"),
    ({"seed": -1}, DataError, "seed must be a whole number of at least 0, got -1"),
    ({"l2": -0.1}, DataError, "l2 must be a finite number of at least 0"),
    ({"l1": np.nan}, DataError, "l1 must be a finite number of at least 0"),
    ({"dtype": "float16"}, UnknownNameError, "unknown dtype 'float16'"),
    ({"dtype": np.int32}, UnknownNameError, "unknown dtype 'int32'"),
    ({"loss": "mse"}, UnknownNameError, "unknown loss 'mse'"),
    ({"loss": "binary_crossentropy"}, UnknownNameError, "did you mean 'binary_cross_entropy'"),
    ({"device": "cudaa"}, UnknownNameError, "unknown device 'cudaa'; did you mean 'cuda'"),
    (
        {"layers": [nnx.Dense(2, "tanh")], "loss": "binary_cross_entropy"},
        DataError,
        r"needs outputs in \[0, 1\], and tanh gives \[-1, 1\]; use 'sigmoid' for the output layer",
    ),
    ({"layers": [nnx.Dense(1, "softmax")]}, DataError, "softmax over one unit is always 1"),
    ({"layers": [nnx.Dense(2, keep_prob=0.5)]}, DataError, "output layer must keep all its units"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_NETWORKS)
def test_bad_networks(bad: dict[str, Any], error: type[Exception], message: str) -> None:
    good: dict[str, Any] = {"layers": [nnx.Dense(3, "softmax")], "n_x": 4, "device": "cpu"}
    nnx.Network(**copy.copy(good))
    with pytest.raises(error, match=message):
        nnx.Network(**{**good, **bad})


def test_bad_short_forms() -> None:
    with pytest.raises(DataError, match=r"n must be \[n_x, ..., n_y\], two numbers or more"):
        nnx.MLP([4])
    with pytest.raises(DataError, match="hidden has 1 activations for 2 hidden layers"):
        nnx.MLP([4, 3, 3, 2], ["relu"])


def test_bad_caches_and_outputs() -> None:
    net, other = classifier(), nnx.MLP([4, 5, 5, 3], device="cpu")
    for caches in ([], other.forward(X)[1], list(net.forward(X)[1])):
        with pytest.raises(DataError, match="caches must be the second result of this network's"):
            net.backward(LABELS, caches)
    with pytest.raises(ShapeError, match=r"A\[L\] must be of shape \(3, m\); got \(6, 3\)"):
        net.cost(net.forward(X)[0].T, LABELS)


def test_a_device_that_is_not_there() -> None:
    if why_unusable() is None:
        pytest.skip("there is a GPU here")
    with pytest.raises(nnx.errors.DeviceError, match=r"nnx-learn\[cuda1[23]\]|driver|GPU"):
        classifier("cuda")
