"""Steps of a GPU as graphs against the same steps through the primitives on the CPU.

Everything here runs on the host, where CuPy, the kernels and cuBLASLt are played (tests/support),
and what a capture forbids is an error; where it says nothing of the host, it runs on a GPU too.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nnx
from drawn import drawn
from nnx.backends import Backend
from nnx.backends.cuda.graph import Recording
from nnx.backends.cuda.step_kernels import first_scale
from nnx.backends.reference import sklearn_losses
from nnx.backends.reference.activations import Elementwise, elu, leaky_relu
from nnx.backends.reference.updates import AdamRule, GradientDescentRule
from nnx.errors import DataError, DTypeError, ShapeError, UnknownNameError
from nnx.graph_layout import Layout, step_bytes
from nnx.graph_program import GraphProgram
from nnx.memory import demand, step_kind
from nnx.step import OptimizerState, why_not_compiled

HIDDEN = [
    "identity", "sigmoid", "tanh", "relu", "relu", "relu", "leaky_relu", "elu", "selu", "gelu",
    "silu", "softplus", leaky_relu(0.3), elu(2.0),
]  # fmt: skip
OUTPUTS = [
    ("softmax", None),
    ("sigmoid", None),
    ("exponential", None),
    ("identity", "mean_squared_error"),
    ("tanh", "huber"),
    ("gelu", nnx.Huber(0.3)),
    ("relu", "mean_absolute_error"),
    ("sigmoid", "mean_squared_error"),
    ("softmax", nnx.CategoricalCrossEntropy(label_smoothing=0.2)),
    ("sigmoid", nnx.BinaryCrossEntropy(label_smoothing=0.2)),
    ("softmax", sklearn_losses.ClippedCategoricalCrossEntropy()),
    ("sigmoid", sklearn_losses.ClippedBinaryCrossEntropy()),
    ("identity", sklearn_losses.HalfSquaredError()),
    ("exponential", sklearn_losses.PoissonDeviance()),
]
OPTIMIZERS = [
    nnx.GradientDescent(0.01),
    nnx.Momentum(0.01),
    nnx.Nesterov(0.01),
    nnx.RMSprop(0.001),
    nnx.Adam(0.01),
    nnx.AdamW(0.01, weight_decay=0.1),
    nnx.GradientDescent(0.01, clip_norm=0.05),
    nnx.Adam(0.01, clip_norm=0.5),
    nnx.Optimizer(AdamRule(epsilon=0.1, epsilon_hat=True), 0.01),
]
EPILOGUES = ["BIAS", "RELU_AUX_BIAS", "GELU_AUX_BIAS", "DRELU", "DRELU_BGRAD", "DGELU",
             "DGELU_BGRAD", "BGRADB"]  # fmt: skip


class Lookahead(GradientDescentRule):
    """A rule of one's own."""


def data_for(net: nnx.Network, count: int, labels: bool = True, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = np.asfortranarray(rng.standard_normal((net.n_x, count)), dtype=net.dtype)
    if net.loss.target == "classes":
        Y = rng.integers(0, net.n_y, count)
        return X, Y if labels else np.asfortranarray(np.eye(net.n_y, dtype=net.dtype)[:, Y])
    Y = rng.random((net.n_y, count)) < 0.5
    if net.loss.target == "values":
        Y = np.abs(rng.standard_normal((net.n_y, count)))
    return X, np.asfortranarray(Y, dtype=net.dtype)


def both(backend: Backend, *args: Any, **kwargs: Any) -> tuple[nnx.Network, nnx.Network]:
    """A network on the GPU, and its equal on the CPU in the master's precision."""
    net = nnx.MLP(*args, device=backend, **kwargs)
    return net, net.copy(device="cpu", precision=None)


def read(net: nnx.Network, x: Any) -> Any:
    return net.backend.to_numpy(x)


def scalar(net: nnx.Network, x: Any) -> float:
    return float(net.backend.to_numpy(x))


def check_parameters(net: nnx.Network, other: nnx.Network, tolerance: float) -> None:
    """Equal parameters, and zeros in all gaps of the flat vector."""
    scale = max(1.0, float(np.abs(other.theta).max()))
    for name, wanted in other.parameters.items():
        found = read(net, net.parameters[name])
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * scale, err_msg=name)
    total = sum(float(np.abs(read(net, view)).sum()) for view in net.parameters.values())
    assert np.abs(read(net, net.theta)).sum(dtype=np.float64) == pytest.approx(total, rel=1e-6)


def program_of(step: nnx.TrainingStep) -> GraphProgram:
    """The only program of a step."""
    assert step._graphs is not None
    (program,) = step._graphs._programs.values()
    return program


@pytest.fixture
def lt(host_backend: Backend) -> Iterator[Any]:
    """The host's cuBLASLt, with nothing chosen yet; everything is put back afterwards."""
    from host_gpu import HostLt

    api = HostLt()
    host_backend.use_cublaslt(api)  # type: ignore[attr-defined]
    yield api
    host_backend.use_cublaslt(HostLt())  # type: ignore[attr-defined]


def run_both(
    net: nnx.Network,
    other: nnx.Network,
    m: int,
    optimizer: nnx.Optimizer,
    rates: Any,
    *,
    labels: bool = True,
    weighted: bool = False,
    gathered: bool = False,
) -> tuple[float, float]:
    """The total cost of a run on the GPU, and through the CPU's primitives."""
    steps, backend = len(rates), net.backend
    X, Y = data_for(other, steps * m, labels)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.1, 2, steps * m).astype(net.dtype) if weighted else None
    order = rng.permutation(steps * m) if gathered else None
    step = nnx.TrainingStep(net, m, optimizer, compiled=True)
    found = step.run(
        backend.asarray(X),
        backend.asarray(Y),
        None if weights is None else backend.asarray(weights),
        rates,
        order=None if order is None else backend.asarray(order),
    )
    assert step.state.t == steps
    reference = nnx.TrainingStep(other, m, optimizer, compiled=False)
    wanted = reference.run(X, Y, weights, rates, order=order)
    return scalar(net, found), float(wanted)


@drawn(150)
@given(st.data())
def test_graph_steps_are_the_primitives_steps(gpu_backend: Backend, data: st.DataObject) -> None:
    depth = data.draw(st.integers(1, 4), label="L")
    n = data.draw(st.lists(st.integers(1, 40), min_size=depth, max_size=depth), label="n")
    hidden = data.draw(
        st.lists(st.sampled_from(HIDDEN), min_size=depth - 1, max_size=depth - 1), label="g"
    )
    output, loss = data.draw(st.sampled_from(OUTPUTS), label="output")
    n_y = data.draw(st.sampled_from([1, 3, 10, 150]), label="n_y")
    if output == "softmax":
        n_y = max(n_y, 2)
    m = data.draw(st.sampled_from([1, 2, 7, 64, 200]), label="m")
    net, other = both(
        gpu_backend,
        [*n, n_y],
        hidden,
        output,
        loss=loss,
        keep_prob=data.draw(st.sampled_from([1.0, 0.7]), label="keep_prob"),
        l2=data.draw(st.sampled_from([0.0, 0.3]), label="l2"),
        l1=data.draw(st.sampled_from([0.0, 0.1]), label="l1"),
        seed=data.draw(st.integers(0, 2**70), label="seed"),
        dtype="float64",
    )
    for each in (net, other):
        each.theta[...] *= 0.3  # an exponential output of larger numbers grows without bounds
        # Where all inputs of a unit are zero, a bias of zero would make Z exactly zero, and there
        # ReLU's derivative is as cuBLASLt has it.
        rng = np.random.default_rng(5)
        for number, count in enumerate(each.n[1:], 1):
            bias = 0.1 * rng.standard_normal((count, 1))
            each.parameters[f"b{number}"][...] = each.backend.asarray(bias)
    found, wanted = run_both(
        net,
        other,
        m,
        data.draw(st.sampled_from(OPTIMIZERS), label="optimizer"),
        np.array([0.01, 0.02, 0.005]),
        labels=data.draw(st.booleans(), label="labels"),
        weighted=data.draw(st.booleans(), label="weighted"),
        gathered=data.draw(st.booleans(), label="gathered"),
    )
    assert found == pytest.approx(wanted, rel=1e-10)
    check_parameters(net, other, 1e-10)


@drawn(40)
@given(st.data())
def test_kernels_stand_in_for_missing_epilogues(host_backend: Backend, data: st.DataObject) -> None:
    from host_gpu import HostLt

    missing = data.draw(st.sets(st.sampled_from(EPILOGUES), min_size=1), label="missing")
    api = HostLt()
    api.missing = lambda epilogue, kind: epilogue in missing
    host_backend.use_cublaslt(api)  # type: ignore[attr-defined]
    hidden = data.draw(st.lists(st.sampled_from(HIDDEN), min_size=2, max_size=2), label="g")
    keep_prob = data.draw(st.sampled_from([1.0, 0.6]), label="keep_prob")
    m = data.draw(st.sampled_from([3, 130, 300]), label="m")
    net, other = both(
        host_backend, [9, 40, 12, 3], hidden, keep_prob=keep_prob, dtype="float64", seed=3
    )
    found, wanted = run_both(net, other, m, nnx.Adam(0.01), np.full(3, 0.01))
    assert found == pytest.approx(wanted, rel=1e-10)
    check_parameters(net, other, 1e-10)
    assert not missing & {epilogue for epilogue, _ in api.used}


@pytest.mark.parametrize("hidden", ["relu", "gelu", "tanh", "silu", "identity"])
@pytest.mark.parametrize("gathered", [False, True])
def test_float32(gpu_backend: Backend, hidden: str, gathered: bool) -> None:
    net, other = both(gpu_backend, [20, 33, 16, 10], hidden, seed=2, keep_prob=0.8, l2=0.1)
    rates = np.full(40, 0.05)
    found, wanted = run_both(net, other, 50, nnx.Momentum(0.05), rates, gathered=gathered)
    assert found == pytest.approx(wanted, rel=1e-5)
    check_parameters(net, other, 2e-5)


@pytest.mark.parametrize(
    ("precision", "epsilon"), [("tf32", 2.0**-11), ("float16", 2.0**-11), ("bfloat16", 2.0**-8)]
)
@pytest.mark.parametrize("hidden", ["relu", "gelu", "sigmoid"])
@pytest.mark.parametrize("missing", [False, True])
def test_other_precisions_are_close(
    gpu_backend: Backend, precision: str, epsilon: float, hidden: str, missing: bool,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    if missing and request.node.callspec.params["gpu_backend"] == "gpu":
        pytest.skip("what a real cuBLASLt lacks cannot be chosen")
    if missing:
        api = request.getfixturevalue("lt")
        api.missing = lambda epilogue, kind: epilogue != "DEFAULT"
    net, other = both(gpu_backend, [30, 64, 20, 10], hidden, precision=precision, seed=2)
    X, Y = data_for(other, 200)
    step = nnx.TrainingStep(net, 200, nnx.Adam(0.01))
    J = step.gradients(gpu_backend.asarray(X), gpu_backend.asarray(Y))
    A_L, caches = other.forward(X)
    assert scalar(net, J) == pytest.approx(other.cost(A_L, Y, caches=caches), rel=5 * epsilon)
    # ReLU's derivative jumps: rounding moves a share of about epsilon of all Z over zero, and the
    # root of that share is what it does to the norm.
    allowed = 2 * epsilon**0.5 if hidden == "relu" else 10 * epsilon
    for name, wanted in other.backward(Y, caches).items():
        found = read(net, step.state.gradient.views[name])
        assert np.linalg.norm(found - wanted) < allowed * np.linalg.norm(wanted), name
    found, wanted = run_both(net, other, 100, nnx.Adam(0.01), np.full(10, 0.01), gathered=True)
    assert found == pytest.approx(wanted, rel=10 * epsilon)
    assert read(net, net.theta).dtype == np.float32


def test_a_fused_step_is_3L_plus_3_launches(host_backend: Backend, lt: Any) -> None:
    for L in (1, 2, 4):
        net = nnx.MLP([8] * L + [3], device=host_backend)
        X, Y = data_for(net, 32)
        step = nnx.TrainingStep(net, 16, nnx.Adam())
        step.run(host_backend.asarray(X), host_backend.asarray(Y), None, np.full(2, 0.1))
        program = program_of(step)
        names = [launch.name for launch in program.launches]
        assert len(names) == 3 * L + 3, names
        assert names[:2] == ["step_tick", "step_gather<float>"]
        many = program.recording.many
        for steps in (1, many):
            assert len(program.recording.graph(steps).nodes) == steps * (3 * L + 3)


def test_a_whole_batch_is_read_where_it_is(host_backend: Backend) -> None:
    net, other = both(host_backend, [8, 5, 3], dtype="float64")
    X, Y = data_for(net, 40)
    step = nnx.TrainingStep(net, 40, nnx.Adam(0.1))
    reference = nnx.TrainingStep(other, 40, nnx.Adam(0.1), compiled=False)
    x, y = host_backend.asarray(X), host_backend.asarray(Y)
    for _ in range(3):
        assert scalar(net, step(x, y)) == pytest.approx(float(reference(X, Y)), rel=1e-10)
    program = program_of(step)
    assert not any("gather" in launch.name for launch in program.launches)
    assert program.layout.work["A0"].size == 0


def test_alternating_slots_record_nothing_new(host_backend: Backend, monkeypatch: Any) -> None:
    captures, graph = set(), Recording.graph

    def recorded(self: Recording, steps: int) -> Any:
        captures.add((self, steps))
        return graph(self, steps)

    monkeypatch.setattr(Recording, "graph", recorded)
    net, other = both(host_backend, [16, 8, 3], dtype="float64")
    step = nnx.TrainingStep(net, 20, nnx.Adam(0.01))
    reference = nnx.TrainingStep(other, 20, nnx.Adam(0.01), compiled=False)
    slots = [host_backend.zeros((16, 20), "float64") for _ in range(2)]
    labels = [host_backend.asarray(np.zeros(20, np.int64)) for _ in range(2)]
    kept = []
    for number in range(8):
        X, Y = data_for(net, 20, seed=number)
        slots[number % 2][...] = X
        labels[number % 2][...] = Y
        J = step(slots[number % 2], labels[number % 2], learning_rate=0.01 * (1 + number))
        assert scalar(net, J) == pytest.approx(
            float(reference(X, Y, learning_rate=0.01 * (1 + number))), rel=1e-10
        )
        kept.append(len(captures))
    assert kept[3:] == [2] * 5
    # Ever new addresses share one more program, which copies.
    for number in range(4):
        X, Y = data_for(net, 20, seed=number)
        x = host_backend.asarray(X)
        kept.append(x)
        J = step(x, host_backend.asarray(Y))
        assert scalar(net, J) == pytest.approx(float(reference(X, Y)), rel=1e-10)
    assert len(captures) == 3
    check_parameters(net, other, 1e-10)


@pytest.mark.parametrize("precision", [None, "tf32", "bfloat16", "float16"])
def test_a_hundred_replays_are_a_hundred_launches_by_hand(
    gpu_backend: Backend, precision: str | None
) -> None:
    """Bit for bit: a graph is the same work, and no sum depends on the order of blocks."""
    nets = [
        nnx.MLP([20, 40, 10], device=gpu_backend, precision=precision, keep_prob=0.9, l2=0.1)
        for _ in range(2)
    ]
    X, Y = data_for(nets[0], 101 * 30)
    x, y, rates = gpu_backend.asarray(X), gpu_backend.asarray(Y), np.full(101, 0.01)
    costs = []
    for number, net in enumerate(nets):
        step = nnx.TrainingStep(net, 30, nnx.Adam())
        if number:
            step.run(x, y, None, np.empty(0))
            program = program_of(step)

            def by_hand(steps: int, program: GraphProgram = program) -> None:
                for _ in range(steps):
                    for launch in program.launches:
                        launch.run()

            program.recording.replay = by_hand  # type: ignore[method-assign]
        costs.append(scalar(net, step.run(x, y, None, rates)))
    assert costs[0] == costs[1]
    np.testing.assert_array_equal(*(read(net, net.theta) for net in nets))


def test_gradients_leave_the_parameters(gpu_backend: Backend) -> None:
    net, other = both(gpu_backend, [30, 20, 3], "tanh", l2=0.2, l1=0.1, dtype="float64")
    X, Y = data_for(net, 50)
    step = nnx.TrainingStep(net, 50, compiled=True)
    before = read(net, net.theta).copy()
    for _ in range(3):
        J = step.gradients(gpu_backend.asarray(X), gpu_backend.asarray(Y))
    np.testing.assert_array_equal(read(net, net.theta), before)
    assert step.state.t == 0
    A_L, caches = other.forward(X)
    assert scalar(net, J) == pytest.approx(other.cost(A_L, Y), rel=1e-12)
    for name, wanted in other.backward(Y, caches).items():
        found = read(net, step.state.gradient.views[name])
        np.testing.assert_allclose(found, wanted, rtol=1e-11, atol=1e-14)


def test_a_rule_of_ones_own_moves_along_the_graphs_gradient(gpu_backend: Backend) -> None:
    net, other = both(gpu_backend, [6, 5, 3], dtype="float64")
    optimizer = nnx.Optimizer(Lookahead(), 0.1)
    found, wanted = run_both(net, other, 20, optimizer, np.full(5, 0.1), gathered=True)
    assert found == pytest.approx(wanted, rel=1e-10)
    check_parameters(net, other, 1e-10)


@pytest.mark.usefixtures("may_wait")
@pytest.mark.parametrize("weighted", [False, True])
def test_whole_fits_agree(gpu_backend: Backend, weighted: bool) -> None:
    """Shuffled batches, the last one smaller, a falling rate, and going on later."""
    data = nnx.datasets.moons(230)
    weights = np.random.default_rng(0).uniform(0.1, 2, 230) if weighted else None

    def curve(device: str | Backend) -> Any:
        net = nnx.MLP(
            [2, 16, 16, 1], "relu", "sigmoid", keep_prob=0.9, dtype="float64", seed=4, device=device
        )
        optimizer = nnx.Adam(nnx.schedules.Cosine(0.01, epochs=6))
        options: dict[str, Any] = {"batch_size": 64, "sample_weight": weights}
        net.fit(data.X, data.Y, epochs=4, optimizer=optimizer, **options)
        return net.fit(data.X, data.Y, epochs=2, resume=True, **options)["cost"]

    np.testing.assert_allclose(curve(gpu_backend), curve("cpu"), rtol=1e-10)


def test_step_bytes_is_what_is_taken(host_backend: Backend, monkeypatch: Any, lt: Any) -> None:
    taken = []
    for name in ("empty", "zeros", "asarray"):
        make = getattr(type(host_backend), name)

        def counted(self: Any, *args: Any, _make: Any = make, **kwargs: Any) -> Any:
            array = _make(self, *args, **kwargs)
            taken.append(array.nbytes)
            return array

        monkeypatch.setattr(type(host_backend), name, counted)
    for precision, extra in ((None, 0), ("bfloat16", 0), ("float16", 16)):
        for hidden in ("relu", "gelu", "tanh"):
            net = nnx.MLP([20, 33, 10], hidden, device=host_backend, precision=precision)
            optimizer = nnx.Adam()
            host_backend.use_cublaslt(lt)  # type: ignore[attr-defined]
            wanted = step_bytes(net, 64, optimizer.rule)
            taken.clear()
            step = nnx.TrainingStep(net, 64, optimizer)
            assert step._graphs is not None
            with host_backend.active():
                step._graphs._memory(None)
            library = host_backend.graphs().workspace_bytes  # type: ignore[attr-defined]
            assert sum(taken) + library == wanted + extra


def test_the_workspace_holds_one_A_per_layer(host_backend: Backend) -> None:
    net = nnx.MLP([784, 512, 512, 10], device=host_backend)
    m = 4096
    activations = 4 * m * (784 + 512 + 512 + 16)
    assert Layout(net, m, copied=True).work_bytes < 1.05 * activations
    assert Layout(net, m, copied=False).work_bytes < 1.05 * (activations - 4 * m * 784)


def test_programs_of_one_run_share_their_memory(host_backend: Backend) -> None:
    net = nnx.MLP([4, 8, 3], device=host_backend, precision="bfloat16")
    state = OptimizerState(net, nnx.Adam())
    steps = [nnx.TrainingStep(net, m, nnx.Adam(), state=state) for m in (32, 5)]
    X, Y = (host_backend.asarray(x) for x in data_for(net, 32))
    for step in steps:
        step(X[:, : step.m], Y[: step.m])
    first, second = (program_of(step).memory for step in steps)
    assert first.work is second.work
    assert first.copy is second.copy
    assert first.ledger is not second.ledger
    assert state.t == 2


def test_memory_goes_with_the_step(host_backend: Backend) -> None:
    """At once: whoever frees memory for a smaller batch does not wait for the garbage collector."""
    import gc
    import weakref

    net = nnx.MLP([8, 8, 3], device=host_backend)
    X, Y = (host_backend.asarray(x) for x in data_for(net, 32 * 40))
    step = nnx.TrainingStep(net, 32)
    gc.disable()
    try:
        step.run(X, Y, None, np.full(40, 0.1))
        memory = program_of(step).memory
        work, ledger = weakref.ref(memory.work), weakref.ref(memory.ledger)
        del step, memory
        assert work() is None
        assert ledger() is None
    finally:
        gc.enable()


def test_it_runs_after_what_came_before_and_before_what_follows(host_backend: Backend) -> None:
    from host_gpu.streams import current_stream

    net = nnx.MLP([8, 8, 3], device=host_backend)
    X, Y = (host_backend.asarray(x) for x in data_for(net, 32))
    step = nnx.TrainingStep(net, 32)
    step(X, Y)
    mine, theirs = host_backend.graphs().stream, current_stream()  # type: ignore[attr-defined]
    assert mine.non_blocking
    mine.log.clear()
    theirs.log.clear()
    step(X, Y)
    assert mine.log[0] == ("wait", theirs)
    assert [entry for entry in theirs.log if entry[0] == "wait"] == [("wait", mine)]
    assert [entry for entry in mine.log if entry[0] == "graph"] == [("graph", 8)]


@pytest.mark.parametrize("hidden", ["relu", "tanh"])
@pytest.mark.parametrize("rule", [None, "own"])
def test_where_its_time_goes(gpu_backend: Backend, hidden: str, rule: str | None) -> None:
    net, other = both(gpu_backend, [8, 16, 8, 3], hidden, dtype="float64")
    optimizer = nnx.Optimizer(Lookahead(), 0.1) if rule else nnx.GradientDescent(0.1)
    X, Y = data_for(net, 32)
    step = nnx.TrainingStep(net, 32, optimizer)
    plan, seconds = step.profile(gpu_backend.asarray(X), gpu_backend.asarray(Y), 3)
    timed = {op.name.partition(" = ")[0] for op, s in zip(plan.operations, seconds, strict=True)
             if s > 0}  # fmt: skip
    assert {"Z[1]", "Z[2]", "Z[3]", "dW[1]", "dW[2]", "dW[3]", "dA[1]", "dA[2]"} <= timed
    if hidden == "tanh":  # ReLU's derivative may be part of a product
        assert "dZ[1]" in timed
    assert seconds[plan.loss] > 0
    reference = nnx.TrainingStep(other, 32, optimizer, compiled=False)
    for _ in range(3):
        reference(X, Y)
    check_parameters(net, other, 1e-10)


# -- choosing -------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    from host_gpu.streams import Clock

    return lambda cost: monkeypatch.setattr(Clock, "cost", staticmethod(cost))


def names_of(backend: Backend, hidden: str = "relu") -> list[str]:
    net = nnx.MLP([8, 16, 3], hidden, device=backend)
    X, Y = (backend.asarray(x) for x in data_for(net, 32))
    step = nnx.TrainingStep(net, 16)
    step.run(X, Y, None, np.full(2, 0.1))
    return [launch.name for launch in program_of(step).launches]


def test_what_is_faster_is_taken(host_backend: Backend, lt: Any, clock: Any) -> None:
    clock(lambda name: 0.1 if "RELU" in name or "BGRAD" in name else 0.01)
    names = names_of(host_backend)
    assert [name for name in names if name.startswith("product")] == ["product DEFAULT"] * 5
    assert names.count("step_bias_gradient<float>") == 2
    host_backend.use_cublaslt(lt)  # type: ignore[attr-defined]
    clock(lambda name: 0.01)
    assert len(names_of(host_backend)) == 9


def test_the_fastest_algorithm_is_taken_and_remembered(
    host_backend: Backend, lt: Any, clock: Any
) -> None:
    lt.algorithms = 5
    clock(lambda name: 0.001 if name.endswith(" 3") else 0.01)
    names_of(host_backend)
    program = len(lt.used)
    # What is proposed may change with the memory that is free, and what was chosen does not.
    lt.algorithms = 2
    names_of(host_backend)
    again = lt.used[program:]
    assert {number for _, number in again} == {3}
    assert len(again) == 2 * 5  # two steps, no more timing


def test_what_is_timed_is_a_graph(host_backend: Backend, lt: Any, monkeypatch: Any) -> None:
    """From Python, launches of short kernels would take longer than the kernels."""
    from host_gpu.streams import Clock, Stream

    submit = Stream.submit

    def launched_from_python(self: Any, name: str, work: Any) -> None:
        if not self.capturing:
            Clock.now += 1.0 if name.endswith(" 0") else 1.1
        submit(self, name, work)

    monkeypatch.setattr(Stream, "submit", launched_from_python)
    lt.algorithms = 2
    monkeypatch.setattr(
        Clock, "cost", staticmethod(lambda name: 0.001 if name.endswith(" 1") else 0.002)
    )
    names_of(host_backend)
    assert {number for _, number in lt.used[-5:]} == {1}


@pytest.mark.parametrize("what", ["unusable", "refuses"])
def test_proposals_that_do_not_run(host_backend: Backend, lt: Any, what: str) -> None:
    lt.algorithms = 4
    setattr(lt, what, lambda number: number in (0, 1, 3))
    names = names_of(host_backend)
    assert len(names) == 9
    assert {number for _, number in lt.used[-5:]} == {2}


def test_an_epilogue_of_which_no_proposal_runs(
    host_backend: Backend, lt: Any, monkeypatch: Any
) -> None:
    """Also a lone one, which nobody would have to time."""
    from host_gpu import HostLt

    matmul = HostLt.matmul

    def refuse(self: Any, handle: int, description: int, *rest: Any) -> None:
        if self._objects[description][7] != 1:  # any epilogue
            raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")
        matmul(self, handle, description, *rest)

    monkeypatch.setattr(HostLt, "matmul", refuse)
    names = names_of(host_backend)
    assert [name for name in names if name.startswith("product")] == ["product DEFAULT"] * 5


def test_a_lack_of_memory_is_not_for_ever(host_backend: Backend, lt: Any) -> None:
    """Neither for graphs at all nor for a product."""

    def fail() -> int:
        raise MemoryError("out of memory allocating 33,554,432 bytes")

    lt.create = fail
    net = nnx.MLP([8, 16, 3], device=host_backend)
    assert "out of memory" in str(why_not_compiled(net))
    del lt.create
    lt.matmul = lambda *_: fail()
    assert "out of memory" in str(why_not_compiled(net))
    del lt.matmul
    assert why_not_compiled(net) is None

    def short(*_: Any) -> None:
        raise RuntimeError("cudaErrorMemoryAllocation: out of memory")

    lt.matmul = short
    with pytest.raises(RuntimeError, match="out of memory"):
        names_of(host_backend)
    del lt.matmul
    assert len(names_of(host_backend)) == 9


@pytest.mark.parametrize("at_zero", [False, True])
def test_a_zero_is_treated_alike_by_all_alternatives(
    host_backend: Backend, lt: Any, clock: Any, at_zero: bool
) -> None:
    """Which one won the timing must not decide what a dead unit learns."""
    found = []
    for slow in ("RELU", "step_relu"):
        lt.mask_at_zero = at_zero
        host_backend.use_cublaslt(lt)  # type: ignore[attr-defined]
        clock(lambda name, slow=slow: 0.1 if slow in name else 0.001)
        net = nnx.MLP([8, 16, 3], device=host_backend, dtype="float64", seed=1)
        X, Y = data_for(net, 32)
        X[:, ::2] = 0  # with biases of zero, Z[1] of these examples is exactly zero
        step = nnx.TrainingStep(net, 32)
        step.gradients(host_backend.asarray(X), host_backend.asarray(Y))
        found.append(read(net, step.state.gradient.views["db1"]).copy())
        assert any("step_relu" in launch.name for launch in program_of(step).launches) == (
            slow == "RELU"
        )
    np.testing.assert_allclose(*found, rtol=1e-12)
    other = nnx.MLP([8, 16, 3], device="cpu", dtype="float64", seed=1)
    _, caches = other.forward(X)
    formula = np.allclose(found[0], other.backward(Y, caches)["db1"], rtol=1e-10)
    assert formula is not at_zero


def test_descriptions_are_given_back(host_backend: Backend, lt: Any) -> None:
    import gc

    names_of(host_backend)
    gc.collect()
    assert (lt.live("description"), lt.live("layout"), lt.live("preference")) == (0, 0, 0)


def test_without_even_a_plain_product(host_backend: Backend, lt: Any) -> None:
    lt.missing = lambda epilogue, kind: True
    net = nnx.MLP([8, 16, 3], device=host_backend)
    with pytest.raises(DataError, match=r"cuBLASLt does not multiply float32 .*no algo"):
        nnx.TrainingStep(net, 16, compiled=True)
    step = nnx.TrainingStep(net, 16)
    assert not step.compiled
    X, Y = (host_backend.asarray(x) for x in data_for(net, 16))
    assert np.isfinite(scalar(net, step(X, Y)))


def test_a_cublaslt_that_does_not_start(host_backend: Backend, lt: Any) -> None:
    def fail() -> int:
        raise RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED")

    lt.create = fail
    net = nnx.MLP([8, 3], device=host_backend)
    assert why_not_compiled(net) == "cuBLASLt does not start: CUBLAS_STATUS_NOT_INITIALIZED"


def test_without_a_product_that_a_layer_needs(host_backend: Backend, lt: Any) -> None:
    step = nnx.TrainingStep(nnx.MLP([8, 16, 3], device=host_backend), 16)
    lt.missing = lambda epilogue, kind: True
    X, Y = (host_backend.asarray(x) for x in data_for(step.model, 16))  # type: ignore[arg-type]
    with pytest.raises(nnx.errors.DeviceError, match=r"no algorithm .*compiled=False"):
        step(X, Y)


# -- float16's scale, and numbers that are not finite ---------------------------------------------


def scale_of(step: nnx.TrainingStep) -> tuple[float, int, int]:
    """The scale, the steps it has served, and how many were left out."""
    cells = read(step.model, step.state.shared.scale)  # type: ignore[arg-type]
    scale, clean, skipped, _ = cells.view(np.int32)
    return float(np.array(scale).view(np.float32)), int(clean), int(skipped)


def test_a_step_that_overflows_is_left_out(gpu_backend: Backend) -> None:
    net, other = both(gpu_backend, [8, 16, 3], precision="float16", seed=1)
    X, Y = data_for(net, 32)
    x, y = gpu_backend.asarray(X), gpu_backend.asarray(Y)
    step = nnx.TrainingStep(net, 32, nnx.Adam(0.01))
    step.state.shared.scale = gpu_backend.asarray(first_scale(2.0**20))
    before = read(net, net.theta).copy()
    first = scalar(net, step(x, y))
    np.testing.assert_array_equal(read(net, net.theta), before)
    assert not read(net, step.state.slots["m"]).any()
    assert np.isfinite(first)
    costs = [scalar(net, step(x, y)) for _ in range(40)]
    scale, clean, skipped = scale_of(step)
    assert 2 <= skipped <= 8
    assert scale == 2.0 ** (20 - skipped)
    assert clean == 40 - skipped
    assert costs[skipped - 2] == first
    # The first update that counts is Adam's first: as long as without the steps left out.
    reference = nnx.TrainingStep(other, 32, nnx.Adam(0.01), compiled=False)
    wanted = [float(reference(X, Y)) for _ in range(41 - skipped)]
    np.testing.assert_allclose(costs[skipped - 1 :], wanted, rtol=2e-2)


def test_the_scale_grows_after_clean_steps(
    host_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nnx.graph_program.PATIENCE", 4)
    net = nnx.MLP([8, 16, 3], device=host_backend, precision="float16")
    X, Y = (host_backend.asarray(x) for x in data_for(net, 32 * 9))
    step = nnx.TrainingStep(net, 32, nnx.GradientDescent(0.01))
    step.run(X, Y, None, np.full(9, 0.01))
    assert scale_of(step) == (512.0, 0, 0)


def test_gradients_in_float16_are_not_scaled(gpu_backend: Backend) -> None:
    net, other = both(gpu_backend, [8, 16, 3], precision="float16", seed=1)
    X, Y = data_for(net, 32)
    step = nnx.TrainingStep(net, 32)
    step.gradients(gpu_backend.asarray(X), gpu_backend.asarray(Y))
    _, caches = other.forward(X)
    for name, wanted in other.backward(Y, caches).items():
        found = read(net, step.state.gradient.views[name])
        assert np.linalg.norm(found - wanted) < 0.05 * np.linalg.norm(wanted)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_non_finite_values_are_not_lost(gpu_backend: Backend, bad: float) -> None:
    net = nnx.MLP([3, 4, 2], device=gpu_backend)
    X = np.ones((3, 6), np.float32, order="F")
    X[0, 0] = bad
    x, y = gpu_backend.asarray(X), gpu_backend.asarray(np.zeros(6, np.int64))
    assert not np.isfinite(scalar(net, nnx.TrainingStep(net, 6)(x, y)))


def test_a_label_out_of_range_gives_nan(gpu_backend: Backend) -> None:
    net = nnx.MLP([3, 4, 2], device=gpu_backend)
    x = gpu_backend.asarray(np.ones((3, 6), np.float32, order="F"))
    y = gpu_backend.asarray(np.full(6, 10**9))
    assert np.isnan(scalar(net, nnx.TrainingStep(net, 6)(x, y)))


def test_parameters_may_be_written_between_steps(gpu_backend: Backend) -> None:
    """The 16-bit copy follows."""
    net = nnx.MLP([3, 4, 2], device=gpu_backend, precision="bfloat16")
    x = gpu_backend.asarray(np.ones((3, 6), np.float32, order="F"))
    y = gpu_backend.asarray(np.zeros(6, np.int64))
    step = nnx.TrainingStep(net, 6, nnx.GradientDescent(0.5))
    step(x, y)
    net.theta[...] = 0
    assert scalar(net, step(x, y)) == pytest.approx(np.log(2), rel=1e-6)


# -- what is refused ------------------------------------------------------------------------------


def test_what_a_graph_step_refuses(gpu_backend: Backend) -> None:
    net = nnx.MLP([4, 5, 3], device=gpu_backend)
    step = nnx.TrainingStep(net, 6, compiled=True)
    X = gpu_backend.asarray(np.ones((4, 6), np.float32, order="F"))
    Y = gpu_backend.asarray(np.zeros(6, np.int64))
    with pytest.raises(ShapeError, match=r"X of shape \(4, 6\); got \(4, 5\)"):
        step(X[:, :5], Y[:5])
    with pytest.raises(DTypeError, match=r"Y is numpy\.ndarray, not an array of device 'cuda:0'"):
        step(X, np.zeros(6, np.int64))
    with pytest.raises(DTypeError, match=r"float32 \(labels: int64\); got X float64"):
        step(gpu_backend.asarray(X, "float64"), Y)
    C_ordered = gpu_backend.asarray(np.ascontiguousarray(np.ones((4, 6), np.float32)))
    assert np.isfinite(scalar(net, step(C_ordered, Y)))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (
            {"hidden": Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z * Z)},
            "activation cube of layer 1 has no kernel",
        ),
        ({"output": "softmax", "loss": "mean_squared_error"}, "with the output softmax"),
    ],
)
def test_what_has_no_kernel_goes_through_the_primitives(
    gpu_backend: Backend, arguments: dict[str, Any], reason: str
) -> None:
    net = nnx.MLP([2, 3, 2], device=gpu_backend, **arguments)
    with pytest.raises(DataError, match=rf"this step cannot be compiled: .*{reason}"):
        nnx.TrainingStep(net, 4, compiled=True)
    assert not nnx.TrainingStep(net, 4).compiled
    low = net.copy(precision="bfloat16")
    with pytest.raises(DataError, match=rf"precision='bfloat16' needs a compiled step: .*{reason}"):
        nnx.TrainingStep(low, 4)


def test_without_nvmath_the_readable_floor_serves(
    host_backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "nvmath-python is not installed"
    monkeypatch.setattr(type(host_backend), "why_no_graphs", lambda self, *kinds: reason)
    net, other = both(host_backend, [5, 7, 3], dtype="float64")
    assert why_not_compiled(net) == reason
    step = nnx.TrainingStep(net, 20, nnx.Adam(0.01))
    assert not step.compiled
    reference = nnx.TrainingStep(other, 20, nnx.Adam(0.01), compiled=False)
    X, Y = data_for(net, 20)
    step(host_backend.asarray(X), host_backend.asarray(Y))
    reference(X, Y)
    check_parameters(net, other, 1e-10)
    with pytest.raises(DataError, match="precision='float16' needs a compiled step: nvmath"):
        nnx.TrainingStep(nnx.MLP([5, 3], device=host_backend, precision="float16"), 4)


def test_precisions_that_cannot_be() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown precision 'bfloat'; did you mean 'bfl"):
        nnx.MLP([2, 2], precision="bfloat", device="cpu")
    with pytest.raises(DataError, match="for networks of dtype float32; leave it out for float64"):
        nnx.MLP([2, 2], precision="tf32", dtype="float64", device="cpu")
    for precision in ("bfloat16", "float16"):
        with pytest.raises(DataError, match=rf"{precision}.*needs an NVIDIA GPU.*'tf32'"):
            nnx.LogisticRegression(2, precision=precision, device="cpu")


def test_tf32_is_a_permission_on_the_cpu() -> None:
    nets = [nnx.MLP([4, 5, 3], device="cpu", precision=p) for p in (None, "tf32", "float32")]
    X, Y = data_for(nets[0], 20)
    curves = [net.fit(X, Y, epochs=3)["cost"] for net in nets]
    assert curves[0] == curves[1] == curves[2]
    assert "float32/tf32 on cpu" in repr(nets[1])


@pytest.mark.usefixtures("may_wait")
def test_a_network_of_16_bits_predicts_on_the_cpu_and_does_not_train(
    gpu_backend: Backend, tmp_path: Any
) -> None:
    net = nnx.MLP([4, 5, 3], device=gpu_backend, precision="bfloat16", seed=3)
    net.save(tmp_path / "net")
    X, Y = data_for(net, 20)
    for there in (net.copy(device="cpu"), nnx.load(tmp_path / "net", device="cpu")):
        assert there.precision == "bfloat16"
        found = there.predict_proba(X)
        np.testing.assert_allclose(found, read(net, net.forward(X)[0]), rtol=1e-5)
        with pytest.raises(DataError, match=r"net\.copy\(precision=None\)"):
            there.fit(X, Y)
        assert there.copy(precision=None).fit(X, Y, epochs=1).epochs == 1
    assert nnx.load(tmp_path / "net", device=gpu_backend).precision == "bfloat16"
    assert net.copy(dtype="float64").precision is None


@pytest.mark.usefixtures("may_wait")
def test_weights_are_padded_in_the_flat_vector_alone(gpu_backend: Backend) -> None:
    net, other = both(gpu_backend, [5, 13, 3], seed=7)
    assert net.theta.size > other.theta.size
    for name, view in other.parameters.items():
        assert net.parameters[name].shape == view.shape
    assert net.n_parameters == other.n_parameters
    check_parameters(net, other, 0)
    X = data_for(other, 9)[0]
    np.testing.assert_allclose(read(net, net.forward(X)[0]), other.forward(X)[0], rtol=1e-5)


@pytest.mark.usefixtures("may_wait")
@pytest.mark.parametrize("keep_prob", [1.0, 0.8])
def test_blocks_of_a_batch_are_the_batch(gpu_backend: Backend, keep_prob: float) -> None:
    """As graphs; with dropout through the primitives, whose masks know a block's place."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((6, 50)), rng.integers(0, 3, 50)
    nets = both(gpu_backend, [6, 16, 3], keep_prob=keep_prob, l2=0.1, dtype="float64")
    for net, block in zip(nets, (7, None), strict=True):
        net.fit(X, Y, epochs=2, batch_size=20, block_size=block, optimizer=nnx.Momentum(0.1))
    check_parameters(*nets, 1e-11)


@pytest.mark.usefixtures("may_wait")
def test_block_size_and_float16(gpu_backend: Backend) -> None:
    net = nnx.MLP([8, 16, 8], device=gpu_backend, precision="float16")
    with pytest.raises(DataError, match="block_size needs steps that are never left out"):
        net.fit(np.ones((8, 4)), [0, 1, 2, 3], batch_size=4, block_size=2)


@pytest.mark.parametrize("precision", [None, "bfloat16"])
def test_memory_is_foreseen_as_graphs_take_it(
    host_backend: Backend, lt: Any, precision: Any
) -> None:
    net = nnx.MLP([20, 30, 8], device=host_backend, precision=precision)
    host_backend.use_cublaslt(lt)  # type: ignore[attr-defined]
    arguments: dict[str, Any] = {"kind": "graph", "slots": 2, "labels": True}
    before = demand(net, [64], **arguments).missing
    assert before == step_bytes(net, 64, nnx.Adam().rule)
    # What tells the kind of step takes the library's workspace: then it is missing no more.
    assert step_kind(net) == "graph"
    after = demand(net, [64], **arguments).missing
    assert before - after == host_backend.graphs().workspace_bytes  # type: ignore[attr-defined]
    assert after == step_bytes(net, 64, nnx.Adam().rule)
