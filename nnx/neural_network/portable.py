"""What takes an estimator elsewhere: scikit-learn, a file, a pickle on another machine, ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from os import PathLike
from typing import Any, Self

from nnx.backends import get_backend
from nnx.backends.errors import DeviceError, DeviceWarning
from nnx.neural_network import conversion, files


class Portable:
    """Mixed into both estimators."""

    device: str

    def to_sklearn(self) -> Any:
        """Return a scikit-learn model with the same parameters, weights and optimizer state.

        What scikit-learn's class lacks is left out, such as `device` and `dropout`; predictions
        are the same.

        Raises
        ------
        DataError
            Where the activation is none of scikit-learn's.
        """
        return conversion.to_sklearn(self)

    @classmethod
    def from_sklearn(cls, model: Any, **added: Any) -> Self:
        """Return an estimator with the parameters, weights and optimizer state of `model`.

        Parameters
        ----------
        model : sklearn.neural_network.MLPClassifier or MLPRegressor
            Fitted or not. It is copied.
        **added
            Parameters that scikit-learn lacks, such as `device`.
        """
        result: Self = conversion.from_sklearn(cls, model, **added)
        return result

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, whole or not at all.

        `nnx.load` reads it; nothing is unpickled. Parameters, weights, optimizer state and loss
        curve are kept; `callbacks` and `validation` are not.

        Raises
        ------
        CheckpointError
            Where it is not fitted, or holds something that a file cannot describe.
        """
        files.save(self, path)

    def to_onnx(self, path: str | PathLike[str] | None = None) -> Any:
        """Return the fitted estimator as an ONNX model, and write it to `path` if one is given.

        Input "X" (m, n_x), of the weights' dtype. A classifier's outputs are "label" and
        "probabilities", a regressor's is "variable". Needs the extra `onnx`.
        """
        from nnx.neural_network import onnx

        return onnx.export(self, path)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: host arrays only, wherever the estimator was trained."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[assignment]
        return {name: value for name, value in state.items() if name not in conversion.PRIVATE}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take a pickle's state; a device that is not here becomes the CPU, with a warning."""
        super().__setstate__(dict(state))  # type: ignore[misc]
        self.device = available(self.device)


def available(device: str) -> str:
    """Return `device` where it can be used here, else "cpu", with a DeviceWarning."""
    if device in ("auto", "cpu"):
        return device
    try:
        get_backend(device)
    except DeviceError as error:
        warnings.warn(
            DeviceWarning(f"the model was made for another device and now uses the CPU: {error}"),
            stacklevel=3,
        )
        return "cpu"
    return device
