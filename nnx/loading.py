"""`nnx.load`: one function for networks and estimators; the file says what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from nnx import checkpoint, network
from nnx.backends import Backend
from nnx.backends.errors import DataError


def load(
    path: str | PathLike[str],
    *,
    device: str | Backend = "auto",
    custom: Sequence[Any] = (),
) -> Any:
    """Read a network or an estimator that its `save` wrote. Nothing is unpickled.

    Parameters
    ----------
    path : path
    device : str
    custom : sequence
        The activations, losses (objects with a `name`), initialisers (functions) and layer
        classes of one's own that a network uses.

    Returns
    -------
    Network, MLPClassifier or MLPRegressor

    Raises
    ------
    CheckpointError
        Where the file is neither, or names something that `custom` lacks.
    """
    description, tensors = checkpoint.open_file(path)
    if description.get("format") != checkpoint.ESTIMATOR_FORMAT:
        return network.load(path, device=device, custom=custom)
    from nnx.neural_network import files  # needs scikit-learn

    if not isinstance(device, str):
        raise DataError(f"an estimator's device is a name such as 'cpu'; got {device!r}")
    return files.restore(description, tensors, device, path)
