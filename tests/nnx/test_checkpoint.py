"""Networks as files: what comes back, what is refused, and what survives a failure."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import nnx
from nnx.errors import CheckpointError

X = np.random.default_rng(0).standard_normal((4, 6))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_comes_back(tmp_path: Path, device: str, dtype: str) -> None:
    layers = [
        nnx.Dense(5, nnx.leaky_relu(0.2), keep_prob=0.7, initialiser="orthogonal"),
        nnx.Dense(4, nnx.elu(0.5), initialiser=nnx.initialisers.he),
        nnx.Dense(3, "softmax"),
    ]
    loss = nnx.CategoricalCrossEntropy(label_smoothing=0.1)
    net = nnx.Network(layers, n_x=4, loss=loss, device=device, dtype=dtype, seed=9, l2=0.3, l1=0.2)
    net.save(tmp_path / "net.safetensors")
    loaded = nnx.load(tmp_path / "net.safetensors", device=device)
    assert repr(loaded) == repr(net)
    assert loaded.loss == loss
    assert (loaded.penalty, loaded.seed, loaded.dtype) == (net.penalty, 9, dtype)
    assert [layer.g.alpha for layer in loaded.layers[:2]] == [0.2, 0.5]  # type: ignore[attr-defined]
    assert [layer.keep_prob for layer in loaded.layers] == [0.7, 1, 1]  # type: ignore[attr-defined]
    assert loaded.layers[0].initialiser is nnx.initialisers.orthogonal  # type: ignore[attr-defined]
    np.testing.assert_array_equal(loaded.predict_proba(X), net.predict_proba(X))
    labels = [0, 1, 2, 0, 1, 2]
    assert loaded.fit(X, labels, epochs=3)["cost"] == net.fit(X, labels, epochs=3)["cost"]


def test_the_file_can_be_read_without_nnx(tmp_path: Path) -> None:
    net = nnx.MLP([4, 5, 3], device="cpu")
    net.save(tmp_path / "net")
    tensors = load_file(tmp_path / "net")
    np.testing.assert_array_equal(tensors["W1"], net.parameters["W1"])
    with safe_open(tmp_path / "net", framework="numpy") as file:
        description = json.loads(file.metadata()["nnx"])
    assert description["format"] == "nnx-network/1"
    assert description["layers"][0] == {
        "kind": "Dense",
        "units": 5,
        "activation": "relu",
        "keep_prob": 1.0,
        "initialiser": None,
    }
    assert stat.S_IMODE(os.stat(tmp_path / "net").st_mode) == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass(frozen=True)
class Tilted(nnx.Loss):
    """The pinball loss at one half, times two."""

    name = "tilted"
    target = "values"

    def losses(self, xp: Any, A: Any, Y: Any) -> Any:
        return xp.sum(xp.abs(A - Y), axis=0)

    def gradient(self, xp: Any, A: Any, Y: Any) -> Any:
        return xp.sign(A - Y)


def test_own_parts_are_passed_at_loading(tmp_path: Path, device: str) -> None:
    cube = nnx.Elementwise("cube", lambda xp, Z: Z**3, lambda xp, Z: 3 * Z**2, "Z")

    def halves(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        return np.full(shape, 0.5)

    net = nnx.Network(
        [nnx.Dense(5, cube, initialiser=halves), nnx.Dense(2)], n_x=4, loss=Tilted(), device=device
    )
    net.fit(X, np.ones((2, 6)), epochs=2)
    net.save(tmp_path / "net")
    loaded = nnx.load(tmp_path / "net", device=device, custom=[cube, Tilted(), halves])
    assert loaded.layers[0].initialiser is halves  # type: ignore[attr-defined]
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    with pytest.raises(CheckpointError, match="it uses the activation 'cube'; pass it"):
        nnx.load(tmp_path / "net", device=device, custom=[Tilted()])
    with pytest.raises(CheckpointError, match="it uses the loss 'tilted'; pass it"):
        nnx.load(tmp_path / "net", device=device, custom=[cube])


def change(path: Path, **fields: Any) -> None:
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["nnx"])
    tensors = load_file(path)
    description.update(fields)
    description = {key: value for key, value in description.items() if value != "absent"}
    save_file(tensors, path, metadata={"nnx": json.dumps(description)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "nnx-network/9"}, "its format is 'nnx-network/9', not 'nnx-network/1'"),
        ({"loss": "absent"}, "its description lacks 'loss'"),
        ({"n_x": 7}, r"parameter W1 is \(5, 4\), and the described network needs \(5, 7\)"),
        ({"layers": []}, "parameter .* needs no such parameter"),
        ({"layers": [{"kind": "Dense", "units": -1, "activation": "relu", "initialiser": None}]},
         "units must be a whole number"),
        ({"layers": 3}, "net: .*not iterable"),
        ({"layers": [{"kind": "os.system"}]}, "it uses the layer 'os.system'; pass it"),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, fields: dict[str, Any], message: str) -> None:
    nnx.MLP([4, 5, 3], device="cpu").save(tmp_path / "net")
    change(tmp_path / "net", **fields)
    with pytest.raises(CheckpointError, match=message):
        nnx.load(tmp_path / "net", device="cpu")


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="absent: there is no such file"):
        nnx.load(tmp_path / "absent")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(CheckpointError, match="text is no safetensors file"):
        nnx.load(tmp_path / "text")
    save_file({"W1": np.ones(3)}, tmp_path / "other")
    with pytest.raises(CheckpointError, match="no field 'nnx'; nnx did not write it"):
        nnx.load(tmp_path / "other")
    nnx.MLP([4, 5, 3], device="cpu").save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "net").write_bytes(content[:-20])
    with pytest.raises(CheckpointError, match="net is no safetensors file"):
        nnx.load(tmp_path / "net")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nnx.MLP([4, 5, 3], device="cpu", seed=1).save(tmp_path / "net")
    before = (tmp_path / "net").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        nnx.MLP([4, 5, 3], device="cpu", seed=2).save(tmp_path / "net")
    assert (tmp_path / "net").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_layers_that_cannot_be_described(tmp_path: Path) -> None:
    class Plain(nnx.Layer):
        units = 4

        def parameters(self, n_prev: int) -> Any:
            return {}

        def forward(self, parameters: Any, A_prev: Any, key: int | None) -> Any:
            return A_prev, None

        def backward(self, dA: Any, cache: Any) -> Any:
            return dA, {}

    @dataclass(frozen=True)
    class Holding(Plain):
        table: Any = ()

    for layer, message in (
        (Plain(), "layer Plain cannot be saved: make it a dataclass"),
        (Holding(), r"layer Holding cannot be saved: its field table is \(\), not a plain value"),
    ):
        net = nnx.Network([layer, nnx.Dense(1)], n_x=4, device="cpu")
        with pytest.raises(CheckpointError, match=message):
            net.save(tmp_path / "net")
        assert not (tmp_path / "net").exists()
