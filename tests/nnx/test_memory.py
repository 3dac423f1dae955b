"""What a run needs is foreseen; an allocation that fails is undone; the error says what fits."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnx
from nnx.backends import engine
from nnx.backends.cpu import CpuBackend
from nnx.backends.host import Memory
from nnx.compiled import Program
from nnx.errors import NnxError, OutOfMemoryError
from nnx.memory import demand, readable, step_kind
from nnx.step import OptimizerState

RNG = np.random.default_rng(0)


def program_for(net: nnx.Network, m: int, optimizer: nnx.Optimizer, labels: bool = True) -> Program:
    state = OptimizerState(net, optimizer)
    return Program(
        net, m, engine.count_workers(), state.gradient, state.slots, optimizer.rule,
        labels=labels, weighted=False, gathered=True,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_formula_counts_what_a_compiled_step_allocates(data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 4))
    n = data.draw(st.lists(st.integers(1, 300), min_size=depth + 1, max_size=depth + 1))
    m = data.draw(st.sampled_from([1, 7, 64, 200, 1100, 5000]))
    hidden = data.draw(st.sampled_from(["relu", "gelu", "tanh"]))
    labels = data.draw(st.booleans())
    net = nnx.MLP([*n, 5], hidden, dtype=data.draw(st.sampled_from(["float32", "float64"])),
                  device="cpu")  # fmt: skip
    optimizer = data.draw(st.sampled_from([nnx.GradientDescent(), nnx.Adam()]))
    program = program_for(net, m, optimizer, labels)
    foreseen = demand(
        net, [m], kind="compiled", slots=len(optimizer.rule.slots), labels=labels, gathered=True
    )
    assert foreseen.workspace + foreseen.batch == program.bytes
    state = OptimizerState(net, optimizer)
    assert foreseen.parameters == net.theta.nbytes
    assert foreseen.gradient == state.gradient.flat.nbytes
    assert foreseen.state == sum(slot.nbytes for slot in state.slots.values())


@pytest.mark.parametrize("optimizer", [nnx.GradientDescent(), nnx.Adam()])
@pytest.mark.parametrize(
    "n", [[784, 512, 512, 10], [784, 64, 10], [784, 100, 100, 10], [100, 50, 50, 50, 10]]
)
@pytest.mark.parametrize("m", [64, 200, 400, 1024, 8192])
def test_a_step_holds_one_A_for_each_layer_and_little_else(
    n: list[int], m: int, optimizer: nnx.Optimizer
) -> None:
    """Parameters, gradients, optimizer state, one A per layer, the batch, and at most 10 % more."""
    net = nnx.MLP(n, device="cpu")
    need = demand(net, [m], kind="compiled", slots=len(optimizer.rule.slots), labels=True)
    A = 4 * m * sum(n[1:])
    batch = m * (4 * n[0] + 8)
    least = need.parameters + need.gradient + need.state + A + batch
    program, held = program_for(net, m, optimizer), need.total - need.undo
    assert held <= 1.1 * least
    assert need.workspace + need.batch == program.bytes


@pytest.mark.parametrize(
    ("hidden", "keep_prob", "output"),
    [("relu", 1.0, "softmax"), ("gelu", 1.0, "identity"), ("tanh", 0.8, "sigmoid")],
)
@pytest.mark.parametrize("m", [300, 3000])
def test_the_formula_bounds_what_the_primitives_allocate(
    hidden: str, keep_prob: float, output: str, m: int
) -> None:
    net = nnx.MLP([50, 200, 100, 10], hidden, output, keep_prob=keep_prob, device="cpu")
    X = np.asfortranarray(RNG.standard_normal((50, m)), np.float32)
    Y: Any = np.asfortranarray(RNG.integers(0, 2, (10, m)), np.float32)
    if output == "softmax":
        Y = RNG.integers(0, 10, m)
    need = demand(net, [m], kind="primitives", slots=2, labels=Y.ndim == 1, gathered=False)
    tracemalloc.start()
    step = nnx.TrainingStep(net, m, nnx.Adam(), compiled=False)
    step(X, Y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= need.gradient + need.state + need.workspace + (1 << 20)
    assert peak >= 0.5 * need.missing


def test_a_whole_run_stays_below_what_was_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    from nnx.settling import Settler

    settle = Settler.settle
    monkeypatch.setattr(Settler, "settle", lambda self: seen.append(settle(self)) or seen[-1])
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: None)
    X, Y = RNG.standard_normal((100, 20_000)), RNG.integers(0, 5, 20_000)
    for arguments in (
        {},
        {"batch_size": 6000, "block_size": 1000},
        {"data": "stream"},
        {"sample_weight": np.ones(20_000), "validation": 0.1},
    ):
        net = nnx.MLP([100, 256, 256, 5], device="cpu")
        net.fit(X[:, :300], Y[:300], epochs=1)  # Numba is loaded
        tracemalloc.start()
        net.fit(X, Y, epochs=1, **arguments)  # type: ignore[arg-type]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= seen[-1].demand.missing + (12 << 20), arguments
        assert peak >= 0.5 * seen[-1].demand.missing, arguments


def free_is(monkeypatch: pytest.MonkeyPatch, free: int | None) -> None:
    monkeypatch.setattr(CpuBackend, "memory", lambda self: Memory(0, free, 1 << 40, None))


def big(**changes: Any) -> tuple[nnx.Network, Any, Any]:
    net = nnx.MLP([20, 400, 400, 3], device="cpu", **changes)
    return net, np.asfortranarray(RNG.standard_normal((20, 4096)), np.float32), np.arange(4096) % 3


@pytest.mark.parametrize("compiled", [None, False])
def test_what_cannot_fit_is_refused_before_the_first_step(
    compiled: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: compiled)
    net, X, Y = big()
    before = net.theta.copy()
    # Compiled, large batches need no more than one of a thousand examples.
    free = 6 * net.theta.nbytes + (2 << 20) if compiled is False else 6 * net.theta.nbytes
    free_is(monkeypatch, free)
    with pytest.raises(OutOfMemoryError, match="more on cpu") as caught:
        net.fit(X, Y, batch_size=4096, epochs=1)
    error = caught.value
    assert isinstance(error, NnxError)
    assert isinstance(error, MemoryError)
    assert error.free == free
    assert error.needed > free
    assert error.batch_size is not None
    text = str(error)
    assert "training in batches of 4096 examples needs" in text
    assert f"{readable(free)} are free; batch_size={error.batch_size} would fit" in text
    assert "block_size=" in text
    np.testing.assert_array_equal(net.theta, before)
    # What it advises does fit, and four times as much does not.
    net.fit(X, Y, batch_size=error.batch_size, epochs=1)
    with pytest.raises(OutOfMemoryError) as again:
        net.fit(X, Y, batch_size=4 * error.batch_size, epochs=1)
    assert again.value.batch_size == error.batch_size


def test_automatic_sizes_are_halved_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: False)
    net, X, Y = big()
    free = 7 * net.theta.nbytes + (1 << 20)
    free_is(monkeypatch, free)
    X, Y = np.tile(X, 10), np.tile(Y, 10)
    with pytest.raises(OutOfMemoryError):
        net.copy().fit(X, Y, batch_size=512, epochs=1)
    history = net.copy().fit(X, Y, batch_size="auto", epochs=1)
    size = history.chosen["batch_size"]
    assert size < 512
    assert 512 % size == 0
    assert history.chosen["data"] == "stream"
    history = net.copy().fit(X, Y, batch_size=4096, block_size="auto", epochs=1)
    assert history.chosen["batch_size"] == 4096
    assert history.chosen["block_size"] < 512
    whole = net.copy()
    free_is(monkeypatch, 1 << 40)
    assert whole.fit(X, Y, batch_size=4096, epochs=1)["cost"] == pytest.approx(
        history["cost"], rel=1e-5
    )


def test_no_size_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X, Y = big()
    free_is(monkeypatch, 1000)
    with pytest.raises(OutOfMemoryError, match="no smaller batch would fit") as caught:
        net.fit(X, Y)
    assert caught.value.batch_size is None
    with pytest.raises(OutOfMemoryError, match="data='stream' leaves the data on the host"):
        net.fit(X.astype(np.float64), Y, data="device", batch_size=8)


ORIGINAL = CpuBackend.update


def failing(at: int) -> Any:
    """The update, whose call number `at` finds no memory when it has done half of its work."""
    calls = 0

    def update(self: Any, rule: Any, theta: Any, gradient: Any, slots: Any, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            half = slice(theta.size // 2)
            parts = {name: slot[half] for name, slot in slots.items()}
            ORIGINAL(self, rule, theta[half], gradient[half], parts, *rest)
            raise MemoryError("Unable to allocate")
        ORIGINAL(self, rule, theta, gradient, slots, *rest)

    return update


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_first_epoch_that_finds_no_memory_is_undone(
    at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: False)
    net, X, Y = big(dtype="float64")
    earlier, before = net._run, net.theta.copy()
    monkeypatch.setattr(CpuBackend, "update", failing(at))
    with pytest.raises(OutOfMemoryError) as caught:
        net.fit(X, Y, epochs=2, batch_size=1500)
    monkeypatch.setattr(CpuBackend, "update", ORIGINAL)
    assert caught.value.__context__ is None  # nothing keeps the failed step's arrays
    assert str(caught.value).endswith("(the allocation that failed: Unable to allocate)")
    assert "batch_size=750 would fit" in str(caught.value)
    np.testing.assert_array_equal(net.theta, before)
    assert net._run is earlier
    # It goes as if nothing had been.
    twin = net.copy()
    assert net.fit(X, Y, epochs=2)["cost"] == twin.fit(X, Y, epochs=2)["cost"]


def test_going_on_after_a_failure_is_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnx.settling.worth_compiling", lambda *_: False)
    X, Y = RNG.standard_normal((4, 90)), RNG.integers(0, 3, 90)
    whole, broken = (nnx.MLP([4, 8, 3], device="cpu", dtype="float64") for _ in range(2))
    arguments: dict[str, Any] = {"batch_size": 30}
    whole_run = whole.fit(X, Y, epochs=6, **arguments)
    history = broken.fit(X, Y, epochs=2, **arguments)
    for at, epochs in ((2, 2), (3, 2), (5, 3)):
        # The last of these fails in its second epoch: what the first has reached is kept.
        monkeypatch.setattr(CpuBackend, "update", failing(at))
        with pytest.raises(OutOfMemoryError):
            broken.fit(X, Y, epochs=2, resume=True, **arguments)
        assert history.epochs == epochs
    assert history["cost"] == whole_run["cost"][:3]


def test_other_errors_pass_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X, Y = big()

    def broken(net: Any, history: Any) -> bool:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        net.fit(X, Y, epochs=1, callbacks=[broken])


def test_a_fraction_that_leaves_nothing() -> None:
    net, X, Y = big()
    for fraction in (0.9999, 0.0001):
        with pytest.raises(nnx.errors.DataError, match="leaves an empty part"):
            net.fit(X, Y, validation=fraction)


def test_where_memory_is_not_known_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X, Y = big()
    free_is(monkeypatch, None)
    assert net.fit(X, Y, epochs=1).chosen["data"] == "device"


def test_nothing_free_is_not_the_same_as_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    net, X, Y = big()
    free_is(monkeypatch, 0)
    with pytest.raises(OutOfMemoryError, match="0 bytes are free"):
        net.fit(X, Y, epochs=1)


def test_kinds_of_steps() -> None:
    net = nnx.MLP([2, 3, 2], device="cpu")
    assert step_kind(net) == "compiled"
    assert step_kind(net, False) == "primitives"
    assert readable(1000) == "1,000 bytes"
    assert readable(3 << 30) == "3.0 GiB"
