"""Whatever np.seterr says outside: what comes out of nnx's doors is the same."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nnx
from nnx.backends import get_backend
from nnx.backends.floating import as_by_default
from nnx.backends.reference.activations import ACTIVATIONS
from nnx.backends.reference.losses import LOSSES
from nnx.backends.reference.sklearn_losses import (
    ClippedBinaryCrossEntropy,
    ClippedCategoricalCrossEntropy,
    HalfSquaredError,
    PoissonDeviance,
)
from nnx.backends.reference.updates import AdamRule, GradientDescentRule, MomentumRule, RMSpropRule

Array = Any
STATES: list[dict[str, Any]] = [
    {"all": "raise"},
    {"under": "raise"},
    {"all": "warn"},
    {"over": "raise", "divide": "ignore"},
]
every_state = pytest.mark.parametrize("state", STATES, ids=str)
RNG = np.random.default_rng(0)
M = 48
# From far below one to far above: most formulas underflow somewhere.
X = RNG.standard_normal((5, M)) * np.logspace(-30, 2, 5)[:, None]
LABELS = RNG.integers(0, 3, M)


# -- the decorator --------------------------------------------------------------------------------


@pytest.fixture(params=["NumPy's own state", "np.geterr"])
def _looked_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Doors also work with a NumPy that keeps its state elsewhere."""
    if request.param == "np.geterr":
        monkeypatch.setattr("nnx.backends.floating._state", None)
        monkeypatch.setattr("nnx.backends.floating._default", None)


@pytest.mark.usefixtures("_looked_up")
def test_what_is_an_error_outside_is_a_warning_inside() -> None:
    @as_by_default
    def inside() -> dict[str, str]:
        return dict(np.geterr())

    default = inside()
    assert default == np.geterr()
    with np.errstate(all="raise"):
        assert inside() == default
        assert set(np.geterr().values()) == {"raise"}
    with np.errstate(all="ignore"):  # who wants silence has it
        assert set(inside().values()) == {"ignore"}
    with np.errstate(all="warn", over="raise", divide="print"):
        assert inside() == {**default, "divide": "print"}


@pytest.mark.usefixtures("_looked_up")
def test_errors_pass_and_leave_the_state_as_it_was() -> None:
    @as_by_default
    def fails() -> None:
        raise KeyError("own")

    with np.errstate(all="raise"):
        before = np.geterr()
        for _ in range(2):
            with pytest.raises(KeyError, match="own"):
                fails()
            assert np.geterr() == before
    assert fails.__name__ == "fails"


@pytest.mark.usefixtures("_looked_up")
def test_a_door_within_a_door_looks_again() -> None:
    @as_by_default
    def inner() -> Any:
        return np.float64(1e-300) * np.float64(1e-300)

    @as_by_default
    def outer() -> Any:
        with np.errstate(all="raise"):  # as a callback may
            return inner()

    assert outer() == 0


# -- networks --------------------------------------------------------------------------------------

PAIRS = {
    "softmax": ["categorical_cross_entropy"],
    "sigmoid": ["binary_cross_entropy", "mean_squared_error"],
    "identity": ["mean_squared_error", "mean_absolute_error", "huber"],
    "exponential": ["poisson"],
    "tanh": ["mean_squared_error"],
}
SKLEARN_LOSSES = {
    "softmax": ClippedCategoricalCrossEntropy(),
    "sigmoid": ClippedBinaryCrossEntropy(),
    "identity": HalfSquaredError(),
    "exponential": PoissonDeviance(),
}
OPTIMIZERS: list[Any] = [
    nnx.AdamW(0.01),
    nnx.RMSprop(),
    nnx.Nesterov(0.01),
    nnx.GradientDescent(0.1, clip_norm=1e-3),
    "lbfgs",
]


def targets(output: str) -> Array:
    if output == "softmax":
        return LABELS
    return (np.arange(3)[:, None] == LABELS) * (1.0 if output != "identity" else 1e-25)


def answers(compiled: bool | None, hidden: str, output: str, loss: Any, **more: Any) -> list[Array]:
    """What all doors of a network give; one whose numbers are partly very small."""
    net = nnx.MLP(
        [5, 6, 3], hidden, output, loss=loss, device="cpu", l2=1e-30, l1=1e-30, seed=1, **more
    )
    for view in net.parameters.values():
        view[...] *= np.logspace(-25, 1, view.shape[0])[:, None]
    Y, w = targets(output), np.logspace(-35, 0, M)
    A, caches = net.forward(X)
    gradient = net.backward(Y, caches, sample_weight=w)
    found = [A, net.cost(A, Y), net.cost(A, Y, caches=caches, sample_weight=w), *gradient.values()]
    step = nnx.TrainingStep(net, M, compiled=compiled)
    x = np.asarray(X, net.dtype, order="F")
    y = Y if Y.ndim == 1 else np.asarray(Y, net.dtype, order="F")
    found += [step(x, y), step.gradients(x, y), step.state.gradient.flat.copy(), net.theta.copy()]
    found += [net.predict(X), net.predict_proba(X), net.score(X, Y)]
    history = net.fit(X, Y, epochs=2, batch_size=20, validation=(X, Y), sample_weight=w)
    return [*found, history["cost"], history["validation_cost"], net.theta.copy()]


def same_in(state: dict[str, Any], compute: Callable[[], list[Array]]) -> None:
    """Compare results; and nothing warns that does not by default."""
    with warnings.catch_warnings(record=True) as by_default:
        warnings.simplefilter("always")
        wanted = compute()
    with warnings.catch_warnings(record=True) as caught, np.errstate(**state):
        warnings.simplefilter("always")
        found = compute()
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    assert {str(w.message) for w in caught} <= {str(w.message) for w in by_default}


@every_state
@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [name for name in ACTIVATIONS if name != "softmax"])
def test_every_activation(
    state: dict[str, Any], compiled: bool | None, dtype: str, hidden: str
) -> None:
    same_in(state, lambda: answers(compiled, hidden, "softmax", None, dtype=dtype))


@every_state
@pytest.mark.parametrize("compiled", [None, False])
@pytest.mark.parametrize(
    ("output", "loss"),
    [(output, loss) for output, losses in PAIRS.items() for loss in losses]
    + list(SKLEARN_LOSSES.items()),
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_every_loss(state: dict[str, Any], compiled: bool | None, output: str, loss: Any) -> None:
    assert {name for names in PAIRS.values() for name in names} == set(LOSSES)
    same_in(state, lambda: answers(compiled, "tanh", output, loss))


@every_state
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("data", ["device", "stream"])
def test_every_optimizer(state: dict[str, Any], optimizer: Any, data: Any) -> None:
    def trained() -> list[Array]:
        net = nnx.MLP([5, 6, 3], "sigmoid", device="cpu", l2=0.1, keep_prob=0.7)
        history = net.fit(X, LABELS, epochs=3, optimizer=optimizer, data=data, block_size=16)
        copied = net.copy(dtype="float64").copy(dtype="float32")
        return [net.theta.copy(), history["cost"], copied.theta]

    same_in(state, trained)


@every_state
def test_training_that_diverges(state: dict[str, Any]) -> None:
    """Real overflow is what it is by default: a warning, and the end of the training."""

    def trained() -> list[Array]:
        net = nnx.MLP([5, 6, 3], "relu", "identity", device="cpu")
        history = net.fit(X, LABELS * np.ones((3, 1)), optimizer=nnx.GradientDescent(1e9))
        return [net.theta.copy(), history["cost"]]

    same_in(state, trained)


@every_state
def test_gradient_check(state: dict[str, Any]) -> None:
    net = nnx.MLP([5, 4, 3], "silu", device="cpu", l2=0.1)
    same_in(state, lambda: [nnx.gradient_check(net, X[:, :4], LABELS[:4])])


# -- what is called by itself ----------------------------------------------------------------------


@every_state
@pytest.mark.parametrize("device", ["cpu", "strict"])
def test_the_primitives(state: dict[str, Any], device: str) -> None:
    backend = get_backend(device)
    tiny = backend.asarray(np.logspace(-300, 2, 12).reshape(3, 4) * [1, -1, 1, -1])
    labels = backend.asarray(np.array([0, 1, 2, 0]))
    column = backend.asarray(np.full((3, 1), 1e-200))

    def computed() -> list[Array]:
        found: list[Array] = [backend.dropout(tiny, 3, 0.5)]
        for g in ACTIVATIONS.values():
            found += backend.dense_forward(tiny[:, :3], column, tiny, g)
            found += [backend.activation_backward(g, tiny, tiny)]
            found += [backend.dense_backward(tiny[:, :3], tiny, g, tiny)]
        found += backend.weight_gradient(tiny, tiny)
        for loss in [*LOSSES.values(), *SKLEARN_LOSSES.values()]:
            g = ACTIVATIONS[loss.link]
            A, Z = backend.dense_forward(tiny[:, :3], column, tiny, g)
            Y = labels if loss.target == "classes" else backend.asarray(np.full((3, 4), 1e-300))
            found += backend.loss_with_gradient(loss, g, Z, A, Y)
            found += backend.loss_with_gradient(loss, g, Z, A, Y, tiny[2, :] * tiny[2, :])
        for rule in (AdamRule(), RMSpropRule(), MomentumRule(nesterov=True), GradientDescentRule()):
            theta, slots = backend.asarray(np.full(4, 1e-200)), {}
            for name in rule.slots:
                slots[name] = backend.zeros((4,), "float64")
            backend.update(rule, theta, tiny[0, :], slots, 1e-200, 1)
            found += [theta, *slots.values()]
        found += [backend.asarray(tiny, "float32"), backend.asarray(np.longdouble(1e-4000))]
        return [np.array(backend.to_numpy(x)) for x in found]

    same_in(state, computed)


@every_state
def test_the_lecture_s_blocks(state: dict[str, Any]) -> None:
    tiny = np.logspace(-300, 0, 9).reshape(3, 3)

    def computed() -> list[Array]:
        A, cache = nnx.dense_forward(tiny, tiny[:, :1], tiny, "sigmoid", keep_prob=0.5, key=7)
        return [A, *nnx.dense_backward(tiny, cache)]

    same_in(state, computed)


@every_state
def test_numbers_too_small_for_the_network(state: dict[str, Any]) -> None:
    rows = np.full((5, M), 1e-300)
    net = nnx.MLP([5, 4, 3], device="cpu")
    same_in(state, lambda: [net.predict_proba(rows), net.forward(rows)[0]])


# -- estimators ------------------------------------------------------------------------------------


@every_state
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "gelu"])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators(
    state: dict[str, Any],
    solver: str,
    activation: str,
    compiled: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    estimators = pytest.importorskip("nnx.neural_network", reason="needs scikit-learn")
    for module in ("stochastic", "lbfgs"):
        name = f"nnx.neural_network.{module}.worth_compiling"
        monkeypatch.setattr(name, lambda *_: None if compiled else False)
    monkeypatch.setattr("nnx.inference.worth_loading", lambda _: compiled)
    settings = {"max_iter": 8, "random_state": 0, "solver": solver, "device": "cpu"}
    settings["learning_rate_init"] = 1e-9 if solver == "sgd" else 1e-3  # it diverges otherwise
    w = np.logspace(-200, 0, M)

    def computed() -> list[Array]:
        found: list[Array] = []
        for cls, y in (
            (estimators.MLPClassifier, LABELS),
            (estimators.MLPClassifier, LABELS > 0),
            (estimators.MLPRegressor, LABELS * 1e-200),
        ):
            model = cls(hidden_layer_sizes=(7, 5), activation=activation, **settings)
            model.fit(X.T * [1, 1, 1, 1, 100], y, sample_weight=w)
            found += [*model.coefs_, *model.intercepts_, model.loss_]
            found += [model.predict(X.T), model.score(X.T, y, w)]
            if cls is estimators.MLPClassifier:
                found += [model.predict_proba(X.T), model.predict_log_proba(1000 * X.T)]
            if solver != "lbfgs":
                found += model.partial_fit(X.T, y).coefs_
        return [np.array(x) for x in found]

    same_in(state, computed)
