"""What nnx does not do runs in scikit-learn, with the same result and one line of log."""

import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nnx import accel, neural_network
from nnx.accel import log
from nnx.errors import DataError

Run = Callable[..., subprocess.CompletedProcess[str]]
OWN = {"classifier": MLPClassifier, "regressor": MLPRegressor}
X, Y = load_iris(return_X_y=True)
pytestmark = [
    pytest.mark.usefixtures("installed"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture
def lines() -> list[str]:
    """The log's lines of this test, from level "debug" on."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.levelname}: {record.getMessage()}")

    log.logger.addHandler(handler := Keep())
    log.logger.setLevel(logging.DEBUG)
    yield found
    log.logger.removeHandler(handler)


def refuse(monkeypatch: pytest.MonkeyPatch, method: str = "fit") -> None:
    """Let nnx's estimators use up random numbers, spoil themselves, and then refuse."""

    def refusing(self: Any, *arguments: Any) -> None:
        draws = self.random_state if self.random_state is not None else np.random
        if not isinstance(draws, int):
            draws.random_sample(10)
        self.coefs_ = "spoilt"
        raise DataError("it is a full moon")

    for cls in (neural_network.MLPClassifier, neural_network.MLPRegressor):
        monkeypatch.setattr(cls, method, refusing)


@pytest.mark.parametrize("seed", [3, "generator", None])
@pytest.mark.parametrize("kind", OWN)
def test_what_nnx_refuses_is_fitted_by_scikit_learn(
    kind: str, seed: Any, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    cls = {"classifier": MLPClassifier, "regressor": MLPRegressor}[kind]
    data = load_iris(return_X_y=True) if kind == "classifier" else load_diabetes(return_X_y=True)
    refuse(monkeypatch)
    models = []
    for each in (OWN[kind], cls):
        np.random.seed(5)  # noqa: NPY002 (what random_state=None draws from)
        state = np.random.RandomState(4) if seed == "generator" else seed
        model = each(hidden_layer_sizes=(6,), max_iter=20, random_state=state)
        models.append(model.fit(*data))
        models.append(model.fit(*data))  # a generator goes on
    for own, ours in zip(models[:2], models[2:], strict=True):
        assert type(ours) is cls is not OWN[kind]
        for mine, wanted in zip(ours.coefs_, own.coefs_, strict=True):
            np.testing.assert_array_equal(mine, wanted)
        # The prediction is nnx's again, and rounds its own way.
        np.testing.assert_allclose(ours.predict(data[0]), own.predict(data[0]), rtol=1e-12)
        assert ours.loss_curve_ == own.loss_curve_
        assert ours.n_iter_ == own.n_iter_
    reason = f"{cls.__name__}.fit runs in scikit-learn: it is a full moon"
    assert lines == [f"WARNING: {reason}", f"DEBUG: {reason}", f"WARNING: {reason}"][:2]


def test_partial_fit_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    own, ours = (cls((6,), random_state=0) for cls in (OWN["classifier"], MLPClassifier))
    for model in (own, ours):
        model.partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, Y)
    refuse(monkeypatch, "partial_fit")
    for model in (own, ours):
        model.partial_fit(X, Y).partial_fit(X, Y)
    assert own.t_ == ours.t_ == 4 * len(X)
    np.testing.assert_allclose(ours.predict_proba(X), own.predict_proba(X), rtol=1e-9)
    np.testing.assert_allclose(ours.loss_curve_, own.loss_curve_, rtol=1e-9)


def test_an_error_of_scikit_learn_s_is_raised_as_there(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch)
    with pytest.raises(ValueError, match="Found input variables with inconsistent numbers"):
        MLPClassifier().fit(X, Y[:-1])


@pytest.mark.parametrize("setting", [{"dropout": 0.5}, {"activation": "gelu"}, {"device": "cpu"}])
def test_what_only_nnx_has_is_no_reason_to_fall_back(
    setting: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(monkeypatch)
    with pytest.raises(DataError, match="full moon"):
        MLPClassifier(**setting).fit(X, Y)


def test_a_device_that_is_not_there_does_not_stop_a_program(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "from sklearn.datasets import load_iris\n"
        "from sklearn.neural_network import MLPClassifier\n"
        "model = MLPClassifier((5,), solver='lbfgs', max_iter=500, random_state=0)\n"
        "for _ in range(2):\n"
        "    print(model.fit(*load_iris(return_X_y=True)).score(*load_iris(return_X_y=True)))\n"
    )
    plain = run("program.py")
    result = run("-m", "nnx.accel", "program.py", NNX_DEVICE="cuda:99")
    assert result.stdout == plain.stdout
    lines = result.stderr.splitlines()
    assert len(lines) == 2  # one for each reason, however often
    for line, method in zip(lines, ("fit", "predict"), strict=True):
        assert line.startswith(f"nnx.accel: MLPClassifier.{method} runs in scikit-learn: device ")


# -- subclasses -----------------------------------------------------------------------------------


def test_a_subclass_that_changes_the_algorithm_is_scikit_learn_s(lines: list[str]) -> None:
    class Doubled(MLPClassifier):
        def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> Any:
            W, b = super()._init_coef(fan_in, fan_out, dtype)
            return 2 * W, b

    assert Doubled.__bases__ == (OWN["classifier"],)
    assert lines == [
        "WARNING: class test_a_subclass_that_changes_the_algorithm_is_scikit_learn_s.<locals>."
        "Doubled runs in scikit-learn: it overrides _init_coef"
    ]
    plain = OWN["classifier"]((4,), max_iter=1, random_state=0).fit(X, Y)
    assert Doubled((4,), max_iter=1, random_state=0).fit(X, Y).loss_ != plain.loss_


def test_a_change_is_found_in_between_and_beside() -> None:
    class Between(MLPClassifier):
        pass

    class Beside:
        def _backprop(self) -> None:
            pass

    class Lower(Beside, Between):
        pass

    assert Between.__bases__ == (OWN["classifier"],)
    assert "nnx" not in {cls.__module__.partition(".")[0] for cls in Lower.__mro__}


def test_a_subclass_that_adds_is_nnx_s() -> None:
    class Named(MLPRegressor):
        """As projects do: another default, another method."""

        def __init__(self, hidden_layer_sizes: Any = (7,), *, alpha: float = 0.1) -> None:
            super().__init__(hidden_layer_sizes=hidden_layer_sizes, alpha=alpha)

        def fit(self, X: Any, y: Any) -> Any:
            return super().fit(X, 2 * y)

        def _name(self) -> str:
            return "named"

    assert issubclass(Named, neural_network.MLPRegressor)
    data = load_diabetes(return_X_y=True)
    assert Named().fit(*data).predict(data[0]).shape == data[1].shape


# -- the log --------------------------------------------------------------------------------------

FALLING = """
from sklearn.neural_network import MLPClassifier
class Mine(MLPClassifier):
    def _backprop(self): pass
MLPClassifier((3,), solver="lbfgs", max_iter=500).fit([[0.0], [1.0]], [0, 1])
"""


@pytest.mark.parametrize(
    ("level", "expected"),
    [("off", 0), ("error", 0), ("", 1), ("warning", 1), ("INFO", 3), ("debug", 3)],
)
def test_the_log_has_the_level_that_was_asked_for(run: Run, level: str, expected: int) -> None:
    result = run("-m", "nnx.accel", "-c", FALLING, NNX_ACCEL_LOG=level)
    assert result.returncode == 0, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == expected, lines
    assert all(line.startswith("nnx.accel: ") for line in lines)


def test_the_log_can_be_a_file(run: Run, tmp_path: Path) -> None:
    result = run("-m", "nnx.accel", "-c", FALLING, NNX_ACCEL_LOG="./accel.log")
    assert (result.returncode, result.stderr) == (0, "")
    text = (tmp_path / "accel.log").read_text()
    assert "Mine runs in scikit-learn: it overrides _backprop" in text
    assert "MLPClassifier.fit runs in nnx" in text


@pytest.mark.parametrize("setting", ["loud", "./absent/accel.log"])
def test_a_log_that_cannot_be_is_an_error_before_anything_is_changed(
    setting: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    accel.uninstall()
    before = dict(os.environ)
    monkeypatch.setenv("NNX_ACCEL_LOG", setting)
    with pytest.raises(DataError, match="NNX_ACCEL_LOG"):
        accel.install()
    monkeypatch.undo()
    assert (accel.installed(), dict(os.environ)) == (False, before)
    result = run("-m", "nnx.accel", "-c", "print(1)", NNX_ACCEL_LOG=setting)
    assert (result.returncode, result.stdout) == (2, "")
    assert "NNX_ACCEL_LOG" in result.stderr
