"""Assigning to `net.parameters`: what goes into theta, and what is refused and changes nothing."""

import copy
import pickle
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.errors import DataError, DTypeError, ShapeError, UnknownNameError

RNG = np.random.default_rng(0)


def host(net: nnx.Network, x: Any) -> Any:
    return np.array(net.backend.to_numpy(x))


def network(device: str = "cpu", dtype: str = "float32") -> nnx.Network:
    return nnx.MLP([3, 4, 1], "tanh", "sigmoid", device=device, dtype=dtype)


def test_an_assigned_array_is_copied_into_theta(device: str) -> None:
    net = network(device)
    view, W1 = net.parameters["W1"], RNG.standard_normal((4, 3))
    net.parameters["W1"] = W1
    assert net.parameters["W1"] is view
    np.testing.assert_array_equal(host(net, view), W1.astype(np.float32))
    np.testing.assert_array_equal(host(net, net.theta)[:12], W1.astype(np.float32).ravel())
    W1[...] = 7  # a copy: what happens to the original later changes nothing
    assert not np.any(host(net, view) == 7)
    net.parameters["W1"][...] = net.backend.asarray(W1, "float32")
    assert np.all(host(net, view) == 7)


@pytest.mark.parametrize(
    "value",
    [[[1, 2, 3, 4]], ((1, 2, 3, 4),), np.array([[1, 2, 3, 4]], np.int8), np.eye(4)[:1] > 0],
    ids=["list", "tuple", "integers", "booleans"],
)
def test_real_numbers_of_any_kind_are_taken_in_the_dtype_of_the_network(
    value: Any, device: str
) -> None:
    net = network(device)
    net.parameters["W2"] = value
    assert net.parameters["W2"].dtype == net.theta.dtype
    np.testing.assert_array_equal(host(net, net.parameters["W2"]), np.asarray(value))


def test_arrays_of_other_libraries_are_taken() -> None:
    xp = pytest.importorskip("array_api_strict")
    net = network()
    net.parameters["b1"] = xp.asarray([[1.0], [2.0], [3.0], [4.0]])
    assert net.parameters["b1"].ravel().tolist() == [1, 2, 3, 4]


def test_it_is_predicted_and_trained_with(device: str) -> None:
    """Also where a compiled program has seen the network with other weights."""
    net, other = network(device), nnx.MLP([3, 4, 1], "tanh", "sigmoid", device=device, seed=1)
    X, Y = RNG.standard_normal((3, 40)), RNG.integers(0, 2, 40)
    net.predict_proba(X)
    net.fit(X, Y, epochs=1)
    net.parameters = other.parameters
    np.testing.assert_array_equal(host(net, net.theta), host(net, other.theta))
    np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(X))
    costs = [each.fit(X, Y, epochs=3, shuffle=False)["cost"] for each in (net, other)]
    assert costs[0] == costs[1]
    assert not np.shares_memory(host(net, net.theta), host(net, other.theta))


def test_the_lecture_s_update_is_one_line(device: str) -> None:
    """`-=` writes into the view, and Python then assigns the view to its own name."""
    net = network(device, "float64")
    X, Y = RNG.standard_normal((3, 5)), [0, 1, 1, 0, 1]
    A2, caches = net.forward(X)
    J = net.cost(A2, Y)
    gradients = net.backward(Y, caches)
    wanted = host(net, net.parameters["W1"]) - 0.1 * host(net, gradients["dW1"])
    for name, gradient in gradients.items():
        net.parameters[name[1:]] -= 0.1 * gradient
    np.testing.assert_allclose(host(net, net.parameters["W1"]), wanted, rtol=1e-12)
    assert net.cost(net.forward(X)[0], Y) < J
    before = host(net, gradients["dW1"])
    gradients["dW1"] *= 2.0
    np.testing.assert_array_equal(host(net, gradients["dW1"]), 2 * before)


WRONG = {
    "transposed": (
        "W1",
        np.ones((3, 4)),
        ShapeError,
        r"^W1 must be of shape \(4, 3\); got \(3, 4\)",
    ),
    "transpose": ("W1", np.ones((3, 4)), ShapeError, r"; pass its transpose$"),
    "row": ("b1", np.ones(4), ShapeError, r"^b1 must .* \(4, 1\); got \(4,\); .*\[:, None\]$"),
    "number": ("W1", 3, ShapeError, r"^W1 must .*; got \(\); \[...\] = fills all of it"),
    "one row": ("W1", np.ones((1, 3)), ShapeError, r"got \(1, 3\)$"),
    "NaN": ("b1", [[0], [np.nan], [0], [0]], DataError, "^b1 contains NaN"),
    "infinity": ("b1", [[0], [-np.inf], [0], [0]], DataError, "^b1 contains infinity"),
    "too large": ("b1", [[0], [1e300], [0], [0]], DataError, "^b1 contains .* for float32"),
    "complex": ("b1", 1j * np.ones((4, 1)), DTypeError, "^b1: wanted real numbers.*complex128"),
    "text": ("b1", [["a"]] * 4, DTypeError, "^b1: wanted real numbers"),
    "ragged": ("W2", [[1, 2], [3]], DTypeError, "^W2: list is not a rectangular array"),
    "nothing": ("b1", None, DTypeError, "^b1: "),
    "unknown": ("W3", np.ones((4, 3)), UnknownNameError, r"'W3'.*\(known: W1, b1, W2, b2\)$"),
    "small": ("w1", np.ones((4, 3)), UnknownNameError, "did you mean 'W1'"),
    "no name": (1, np.ones((4, 3)), UnknownNameError, "unknown parameter 1"),
}


@pytest.mark.parametrize(("name", "value", "error", "message"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("way", ["item", "update", "all"])
def test_what_does_not_fit_is_an_error_and_changes_nothing(
    name: str, value: Any, error: type[Exception], message: str, way: str
) -> None:
    net = network()
    theta = net.theta.copy()
    good = {"W2": np.ones((1, 4)), "b2": [[5]]}
    with pytest.raises(error, match=message) as raised:  # noqa: PT012 - three ways to say it
        if way == "item":
            net.parameters[name] = value
        elif way == "update":
            net.parameters.update({**good, name: value})
        else:
            net.parameters = {**net.parameters.copy(), **good, name: value}
    assert isinstance(raised.value, nnx.NnxError)
    np.testing.assert_array_equal(net.theta, theta)


def test_an_unknown_name_is_a_key_error_too() -> None:
    parameters = network().parameters
    with pytest.raises(KeyError) as raised:
        parameters["W9"]
    assert str(raised.value) == "unknown parameter 'W9' (known: W1, b1, W2, b2)"
    assert parameters.get("W9") is None
    assert "W9" not in parameters


def test_names_cannot_be_deleted() -> None:
    net = network()
    with pytest.raises(DataError, match=r"W1 cannot be deleted.*\(W1, b1, W2, b2\)"):
        del net.parameters["W1"]
    with pytest.raises(UnknownNameError, match=r"'W9' \(known: W1, b1, W2, b2\)"):
        del net.parameters["W9"]
    assert list(net.parameters) == ["W1", "b1", "W2", "b2"]


def test_several_are_updated_at_once(device: str) -> None:
    net = nnx.MLP([2, 2, 2], "tanh", "identity", device=device)
    W1, W2 = host(net, net.parameters["W1"]), host(net, net.parameters["W2"])
    # Views of one another: each has to be read before the other is written.
    net.parameters.update({"W1": net.parameters["W2"]}, W2=net.parameters["W1"])
    np.testing.assert_array_equal(host(net, net.parameters["W1"]), W2)
    np.testing.assert_array_equal(host(net, net.parameters["W2"]), W1)
    net.parameters.update([("b1", [[1], [2]])])
    net.parameters |= {"b2": [[3], [4]]}
    assert host(net, net.parameters["b1"]).ravel().tolist() == [1, 2]
    assert host(net, net.parameters["b2"]).ravel().tolist() == [3, 4]
    net.parameters["W1"] = net.parameters["W1"].T
    np.testing.assert_array_equal(host(net, net.parameters["W1"]), W2.T)


def test_all_are_replaced_at_once() -> None:
    net, before = network(), network().parameters.copy()
    net.parameters = {name: np.full(array.shape, 2.0) for name, array in before.items()}
    assert all(np.all(view == 2) for view in net.parameters.values())
    net.parameters = before
    for name, array in before.items():
        np.testing.assert_array_equal(net.parameters[name], array)
        assert not np.shares_memory(net.parameters[name], array)
    with pytest.raises(DataError, match=r"^b1, b2 missing: .*update\(...\) changes"):
        net.parameters = {"W1": before["W1"], "W2": before["W2"]}
    for wrong in (None, 3, before["W1"]):
        with pytest.raises(DTypeError, match="from a mapping of names to arrays"):
            net.parameters = wrong  # type: ignore[assignment]


def test_it_is_a_mapping_and_reads_as_one() -> None:
    net = nnx.MLP([784, 128, 10], device="cpu")
    parameters = net.parameters
    assert isinstance(parameters, Mapping)
    assert not isinstance(parameters, MutableMapping)
    assert repr(parameters) == (
        "Parameters(W1 (128, 784), b1 (128, 1), W2 (10, 128), b2 (10, 1); float32 on cpu)"
    )
    gradients = net.backward([0, 1], net.forward(np.ones((784, 2)))[1])
    assert repr(gradients).startswith("Gradients(dW1 (128, 784), db1 (128, 1), ")
    assert isinstance(gradients, Mapping)
    assert len(parameters) == 4
    assert dict(parameters) == {**parameters} == dict(parameters.items())
    assert list(parameters.values()) == [parameters[name] for name in parameters]
    with pytest.raises(UnknownNameError, match="unknown gradient 'W1'"):
        gradients["W1"]


@pytest.mark.parametrize(
    "copied",
    [lambda p: p.copy(), copy.copy, copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))],
    ids=["copy", "copy.copy", "copy.deepcopy", "pickle"],
)
def test_a_copy_is_a_dict_of_arrays_of_its_own(
    copied: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> None:
    net = network()
    snapshot, theta = copied(net.parameters), net.theta.copy()
    assert type(snapshot) is dict
    net.theta[...] = 0
    assert np.any(snapshot["W1"])
    net.parameters = snapshot
    np.testing.assert_array_equal(net.theta, theta)


def test_copies_of_a_network_have_parameters_of_their_own() -> None:
    net = network()
    twin = net.copy()
    twin.parameters["W1"] = np.zeros((4, 3))
    assert np.any(net.parameters["W1"])
    assert copy.copy(net).parameters is net.parameters  # a shallow copy shares them, as before


def test_on_a_gpu_the_padding_stays_zero(gpu_backend: nnx.backends.Backend, may_wait: None) -> None:
    net = nnx.Network([nnx.Dense(5, "tanh"), nnx.Dense(1, "sigmoid")], n_x=3, device=gpu_backend)
    net.parameters["W1"] = np.ones((5, 3))
    net.parameters["W2"] = np.ones((1, 5))
    assert host(net, net.theta).sum() == 20
    with pytest.raises(DataError, match="b1 contains NaN"):
        net.parameters["b1"] = np.full((5, 1), np.nan)
