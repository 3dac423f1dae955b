"""`fit`: minibatches, weights, validation, callbacks, going on, and what stops it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.errors import DataError, MissingDependencyError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 90))
Y = np.argmax(RNG.standard_normal((3, 4)) @ X, axis=0)


def network(device: str = "cpu", **settings: Any) -> nnx.Network:
    return nnx.MLP([4, 8, 3], device=device, **{"dtype": "float64", "seed": 1, **settings})


def test_it_learns(device: str) -> None:
    net = network(device)
    history = net.fit(X, Y, epochs=60, batch_size=30, optimizer=nnx.Adam(0.02))
    assert history["cost"][-1] < 0.4 * history["cost"][0]
    assert net.score(X, Y) > 0.9
    assert len(history["seconds"]) == history.epochs == 60
    assert history["learning_rate"] == [0.02] * 60


def test_whole_batch_is_gradient_descent() -> None:
    net, by_hand = network(), network()
    history = net.fit(X, Y, epochs=3, batch_size="all", optimizer=nnx.GradientDescent(0.1))
    for J in history["cost"]:
        A_L, caches = by_hand.forward(X)
        assert pytest.approx(by_hand.cost(A_L, Y), rel=1e-12) == J
        for name, dtheta in by_hand.backward(Y, caches).items():
            by_hand.parameters[name[1:]][...] -= 0.1 * dtheta
    np.testing.assert_allclose(net.theta, by_hand.theta, rtol=1e-10, atol=1e-14)


def test_minibatches_in_order_without_shuffle() -> None:
    net, by_hand = network(l2=0.4), network(l2=0.4)
    history = net.fit(X, Y, epochs=1, batch_size=40, optimizer="gradient_descent", shuffle=False)
    costs = []
    for part in (slice(0, 40), slice(40, 80), slice(80, 90)):
        A_L, caches = by_hand.forward(X[:, part])
        costs.append(by_hand.cost(A_L, Y[part]))
        for name, dtheta in by_hand.backward(Y[part], caches).items():
            by_hand.parameters[name[1:]][...] -= 0.01 * dtheta
    assert history["cost"][0] == pytest.approx((40 * costs[0] + 40 * costs[1] + 10 * costs[2]) / 90)
    np.testing.assert_allclose(net.theta, by_hand.theta, rtol=1e-10, atol=1e-14)


def test_shuffle_takes_every_example_once_and_anew_each_epoch() -> None:
    seen: list[np.ndarray[Any, Any]] = []

    class Recorder(nnx.Loss):
        """Records the targets of each step: they are the numbers of the examples."""

        name, target = "recorder", "values"

        def losses(self, xp: Any, A: Any, Y: Any) -> Any:
            seen.append(np.array(Y[0]))
            return 0 * A[0]

        def gradient(self, xp: Any, A: Any, Y: Any) -> Any:
            return 0 * A

    net = nnx.MLP([4, 1], output="identity", loss=Recorder(), device="cpu", dtype="float64")
    net.fit(X, np.arange(90.0), epochs=2, batch_size=40)
    assert [len(batch) for batch in seen] == [40, 40, 10] * 2
    first, second = np.concatenate(seen[:3]), np.concatenate(seen[3:])
    np.testing.assert_array_equal(np.sort(first), np.arange(90))
    np.testing.assert_array_equal(np.sort(second), np.arange(90))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, np.arange(90))


def test_the_same_seed_gives_the_same_run_and_another_another() -> None:
    runs = [network(seed=s).fit(X, Y, epochs=3, batch_size=20)["cost"] for s in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_default_batch_size_is_200_at_most() -> None:
    big = np.tile(X, 5)
    labels = np.tile(Y, 5)
    default = network().fit(big, labels, epochs=2)
    assert default["cost"] == network().fit(big, labels, epochs=2, batch_size=200)["cost"]
    assert (
        network().fit(X, Y, epochs=2)["cost"]
        == network().fit(X, Y, epochs=2, batch_size=90)["cost"]
    )


def test_going_on_is_one_long_run(device: str) -> None:
    schedule = nnx.schedules.StepDecay(0.05, 0.5, every=2)
    long, short = network(device, keep_prob=0.8), network(device, keep_prob=0.8)
    whole = long.fit(X, Y, epochs=6, batch_size=40, optimizer=nnx.Adam(schedule))
    short.fit(X, Y, epochs=2, batch_size=40, optimizer=nnx.Adam(schedule))
    history = short.fit(X, Y, epochs=4, batch_size=40, resume=True)
    assert history["cost"] == whole["cost"]
    assert history["learning_rate"] == whole["learning_rate"]
    with pytest.raises(DataError, match="goes on with the last optimizer; do not pass another"):
        short.fit(X, Y, optimizer="adam", resume=True)


def test_an_integer_weight_is_a_repeated_example() -> None:
    s = RNG.integers(0, 4, 90)
    repeated = np.repeat(np.arange(90), s)
    weighted, plain = network(), network()
    settings: dict[str, Any] = {"epochs": 5, "batch_size": "all", "optimizer": "momentum"}
    a = weighted.fit(X, Y, sample_weight=s, **settings)
    b = plain.fit(X[:, repeated], Y[repeated], **settings)
    np.testing.assert_allclose(a["cost"], b["cost"], rtol=1e-10)
    np.testing.assert_allclose(weighted.theta, plain.theta, rtol=1e-8, atol=1e-12)


def test_class_weights_are_example_weights(device: str) -> None:
    by_class, by_example, by_both = network(device), network(device), network(device)
    table = {0: 1.0, 1: 5.0, 2: 0.5}
    s = np.array([table[int(k)] for k in Y])
    settings: dict[str, Any] = {"epochs": 3, "batch_size": 40}
    a = by_class.fit(X, Y, class_weight=table, **settings)["cost"]
    b = by_example.fit(X, Y, sample_weight=s, **settings)["cost"]
    c = by_both.fit(
        X, Y, sample_weight=s / 2, class_weight=dict.fromkeys(range(3), 2.0), **settings
    )
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(a, c["cost"], rtol=1e-12)


def test_a_batch_of_weightless_examples_changes_nothing() -> None:
    s = np.r_[np.ones(60), np.zeros(30)]
    net, part = network(), network()
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 30, "shuffle": False}
    net.fit(X, Y, sample_weight=s, optimizer="gradient_descent", **settings)
    part.fit(X[:, :60], Y[:60], optimizer="gradient_descent", **settings)
    np.testing.assert_allclose(net.theta, part.theta, rtol=1e-10, atol=1e-14)


def test_validation(device: str) -> None:
    net = network(device)
    history = net.fit(X[:, :60], Y[:60], epochs=2, validation=(X[:, 60:], Y[60:]))
    assert history["validation_score"][-1] == pytest.approx(net.score(X[:, 60:], Y[60:]))
    A_L, caches = net.forward(X[:, 60:])
    assert history["validation_cost"][-1] == pytest.approx(net.cost(A_L, Y[60:], caches=caches))


def test_a_fraction_is_held_out_of_training() -> None:
    """Examples that are held out have no influence: the network cannot learn their labels."""
    net = network()
    history = net.fit(X, Y, epochs=2, validation=0.2)
    order = np.random.default_rng([1, 1]).permutation(90)
    other = network()
    again = other.fit(
        X[:, order[18:]], Y[order[18:]], epochs=2, validation=(X[:, order[:18]], Y[order[:18]])
    )
    assert again["cost"] == history["cost"]
    assert again["validation_cost"] == history["validation_cost"]


def test_regression_score_is_r2() -> None:
    from sklearn.metrics import r2_score

    T = np.stack([X[0] - X[1], np.full(90, 2.0), X[2] ** 2])
    net = nnx.MLP([4, 8, 3], output="identity", device="cpu", dtype="float64")
    net.fit(X, T, epochs=20)
    wanted = r2_score(T.T, net.predict(X).T)
    assert net.score(X, T) == pytest.approx(wanted)


def test_functions_can_watch_and_stop() -> None:
    seen = []

    def watch(net: nnx.Network, history: nnx.History) -> bool:
        seen.append(history.epochs)
        return history.epochs == 3

    history = network().fit(X, Y, epochs=10, callbacks=[watch])
    assert seen == [1, 2, 3]
    assert history.epochs == 3


def curve(values: list[float]) -> Callable[[Any, nnx.History], None]:
    """A callback that makes the validation cost follow a given curve."""

    def write(net: Any, history: nnx.History) -> None:
        history["validation_cost"][-1] = values[history.epochs - 1]

    return write


@pytest.mark.parametrize(("restore", "min_delta", "stops"), [(True, 0.0, 5), (False, 0.5, 3)])
def test_early_stopping(restore: bool, min_delta: float, stops: int) -> None:
    thetas = []
    stopping = nnx.EarlyStopping(2, restore_best=restore, min_delta=min_delta)
    net = network()
    keep = lambda net, history: thetas.append(net.theta.copy())  # noqa: E731
    values = [1.0, 0.9, 0.8, 0.85, 0.81, 0.1]
    callbacks = [curve(values), keep, stopping]
    history = net.fit(X, Y, epochs=6, validation=0.2, callbacks=callbacks)
    assert history.epochs == stops
    assert stopping.best_epoch == (3 if min_delta == 0 else 1)
    np.testing.assert_array_equal(net.theta, thetas[2 if restore else -1])


def test_early_stopping_restores_when_the_epochs_run_out_and_starts_anew() -> None:
    stopping, thetas = nnx.EarlyStopping(50), []
    keep = lambda net, history: thetas.append(net.theta.copy())  # noqa: E731
    for _ in range(2):
        net, thetas[:] = network(), []
        callbacks = [curve([3, 1, 2, 4]), keep, stopping]
        net.fit(X, Y, epochs=4, validation=0.2, callbacks=callbacks)
        assert stopping.best == 1
        np.testing.assert_array_equal(net.theta, thetas[1])


def test_early_stopping_on_a_score_waits_for_growth() -> None:
    stopping = nnx.EarlyStopping(3, monitor="validation_score")
    net = network()
    history = net.fit(
        X, Y, epochs=300, optimizer=nnx.Adam(0.05), validation=0.2, callbacks=[stopping]
    )
    assert history.epochs < 300
    assert stopping.best == max(history["validation_score"])


def test_early_stopping_without_what_it_watches() -> None:
    with pytest.raises(
        DataError, match=r"watches 'validation_cost', which this run does not record"
    ):
        network().fit(X, Y, callbacks=[nnx.EarlyStopping()])


def test_divergence_stops_with_a_warning() -> None:
    net = nnx.MLP([4, 8, 1], output="identity", device="cpu")
    with pytest.warns(RuntimeWarning), np.errstate(all="ignore"):
        history = net.fit(
            1e3 * X, X[0], epochs=50, optimizer=nnx.GradientDescent(10.0), batch_size=10
        )
    assert history.epochs < 50
    assert not np.isfinite(history["cost"][-1])


def test_lbfgs_beats_adam_on_a_small_problem(device: str) -> None:
    lbfgs, adam = network(device, l2=0.1), network(device, l2=0.1)
    history = lbfgs.fit(X, Y, epochs=40, optimizer=nnx.LBFGS())
    other = adam.fit(X, Y, epochs=40, batch_size="all")
    assert history["cost"][-1] < 0.5 * other["cost"][-1]
    assert history.epochs <= 40
    A_L, caches = lbfgs.forward(X)
    assert lbfgs.cost(A_L, Y, caches=caches) == pytest.approx(history["cost"][-1], rel=1e-9)


def test_lbfgs_reaches_the_least_squares_solution() -> None:
    net = nnx.MLP([4, 1], output="identity", device="cpu", dtype="float64")
    T = X[0] + 2 * X[1] + 0.1 * RNG.standard_normal(90) + 1
    s = RNG.uniform(0.1, 2, 90)
    net.fit(X, T, epochs=200, optimizer=nnx.LBFGS(tolerance=1e-10), sample_weight=s)
    root = np.sqrt(s)
    A = np.vstack([X, np.ones(90)]).T
    wanted = np.linalg.lstsq(A * root[:, None], T * root, rcond=None)[0]
    np.testing.assert_allclose(net.parameters["W1"][0], wanted[:4], rtol=1e-5)
    np.testing.assert_allclose(net.parameters["b1"][0], wanted[4:], rtol=1e-5)


def test_lbfgs_can_be_stopped_by_a_callback() -> None:
    history = network().fit(
        X, Y, epochs=40, optimizer="lbfgs", callbacks=[lambda net, history: history.epochs == 2]
    )
    assert history.epochs == 2


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    network().fit(X, Y, epochs=2, progress=True, validation=0.2)
    shown = capsys.readouterr().err
    assert "2/2" in shown
    assert "cost=" in shown
    assert "validation=" in shown


@pytest.mark.parametrize(
    ("module", "call", "message"),
    [
        ("tqdm.auto", {"progress": True}, r"progress=True needs tqdm, .*nnx-learn\[progress\]"),
        ("scipy.optimize", {"optimizer": "lbfgs"}, r"L-BFGS .* needs SciPy, .*nnx-learn\[lbfgs\]"),
    ],
)
def test_a_missing_library_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, call: dict[str, Any], message: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingDependencyError, match=message):
        network().fit(X, Y, **call)


def test_history_plots_its_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    history = network().fit(X, Y, epochs=3, validation=0.2)
    ax = history.plot()
    assert [line.get_label() for line in ax.get_lines()] == ["cost", "validation cost"]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), history["cost"])
    assert ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "cost J")
    assert history.plot(ax) is ax
    plt.close("all")
    assert repr(history).startswith("History(3 epochs; last: cost ")
    assert repr(nnx.History()) == "History(no epochs)"
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r"nnx-learn\[plot\]"):
        history.plot()
