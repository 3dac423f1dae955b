"""From a device's name to its backend: "cpu", "cuda", "cuda:1", "auto", and names of third parties.

Nothing of a device is imported before it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from nnx.backends.base import Backend
from nnx.backends.errors import DataError, DeviceError, DTypeError, unknown_name
from nnx.backends.exchange import kind_of

Factory = Callable[[str], Backend]

_made: dict[str, Backend] = {}


def _cpu(device: str) -> Backend:
    from nnx.backends.cpu import CpuBackend

    if device != "cpu":
        raise DeviceError(f"device {device!r}: there is one CPU device, named 'cpu'")
    return CpuBackend()


def _cuda(device: str) -> Backend:
    from nnx.backends.cuda import make_backend

    return make_backend(device)


_factories: dict[str, Factory] = {"cpu": _cpu, "cuda": _cuda}


def register_backend(name: str, factory: Factory) -> None:
    """Make `get_backend(name)` and `get_backend(name + ":1")` call `factory(device)`.

    A distribution can instead name the factory in its entry-point group `nnx.backends`.

    Raises
    ------
    DataError
        Where the name is taken, is "auto" or holds a colon.
    """
    if name in _factories or name == "auto" or ":" in name or not name:
        raise DataError(f"backend name {name!r} is taken or not allowed; choose one without ':'")
    _factories[name] = factory


def _find(device: str) -> Factory:
    name = device.partition(":")[0]
    if name in _factories:
        return _factories[name]
    from importlib.metadata import entry_points  # slow to import, and seldom needed

    plugins = {point.name: point for point in entry_points(group="nnx.backends")}
    if name not in plugins:
        raise unknown_name("device", device, {*_factories, *plugins, "auto"})
    factory: Factory = plugins[name].load()
    return factory


def get_backend(device: str | Backend = "auto") -> Backend:
    """Return the backend of a device; the same object for the same device.

    Parameters
    ----------
    device : str
        "cpu", "cuda" (the first GPU), "cuda:1", or "auto": the environment variable NNX_DEVICE
        where it is set, else the first usable GPU, else the CPU.

    Raises
    ------
    DeviceError
        Where the device is not there; the message says what is missing.
    UnknownNameError
        Where no backend has that name.

    Examples
    --------
    >>> get_backend("cpu")
    CpuBackend('cpu')
    """
    if isinstance(device, Backend):
        return device
    if not isinstance(device, str):
        raise DTypeError(f"device must be a string such as 'cpu' or 'cuda:0', got {device!r}")
    if device == "auto":
        device = os.environ.get("NNX_DEVICE", "").strip() or "auto"
    if device == "auto":
        from nnx.backends.cuda import count_devices

        device = "cuda:0" if count_devices() else "cpu"
    if device not in _made:
        backend = _find(device)(device)
        _made[device] = _made.setdefault(backend.device, backend)
    return _made[device]


def available_devices() -> list[str]:
    """Return the devices that can be used here: "cpu", and "cuda:N" for each usable GPU."""
    from nnx.backends.cuda import count_devices

    return ["cpu", *(f"cuda:{i}" for i in range(count_devices()))]


def backend_of(x: object) -> Backend:
    """Return the backend whose device holds the array `x`.

    Raises
    ------
    DTypeError
        Where `x` is no array of a backend; `get_backend(device).asarray(x)` makes one.
    """
    import numpy as np

    if isinstance(x, np.ndarray):
        return get_backend("cpu")
    if type(x).__module__.startswith("cupy"):
        return get_backend(f"cuda:{x.device.id}")  # type: ignore[attr-defined]
    for backend in list(_made.values()):
        if backend.owns(x):
            return backend
    raise DTypeError(
        f"{kind_of(x)} is not an array of a backend; get_backend(device).asarray(x) makes one"
    )
