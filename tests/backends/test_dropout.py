"""Dropout's masks: SplitMix64 in plain Python, the same on every namespace, and unbiased."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from drawn import drawn
from nnx.backends import get_backend
from nnx.backends.reference.dropout import dropout, keep_mask, make_key, mix, threshold

few = drawn(30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
keys = st.integers(0, 2**64 - 1)
sizes = st.integers(1, 9)
keep_probs = st.sampled_from([0.1, 0.5, 0.8, 1.0])


@pytest.fixture(params=["cpu", "strict"], ids=["numpy", "strict"])
def xp(request):
    """The namespaces that the formulas run on."""
    return get_backend(request.param).xp


class SplitMix64:
    """Steele et al. (2014) as Vigna published it in C: state, then two multiply-xorshifts."""

    def __init__(self, state):
        self.state = state

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) % 2**64
        z = self.state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        return z ^ (z >> 31)


def python_mask(key, n, m, keep_prob):
    """Column after column, the stream of SplitMix64 with the key as its state."""
    stream = SplitMix64(key)
    mask = np.empty((n, m), dtype=bool)
    for j in range(m):
        for i in range(n):
            mask[i, j] = stream.next() >> 32 < keep_prob * 2**32
    return mask


def mask_of(xp, key, n, m, keep_prob):
    return np.from_dlpack(keep_mask(xp, key, n, m, keep_prob, None))


def test_the_plain_python_generator_gives_the_published_numbers():
    stream = SplitMix64(1234567)
    assert [stream.next() for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@given(state=keys)
@few
def test_mix_is_the_output_of_splitmix64(state):
    assert mix((state + 0x9E3779B97F4A7C15) % 2**64) == SplitMix64(state).next()


@few
@given(key=keys, n=sizes, m=sizes, keep_prob=keep_probs)
def test_mask_is_the_stream_of_splitmix64(xp, key, n, m, keep_prob):
    mask = mask_of(xp, key, n, m, keep_prob)
    assert mask.dtype == bool
    assert_array_equal(mask, python_mask(key, n, m, keep_prob))


def test_mask_of_a_known_key(xp):
    """The first numbers of state 1234567, as fractions: 0.35, 0.17, 0.53, 0.25, 0.89, ..."""
    mask = mask_of(xp, 1234567, 5, 1, 0.5)
    assert mask[:, 0].tolist() == [True, True, False, True, False]
    assert mask_of(xp, 1234567, 1, 5, 0.3)[0].tolist() == [False, True, False, True, False]


def test_mask_is_counted_example_by_example(xp):
    whole = mask_of(xp, 77, 3, 40, 0.5)
    assert_array_equal(mask_of(xp, 77, 3, 7, 0.5), whole[:, :7])
    assert_array_equal(mask_of(xp, 77, 1, 120, 0.5)[0], whole.T.reshape(-1))


@pytest.mark.parametrize("keep_prob", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_kept_fraction(keep_prob, seed):
    n, m = 250, 400
    kept = np.count_nonzero(mask_of(np, make_key(seed, 1, 1), n, m, keep_prob))
    sigma = math.sqrt(n * m * keep_prob * (1 - keep_prob))
    assert abs(kept - n * m * keep_prob) < 4 * sigma


def test_every_row_and_column_keeps_its_share():
    n, m = 300, 400
    mask = mask_of(np, make_key(5, 1, 2), n, m, 0.5)
    # 5 sigma over 700 sums: one in a few thousand keys would fail, and this key is fixed.
    assert np.all(np.abs(mask.sum(axis=0) - n / 2) < 5 * math.sqrt(n) / 2)
    assert np.all(np.abs(mask.sum(axis=1) - m / 2) < 5 * math.sqrt(m) / 2)


def test_threshold():
    assert threshold(1.0) == 2**32
    assert threshold(0.5) == 2**31
    assert threshold(2**-32) == 1


def test_expectation_of_dropout_is_its_input():
    A = np.array([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    keep_prob, runs = 0.8, 4000
    mean = np.zeros_like(A)
    for t in range(runs):
        mean += dropout(np, A, make_key(3, t, 1), keep_prob) / runs
    sigma = np.abs(A) * math.sqrt((1 - keep_prob) / keep_prob / runs)
    assert np.all(np.abs(mean - A) < 4 * sigma)
    assert not np.array_equal(mean, A)


@pytest.mark.parametrize("other", [(10, 3, 1), (9, 4, 1), (9, 3, 2), (9, 1, 3), (3, 9, 1)], ids=str)
def test_masks_of_other_seeds_steps_and_layers_are_independent(other):
    n, m = 200, 200
    first = mask_of(np, make_key(9, 3, 1), n, m, 0.5)
    second = mask_of(np, make_key(*other), n, m, 0.5)
    # Agreement of independent masks is binomial; so it is when one is shifted against the other.
    for shift in (0, 1, n):
        agree = np.count_nonzero(first.T.reshape(-1) == np.roll(second.T.reshape(-1), shift))
        assert abs(agree - n * m / 2) < 4.5 * math.sqrt(n * m) / 2


def test_keys_of_near_seeds_steps_and_layers_are_all_different():
    made = {make_key(s, t, layer) for s in range(12) for t in range(12) for layer in range(12)}
    assert len(made) == 12**3
    assert all(0 <= key < 2**64 for key in made)
    # About half of the bits differ between neighbours.
    flips = [(make_key(0, t, 1) ^ make_key(0, t + 1, 1)).bit_count() for t in range(500)]
    assert abs(np.mean(flips) - 32) < 4 * 4 / math.sqrt(500)


@few
@given(
    key=keys,
    n=sizes,
    m=sizes,
    keep_prob=keep_probs,
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 99),
)
def test_dropout_on_every_device(device, key, n, m, keep_prob, dtype, seed):
    backend = get_backend(device)
    values = np.random.default_rng(seed).normal(size=(n, m)).astype(dtype)
    A = backend.asarray(values)
    result = backend.dropout(A, key, keep_prob)
    assert result.dtype == backend.dtype(dtype)
    want = np.where(python_mask(key, n, m, keep_prob), values / keep_prob, 0)
    assert_allclose(backend.to_numpy(result), want, rtol=2 * np.finfo(dtype).eps)
    assert_array_equal(backend.to_numpy(A), values)


def test_dropout_into_its_own_input(device):
    backend = get_backend(device)
    values = np.asfortranarray(np.arange(1.0, 13).reshape(3, 4))
    A = backend.asarray(values, copy=True)
    assert backend.dropout(A, 42, 0.5, out=A) is A
    assert_array_equal(backend.to_numpy(A), values * python_mask(42, 3, 4, 0.5) * 2)


def test_keep_prob_of_one_keeps_all(device):
    backend = get_backend(device)
    values = np.arange(1.0, 13).reshape(3, 4)
    result = backend.dropout(backend.asarray(values), 42, 1.0)
    assert_array_equal(backend.to_numpy(result), values)
