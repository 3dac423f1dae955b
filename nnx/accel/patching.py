"""The names in modules: nnx's classes instead of scikit-learn's, and back.

Nothing is imported for it: where scikit-learn's module is there its names are exchanged at once,
and otherwise as soon as someone imports it.
"""

from __future__ import annotations

import copyreg
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from nnx.accel import log
from nnx.backends.errors import NnxError

TARGET = "sklearn.neural_network._multilayer_perceptron"
CHILDREN = str(Path(__file__).parent / "children")

_lock = threading.RLock()
_finder: _Finder | None = None
_stand_ins: dict[type, type] = {}
# Variables that were set: what they were before (None: not there), and what they were set to.
_environment: dict[str, tuple[str | None, str]] = {}
_reduce: Callable[[Any], tuple[Any, ...]] | None = None


def installed() -> bool:
    """Whether scikit-learn's names stand for nnx's classes in this process."""
    return _finder is not None


def install() -> None:
    """Let scikit-learn's MLP be nnx's, in this process and in the Python processes it starts.

    Modules that hold ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn as a global name get
    nnx's under that name. Instances that exist already, and classes held elsewhere (in containers,
    closures, default arguments, as base classes), stay scikit-learn's.

    Raises
    ------
    DataError
        Where NNX_ACCEL_LOG cannot be understood.
    """
    global _finder
    with _lock:
        if _finder is not None:
            return
        file = log.start()
        _finder = _Finder()
        sys.meta_path.insert(0, _finder)
        _set("PYTHONPATH", os.pathsep.join([CHILDREN, *_python_path()]))
        if file is not None:  # for children in other folders
            _set("NNX_ACCEL_LOG", file)
    # Without the lock: an import waits for other threads' imports, which may wait for the lock.
    if TARGET in sys.modules:
        _load_stand_ins()
        with _lock:
            _exchange()


def uninstall() -> None:
    """Give scikit-learn its own classes back; estimators that were made stay nnx's."""
    global _finder
    with _lock:
        if _finder is None:
            return
        sys.meta_path.remove(_finder)
        _finder = None
        _restore_environment()
        _everywhere({ours: own for own, ours in _stand_ins.items()})
        for own in _stand_ins:
            copyreg.dispatch_table.pop(own, None)
        log.stop()


def register(stand_ins: Mapping[type, type], reduce: Callable[[Any], tuple[Any, ...]]) -> None:
    """Take scikit-learn's classes with what stands in for each, and how pickle takes them apart.

    `nnx.accel.estimators` calls it when it is loaded, be it for this module or by a pickle.
    """
    global _reduce
    _reduce = reduce
    _stand_ins.update(stand_ins)
    with _lock:
        _exchange()


def replace_names(names: MutableMapping[str, Any]) -> None:
    """Exchange the classes in a namespace that is no module's, as they are exchanged in modules."""
    pairs = _stand_ins if installed() else {ours: own for own, ours in _stand_ins.items()}
    _replace(names, {id(old): new for old, new in pairs.items()})


def _load_stand_ins() -> None:
    try:
        import_module("nnx.accel.estimators")
    except (ImportError, NnxError) as error:
        log.once(log.LEVELS["warning"], f"scikit-learn stays as it is: {error}")


def _exchange() -> None:
    """Put nnx's classes, where they are loaded, in the place of scikit-learn's."""
    if not installed() or not _stand_ins or _reduce is None:
        return
    for own in _stand_ins:
        # Pickle refuses a class that is not what its name stands for.
        copyreg.pickle(own, _reduce)  # type: ignore[arg-type]
    _everywhere(_stand_ins)
    log.once(log.LEVELS["info"], "MLPClassifier and MLPRegressor of scikit-learn are nnx's")


def _everywhere(pairs: Mapping[type, type]) -> None:
    by_id = {id(old): new for old, new in pairs.items()}
    for names in _globals():
        _replace(names, by_id)


def _globals() -> Iterator[MutableMapping[str, Any]]:
    """Return the globals of every module but nnx's own."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, ModuleType) and name.partition(".")[0] != "nnx":
            # Not vars(module): that makes a lazy module load itself.
            yield object.__getattribute__(module, "__dict__")


def _replace(names: MutableMapping[str, Any], by_id: Mapping[int, type]) -> None:
    for name, value in list(names.items()):
        if id(value) in by_id:
            names[name] = by_id[id(value)]


def _python_path() -> list[str]:
    text = os.environ.get("PYTHONPATH", "")
    return text.split(os.pathsep) if text else []


def _set(name: str, value: str) -> None:
    _environment[name] = os.environ.get(name), value
    os.environ[name] = value


def _restore_environment() -> None:
    for name, (before, value) in _environment.items():
        if os.environ.get(name) == value:
            if before is None:
                del os.environ[name]
            else:
                os.environ[name] = before
        elif name == "PYTHONPATH":  # someone else has changed it meanwhile
            os.environ[name] = os.pathsep.join(p for p in _python_path() if p != CHILDREN)
    _environment.clear()


class _Finder(MetaPathFinder):
    """Sees scikit-learn's module being imported, and exchanges the classes right after."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TARGET:
            return None
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(fullname, path, target)
                if spec is not None and spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                    return spec
        return None


class _Loader(Loader):
    """Loads as the module's own loader does, which is all that can be seen of it afterwards."""

    def __init__(self, own: Loader) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.own
        if module.__spec__ is not None:
            module.__spec__.loader = self.own
        self.own.exec_module(module)
        if installed():
            _load_stand_ins()
