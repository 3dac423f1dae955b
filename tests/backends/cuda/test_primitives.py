"""Every primitive of the GPU backend against the reference, over shapes, dtypes, orders, values."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from drawn import drawn
from nnx.backends.cuda import launch
from nnx.backends.reference import dense, dropout, losses, updates
from nnx.backends.reference.activations import ACTIVATIONS, Elementwise, elu, leaky_relu

# Kernels, NumPy and the matrix products round and add in different orders.
TOLERANCE = {"float32": (2e-5, 2e-6), "float64": (1e-12, 1e-14)}  # relative, absolute
SPECIAL = (0.0, -0.0, 1e4, -1e4, 88.0, -88.0, 1e-30, np.nan, np.inf, -np.inf)
KINDS = {**ACTIVATIONS, "leaky_relu 0.3": leaky_relu(0.3), "elu 2": elu(2.0)}
KINDS["cube"] = Elementwise("cube", lambda xp, Z: Z * Z * Z, lambda xp, Z: 3 * Z * Z, "Z")

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NaN and infinity are drawn
few = drawn(30)
dtypes = st.sampled_from(["float32", "float64"])
sizes = st.integers(1, 9)
orders = st.sampled_from(["F", "F", "F", "C", "strided"])
activations = st.sampled_from(sorted(KINDS)).map(KINDS.__getitem__)
seeds = st.integers(0, 2**32 - 1)


def normal(seed, *shape, dtype):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def special(shape, dtype):
    """Ordinary values, in every second draw with extreme ones between them."""
    ordinary = st.floats(-30, 30, width=int(dtype[-2:]))
    extreme = st.sampled_from(SPECIAL).map(lambda x: float(np.asarray(x, dtype)))
    return arrays(dtype, shape, elements=ordinary) | arrays(
        dtype, shape, elements=ordinary | extreme
    )


def upload(backend, x, order="F"):
    """x on the device, in this memory order."""
    if order != "strided":
        return backend.asarray(np.asarray(x, order=order))
    wide = np.repeat(np.repeat(x, 2, axis=0), 2, axis=1) if x.ndim == 2 else np.repeat(x, 2)
    return backend.asarray(wide)[(slice(None, None, 2),) * x.ndim]


def check(backend, found, expected, factor=1, scale=1):
    """The array is on the device and holds what the reference says, in its dtype and shape.

    The tolerances are those of the dtype times `factor`, the absolute one also times `scale`, an
    array: the size of the terms that a formula subtracts. With factor 0 not a bit may differ.
    """
    assert backend.owns(found)
    found = backend.to_numpy(found)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    rtol, atol = (factor * x for x in TOLERANCE.get(expected.dtype.name, (0, 0)))
    scale = np.where(np.isfinite(scale), scale, 1)
    close = np.isclose(found, expected, rtol=rtol, atol=atol * scale, equal_nan=True)
    assert close.all(), f"{found[~close]} for {expected[~close]}"


@given(st.data(), dtypes, sizes, sizes, sizes, activations, orders, st.sampled_from("AZ-"), seeds)
@few
def test_dense_forward(backend, data, dtype, n, n_prev, m, g, order, given_, seed):
    W, A_prev = normal(seed, n, n_prev, dtype=dtype), normal(seed, n_prev, m, dtype=dtype)
    b = data.draw(special((n, 1), dtype), label="b")
    A, Z = dense.dense_forward(np, W, b, A_prev, g)
    out_A = backend.empty((n, m), dtype) if given_ != "-" else None
    out_Z = backend.empty((n, m), dtype) if given_ == "Z" else None
    args = (backend.asarray(W), backend.asarray(b), upload(backend, A_prev, order))
    found_A, found_Z = backend.dense_forward(*args, g, A=out_A, Z=out_Z)
    assert out_A is None or found_A is out_A
    assert found_Z is out_Z or out_Z is None
    assert (found_Z is None) == (given_ == "A")
    # Rounding of z moves every unit of a softmax; elsewhere it moves the unit's own activation.
    size = 1 + np.abs(np.where(np.isfinite(Z), Z, 0))
    size = size.max(axis=0, keepdims=True) if g.name == "softmax" else size
    check(backend, found_A, A, 10, size)
    assert found_A.flags.f_contiguous
    if found_Z is not None:
        check(backend, found_Z, Z, 10, size)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("outputs", [("A",), ("A", "Z"), ("Z",)])
def test_activation_of_extreme_values(backend, name, dtype, outputs):
    Z = np.array([*SPECIAL, 1e-3, -1e-3, 3.0, -3.0, 9.0, -9.0], dtype)
    shape = (Z.size, 1) if name == "softmax" else (1, Z.size)
    W, zero, one = (np.full((1, 1), x, dtype) for x in (1, 0, 1))
    if name == "softmax":  # each column is all there is, so the values come in through b
        W, zero, one = np.zeros((Z.size, 1), dtype), Z.reshape(shape), np.ones((1, 3), dtype)
        shape = (Z.size, 3)
    else:
        one = Z.reshape(shape)
    out = {x: backend.empty(shape, dtype) for x in outputs}
    args = (backend.asarray(x) for x in (W, zero, one))
    A, _ = backend.dense_forward(*args, KINDS[name], **out)
    expected, linear = dense.dense_forward(np, W, zero, one, KINDS[name])
    check(backend, A, expected)
    if "Z" in out:
        np.testing.assert_array_equal(backend.to_numpy(out["Z"]), linear)


@pytest.mark.parametrize("name", KINDS)
@given(st.data(), dtypes, sizes, sizes, orders, st.booleans())
@few
def test_activation_backward(backend, name, data, dtype, n, m, order, in_place):
    g = KINDS[name]
    dA = data.draw(special((n, m), dtype), label="dA")
    cache = data.draw(special((n, m), dtype), label="cache")
    expected = g.backward(np, dA, cache)
    device_dA, device_cache = upload(backend, dA, order), upload(backend, cache, order)
    out = device_dA if in_place else None
    found = backend.activation_backward(g, device_dA, device_cache, out=out)
    assert out is None or found is out
    size = 1 + np.abs(dA)
    if g.name == "softmax":
        size = (1 + np.abs(cache)) * (1 + np.abs(cache * dA).sum(axis=0, keepdims=True))
    check(backend, found, expected, 10, size)
    check(backend, device_cache, cache, 0)


@given(dtypes, sizes, sizes, sizes, activations, orders, st.booleans(), seeds)
@few
def test_dense_backward(backend, dtype, n, n_prev, m, g, order, with_out, seed):
    W, dZ = normal(seed, n, n_prev, dtype=dtype), normal(seed, n, m, dtype=dtype)
    cache = normal(seed + 1, n_prev, m, dtype=dtype)
    expected = dense.dense_backward(np, W, dZ, g, cache)
    out = backend.empty((n_prev, m), dtype) if with_out else None
    args = (backend.asarray(W), upload(backend, dZ, order), g, upload(backend, cache, order))
    found = backend.dense_backward(*args, out=out)
    assert out is None or found is out
    check(backend, found, expected, 100)


@given(dtypes, sizes, sizes, sizes, orders, st.booleans(), seeds)
@few
def test_weight_gradient(backend, dtype, n, n_prev, m, order, with_out, seed):
    dZ, A_prev = normal(seed, n, m, dtype=dtype), normal(seed + 1, n_prev, m, dtype=dtype)
    dW, db = dense.weight_gradient(np, dZ, A_prev)
    flat = backend.zeros((n * n_prev + n,), dtype)
    outs = {"dW": flat[: n * n_prev].reshape(n, n_prev), "db": flat[n * n_prev :].reshape(n, 1)}
    found = backend.weight_gradient(
        upload(backend, dZ, order), upload(backend, A_prev, order), **(outs if with_out else {})
    )
    for array, expected in zip(found, (dW, db), strict=True):
        check(backend, array, expected, 10)
    if with_out:
        assert found[0] is outs["dW"]
        assert found[1] is outs["db"]


LOSSES = [
    (losses.BinaryCrossEntropy(), "sigmoid"),
    (losses.BinaryCrossEntropy(0.1), "sigmoid"),
    (losses.BinaryCrossEntropy(), "identity"),
    (losses.CategoricalCrossEntropy(), "softmax"),
    (losses.CategoricalCrossEntropy(0.2), "softmax"),
    (losses.CategoricalCrossEntropy(), "sigmoid"),
    (losses.MeanSquaredError(), "identity"),
    (losses.MeanSquaredError(), "tanh"),
    (losses.MeanAbsoluteError(), "identity"),
    (losses.Huber(), "identity"),
    (losses.Poisson(), "exponential"),
]


@pytest.mark.parametrize("pair", LOSSES, ids=lambda pair: f"{pair[0].name}-{pair[1]}")
@given(st.data(), dtypes, sizes, sizes, orders, st.booleans(), seeds)
@few
def test_loss_with_gradient(backend, pair, data, dtype, n_y, m, order, weighted, seed):
    loss, g = pair[0], ACTIVATIONS[pair[1]]
    Z = data.draw(special((n_y, m), dtype), label="Z")
    A = g.forward(np, Z)
    rng = np.random.default_rng(seed)
    form = data.draw(st.sampled_from(["values", "int64", "int32"]), label="targets")
    if loss.target == "classes" and form != "values":
        Y = rng.integers(0, n_y, m).astype(form)
    else:
        Y = rng.random((n_y, m)).astype(dtype)
    weights = rng.random(m).astype(dtype) if weighted else None
    J, dZ = losses.loss_with_gradient(np, loss, g, Z, A, Y, weights)
    out = backend.empty((n_y, m), dtype) if data.draw(st.booleans(), label="out") else None
    arrays = [upload(backend, x, order) for x in (Z, A)]
    arrays += [upload(backend, Y, order if Y.ndim == 2 else "F")]
    arrays += [None if weights is None else backend.asarray(weights)]
    found_J, found_dZ = backend.loss_with_gradient(loss, g, *arrays, dZ=out)
    assert out is None or found_dZ is out
    check(backend, found_J, np.asarray(J), 10)
    check(backend, found_dZ, dZ)


RULES = [
    updates.GradientDescentRule(),
    updates.MomentumRule(),
    updates.MomentumRule(0.5, nesterov=True),
    updates.RMSpropRule(),
    updates.AdamRule(),
    updates.AdamRule(0.8, 0.9, 1e-6, weight_decay=0.1),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@given(dtypes, st.integers(1, 700), st.integers(1, 2), seeds)
@few
def test_update(backend, rule, dtype, size, stride, seed):
    theta = normal(seed, size, dtype=dtype)
    slots = {name: np.zeros_like(theta) for name in rule.slots}
    device_theta = backend.asarray(np.repeat(theta, stride))[::stride]
    device_slots = {name: backend.asarray(x) for name, x in slots.items()}
    for t in range(1, 4):
        g = normal(seed + t, size, dtype=dtype)
        rule.apply(np, theta, g, slots, 0.01, t)
        device_g = backend.asarray(g)
        assert backend.update(rule, device_theta, device_g, device_slots, 0.01, t) is None
        check(backend, device_g, g, 0)
    # The kernels round as the reference's lines do.
    check(backend, device_theta, theta, 0.01)
    for name, slot in slots.items():
        check(backend, device_slots[name], slot, 0.01)


@given(dtypes, sizes, sizes, st.integers(0, 20), orders, st.booleans(), seeds)
@few
def test_gather(backend, dtype, n, m, k, order, with_out, seed):
    X, index = normal(seed, n, m, dtype=dtype), np.random.default_rng(seed).integers(0, m, k)
    for x in (X, np.arange(m)):
        out = backend.empty((*x.shape[:-1], k), x.dtype.name) if with_out else None
        device_x = upload(backend, x, order)
        found = backend.gather(device_x, backend.asarray(index), out=out)
        assert out is None or found is out
        check(backend, found, x[..., index], 0)
        assert found.flags.f_contiguous


def test_gather_into_another_dtype(backend):
    X, out = backend.asarray(np.arange(6).reshape(2, 3)), backend.empty((2, 2))
    assert backend.gather(X, backend.asarray(np.array([2, 0])), out=out) is out
    check(backend, out, np.array([[2, 0], [5, 3]], np.float32))


@given(dtypes, sizes, sizes, orders, st.integers(0, 2**64 - 1), st.floats(0.01, 1), st.booleans())
@example("float32", 2, 3, "F", 2**64 - 1, 1.0, True)
@few
def test_dropout_is_the_reference_bit_for_bit(backend, dtype, n, m, order, key, keep, in_place):
    A = normal(key % 1000, n, m, dtype=dtype)
    device_A = upload(backend, A, order)
    out = device_A if in_place else None
    found = backend.dropout(device_A, key, keep, out=out)
    assert out is None or found is out
    check(backend, found, dropout.dropout(np, A, key, keep), 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_that_loop(backend, dtype, monkeypatch):
    """More elements than threads: each thread handles several, and its row moves on."""
    monkeypatch.setattr(launch, "BLOCK", 4)
    monkeypatch.setattr(launch, "_MAX_BLOCKS", 2)
    n, m = 7, 23
    W, A_prev, b = (normal(i, *s, dtype=dtype) for i, s in enumerate([(n, 3), (3, m), (n, 1)]))
    args = [backend.asarray(x) for x in (W, b, np.asfortranarray(A_prev))]
    for name in ("tanh", "softmax"):
        g = ACTIVATIONS[name]
        A, Z = dense.dense_forward(np, W, b, A_prev, g)
        found_A, found_Z = backend.dense_forward(*args, g)
        check(backend, found_A, A, 10)
        check(backend, found_Z, Z, 10)
        dZ = backend.activation_backward(g, found_Z, found_A)
        check(backend, dZ, g.backward(np, Z, A), 10)
    labels = np.arange(m) % n
    J, dZ = losses.loss_with_gradient(np, losses.CategoricalCrossEntropy(), g, Z, A, labels)
    found = backend.loss_with_gradient(
        losses.CategoricalCrossEntropy(), g, found_Z, found_A, backend.asarray(labels)
    )
    check(backend, found[0], np.asarray(J), 10)
    check(backend, found[1], dZ, 10)
    check(backend, backend.dropout(found_Z, 5, 0.5), dropout.dropout(np, Z, 5, 0.5), 10)


def test_dtypes_without_kernels_go_through_the_reference(backend):
    W, A_prev, b = (normal(i, *s, dtype="float32") for i, s in enumerate([(2, 3), (3, 4), (2, 1)]))
    g = ACTIVATIONS["tanh"]
    mixed = backend.dense_forward(
        backend.asarray(W), backend.asarray(b), backend.asarray(A_prev, "float64"), g
    )[0]
    check(backend, mixed, dense.dense_forward(np, W, b, A_prev.astype(float), g)[0], 1e6)
    half = backend.asarray(W, "float16")
    theta = backend.asarray(W, "float16")
    backend.update(updates.GradientDescentRule(), theta, half, {}, 0.5, 1)
    np.testing.assert_allclose(backend.to_numpy(theta), W.astype("float16") / 2, rtol=1e-3)
    dW, _ = backend.weight_gradient(half, half)
    assert dW.dtype == np.float16
