"""ONNX models say what the estimators say; ONNX Runtime is the judge."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError

import nnx
from nnx.backends.reference.activations import ACTIVATIONS
from nnx.errors import DataError, MissingDependencyError
from nnx.neural_network import MLPClassifier, MLPRegressor

reason = "ONNX comes with the extra dev; a GPU machine without a network may lack it"
onnx = pytest.importorskip("onnx", reason=reason)
runtime = pytest.importorskip("onnxruntime", reason=reason)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
LABELS = {
    "numbers": Y * 10 - 3,
    "text": np.array(["setosa", "versicolor", "virginica"])[Y],
    "objects": np.array(["é", "b", "a"], dtype=object)[Y],
    "floats": Y.astype(float),
    "two": np.array(["no", "yes"])[(Y > 0).astype(int)],
    "booleans": Y > 0,
    "one": np.full(len(X), 7),
    "several": make_multilabel_classification(len(X), n_features=4, random_state=0)[1],
}


def answers(model: Any, X: Any) -> list[Any]:
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"X": X})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", LABELS)
def test_a_classifier_gives_labels_and_probabilities(labels: str, dtype: str) -> None:
    inputs = X.astype(dtype)
    model = MLPClassifier((6,), max_iter=30, random_state=0, device="cpu")
    model.fit(inputs, LABELS[labels])
    exported = model.to_onnx()
    assert [output.name for output in exported.graph.output] == ["label", "probabilities"]
    label, probabilities = answers(exported, inputs)
    np.testing.assert_array_equal(label, model.predict(inputs))
    expected = model.predict_proba(inputs)
    assert probabilities.dtype == expected.dtype == dtype
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4 if dtype == "float32" else 1e-9)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_a_regressor_gives_values(loss: str) -> None:
    data, values = load_diabetes(return_X_y=True)
    for y in (values / 100, np.stack([values, values + 1], axis=1) / 100):
        model = MLPRegressor(loss, (6,), max_iter=5, random_state=0, device="cpu").fit(data, y)
        (found,) = answers(model.to_onnx(), data)
        np.testing.assert_allclose(found, model.predict(data).reshape(len(data), -1), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", sorted({"logistic", *ACTIVATIONS} - {"softmax"}))
def test_every_activation_is_there(activation: str, dtype: str) -> None:
    inputs = (X / 10).astype(dtype)
    model = MLPClassifier((5, 4), activation, max_iter=2, random_state=0, device="cpu")
    _, found = answers(model.fit(inputs, Y).to_onnx(), inputs)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    np.testing.assert_allclose(found, model.predict_proba(inputs), rtol=rtol)


def test_an_activation_for_each_layer() -> None:
    model = MLPClassifier((5, 4), ["tanh", nnx.leaky_relu(0.3)], max_iter=2, device="cpu")
    _, found = answers(model.fit(X, Y).to_onnx(), X)
    np.testing.assert_allclose(found, model.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_is_exported_with_its_examples_in_rows(dtype: Any, tmp_path: Path) -> None:
    net = nnx.MLP([4, 7, 5, 3], "gelu", dtype=dtype, device="cpu", keep_prob=0.5)
    exported = net.to_onnx(tmp_path / "net.onnx")
    assert onnx.load(tmp_path / "net.onnx") == exported
    (A,) = answers(exported, X.astype(dtype))
    np.testing.assert_allclose(A.T, net.predict_proba(X.T), rtol=1e-5)


def test_any_number_of_examples(tmp_path: Path) -> None:
    model = MLPClassifier((5,), max_iter=2, device="cpu").fit(X, Y)
    exported = model.to_onnx(tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == exported
    assert answers(exported, X[:1])[1].shape == (1, 3)


def test_what_has_no_operator_is_an_error() -> None:
    cube = nnx.Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")
    with pytest.raises(DataError, match="ONNX has no operator for the activation 'cube'"):
        nnx.MLP([2, 2, 1], cube, "sigmoid", device="cpu").to_onnx()
    with pytest.raises(DataError, match="ONNX has no operator for the activation 'cube'"):
        MLPClassifier((2,), cube, max_iter=1, device="cpu").fit(X, Y).to_onnx()
    with pytest.raises(NotFittedError):
        MLPClassifier().to_onnx()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "nnx-learn\[onnx\]"'):
        nnx.MLP([2, 1], output="sigmoid", device="cpu").to_onnx()
