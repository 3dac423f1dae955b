"""Estimators as files and as pickles, on this machine and on one without its GPU."""

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification

import nnx
from nnx.backends import registry
from nnx.backends.cpu import CpuBackend
from nnx.backends.errors import DeviceError
from nnx.errors import CheckpointError, DataError, DeviceWarning
from nnx.neural_network import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
TEXT = np.array(["setosa", "versicolor", "virginica"])[Y]
MODELS: dict[str, Any] = {
    "adam": lambda: MLPClassifier((6, 5), max_iter=6, random_state=0).fit(X, Y),
    "float32": lambda: MLPClassifier((6,), max_iter=6, random_state=0).fit(X.astype("f4"), Y),
    "text": lambda: MLPClassifier(7, max_iter=6, random_state=0).fit(X, TEXT),
    "objects": lambda: MLPClassifier(7, max_iter=6).fit(X, TEXT.astype(object)),
    "yes or no": lambda: MLPClassifier(
        [7], solver="sgd", max_iter=6, random_state=np.random.RandomState(3)
    ).fit(X, Y > 0),
    "early": lambda: MLPClassifier(max_iter=6, early_stopping=True, random_state=0).fit(X, Y),
    "lbfgs": lambda: MLPClassifier((6,), solver="lbfgs", max_iter=6, random_state=0).fit(X, Y),
    "several": lambda: MLPClassifier(max_iter=3, random_state=0).fit(
        *make_multilabel_classification(60, n_features=4, random_state=0)
    ),
    "values": lambda: MLPRegressor(max_iter=6, random_state=0).fit(*load_diabetes(return_X_y=True)),
    "added": lambda: MLPClassifier(
        (6, 5),
        ["gelu", nnx.leaky_relu(0.2)],
        max_iter=3,
        n_iter_no_change=np.inf,
        class_weight={0: 1.0, 1: 2.0, 2: 1.5},
        dropout=0.2,
        random_state=0,
    ).fit(X, Y),
}


def inputs_of(model: Any) -> Any:
    return load_diabetes(return_X_y=True)[0] if isinstance(model, MLPRegressor) else X


def same(found: Any, wanted: Any) -> None:
    examples = inputs_of(wanted)
    assert type(found) is type(wanted)
    np.testing.assert_array_equal(found.predict(examples), wanted.predict(examples))
    if isinstance(wanted, MLPClassifier):
        proba = wanted.predict_proba(examples)
        np.testing.assert_array_equal(found.predict_proba(examples), proba)
        assert found.predict_proba(examples).dtype == proba.dtype
        assert found.classes_.dtype == wanted.classes_.dtype
    for name in ("loss_curve_", "t_", "n_iter_", "validation_scores_", "best_loss_"):
        assert getattr(found, name, None) == getattr(wanted, name, None), name
    for name, value in wanted.get_params().items():
        if isinstance(value, bool | int | float | str | tuple | dict | None):
            assert getattr(found, name) == value or name == "device"
            assert type(getattr(found, name)) is type(value)


@pytest.mark.parametrize("name", MODELS)
def test_a_file_gives_the_estimator_back(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    model.save(tmp_path / "model.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    loaded = nnx.load(tmp_path / "model.safetensors", device="cpu")
    assert loaded.device == "cpu"
    same(loaded, model)
    clone(loaded)
    pickle.dumps(loaded)


@pytest.mark.parametrize("name", ["adam", "yes or no"])
def test_training_goes_on_from_a_file(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    model.save(tmp_path / "model")
    loaded = nnx.load(tmp_path / "model", device="cpu")
    y = Y if name == "adam" else Y > 0
    for each in (model, loaded):
        each.partial_fit(X, y).partial_fit(X, y)
    same(loaded, model)


def test_columns_have_their_names_after_loading(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas comes with the extra dev")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    MLPClassifier(max_iter=2).fit(frame, Y).save(tmp_path / "model")
    loaded = nnx.load(tmp_path / "model", device="cpu")
    assert loaded.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(frame[["b", "a", "c", "d"]])


def test_networks_and_estimators_load_through_one_function(tmp_path: Path) -> None:
    nnx.MLP([2, 3], device="cpu").save(tmp_path / "net")
    assert isinstance(nnx.load(tmp_path / "net", device="cpu"), nnx.Network)


def test_what_cannot_be_saved_is_an_error_and_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="this MLPClassifier is not fitted: call fit first"):
        MLPClassifier().save(tmp_path / "model")
    model = MODELS["adam"]()
    model.mine = object()
    with pytest.raises(CheckpointError, match="mine is object, which a file cannot describe"):
        model.save(tmp_path / "model")
    model.mine = np.array([1, None], dtype=object)
    with pytest.raises(CheckpointError, match="mine holds objects that are no text"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def edit(path: Path, change: Any) -> None:
    """Change the description in a file, leaving its arrays as they are."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    description = json.loads(header["__metadata__"]["nnx"])
    change(description)
    header["__metadata__"]["nnx"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update({"class": "Pipeline"}), "it holds a 'Pipeline', which this nnx does"),
        (lambda d: d.pop("state"), "its description lacks 'state'"),
        (lambda d: d["state"].pop("coefs_"), "coefs_"),
        (lambda d: d["state"].update(tol={"os.system": "rm"}), "holds a 'os.system', which this"),
        (lambda d: d["state"].update(n_features_in_=5), r"layer 1 has weights \(4, 6\) .* needs"),
        (lambda d: d["state"]["coefs_"].reverse(), "layer 1 has weights"),
        (lambda d: d["state"]["coefs_"].pop(), "zip"),
        (lambda d: d["state"]["coefs_"].append({"tensor": ["absent", False]}), "lacks 'absent'"),
    ],
)
def test_a_file_that_is_wrong_is_an_error_that_names_it(
    change: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "model"
    MODELS["adam"]().save(path)
    edit(path, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        nnx.load(path, device="cpu")
    assert str(path) in str(caught.value)


def test_an_estimator_s_device_is_a_name(tmp_path: Path) -> None:
    MODELS["adam"]().save(tmp_path / "model")
    with pytest.raises(DataError, match="an estimator's device is a name such as 'cpu'"):
        nnx.load(tmp_path / "model", device=nnx.get_backend("cpu"))


# -- pickles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_a_pickle_gives_the_estimator_back(name: str, tmp_path: Path) -> None:
    model = MODELS[name]()
    joblib.dump(model, tmp_path / "model.joblib")
    for again in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        same(again, model)


def test_training_goes_on_after_a_pickle() -> None:
    model = MODELS["adam"]()
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again):
        each.partial_fit(X, Y)
    same(again, model)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A device that some machines have: `elsewhere(False)` makes this one lack it."""
    has = True

    def factory(device: str) -> CpuBackend:
        if not has:
            raise DeviceError("device 'gpu' cannot be used: there is no driver")
        return CpuBackend()

    def set_it(there: bool) -> None:
        nonlocal has
        has = there
        registry._made.pop("gpu", None)

    monkeypatch.setitem(registry._factories, "gpu", factory)
    yield set_it
    registry._made.pop("gpu", None)


def test_a_model_of_a_machine_with_a_gpu_opens_on_one_without(elsewhere: Any) -> None:
    model = MLPClassifier((4,), max_iter=3, random_state=0, device="gpu").fit(X, Y)
    content, expected = pickle.dumps(model), model.predict_proba(X)
    assert pickle.loads(content).device == "gpu"
    elsewhere(False)
    with pytest.warns(DeviceWarning, match="now uses the CPU: device 'gpu' cannot be used: there"):
        opened = pickle.loads(content)
    assert opened.device == "cpu"
    np.testing.assert_array_equal(opened.predict_proba(X), expected)
    opened.partial_fit(X, Y)


def test_a_pickle_holds_arrays_of_the_host_only() -> None:
    """As strict arrays stand for a GPU's, nothing of theirs may be in the pickle."""
    model = MLPClassifier((4,), max_iter=2, random_state=0, device="strict").fit(X, Y)
    model.partial_fit(X, Y)
    content = pickle.dumps(model)
    assert b"array_api_strict" not in content
    on_cpu = pickle.loads(content).set_params(device="cpu")
    np.testing.assert_allclose(on_cpu.predict_proba(X), model.predict_proba(X), rtol=1e-6)


def test_a_cuda_model_opens_here() -> None:
    """A state as a GPU machine pickles it, whatever this machine has."""
    state = {**MODELS["adam"]().__getstate__(), "device": "cuda:77"}
    opened = MLPClassifier.__new__(MLPClassifier)
    with pytest.warns(DeviceWarning, match="device 'cuda:77' cannot be used"):
        opened.__setstate__(state)
    assert opened.device == "cpu"
    assert opened.predict(X).shape == Y.shape
