"""Which class a name stands for, before, during and after."""

import copy
import copyreg
import io
import os
import pickle
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.neural_network import _multilayer_perceptron as rooms

from nnx import accel, neural_network
from nnx.accel import patching

Run = Callable[..., subprocess.CompletedProcess[str]]
# The names of this module are exchanged like any other's; what a tuple holds is not.
KEPT = (MLPClassifier, MLPRegressor)
X, Y = load_iris(return_X_y=True)


@pytest.fixture
def earlier() -> Iterator[types.ModuleType]:
    """A module that imported the classes earlier."""
    module = types.ModuleType("earlier")
    vars(module).update(MLP=KEPT[0], kept={"MLP": KEPT[0]})
    sys.modules["earlier"] = module
    yield module
    del sys.modules["earlier"]


def test_names_stand_for_nnx_s_classes_and_then_for_their_own_again(
    earlier: types.ModuleType,
) -> None:
    before = dict(os.environ), list(sys.meta_path), dict(copyreg.dispatch_table)
    own = [vars(rooms)["MLPClassifier"], vars(rooms)["MLPRegressor"]]
    accel.install()
    try:
        accel.install()  # once is enough
        for name in ("MLPClassifier", "MLPRegressor"):
            stand_in = getattr(sklearn.neural_network, name)
            assert stand_in is getattr(rooms, name)
            assert issubclass(stand_in, getattr(neural_network, name))
            assert stand_in.__name__ == name
        assert MLPClassifier is sklearn.neural_network.MLPClassifier  # this module's own name
        assert earlier.MLP is MLPClassifier
        assert earlier.kept["MLP"] is KEPT[0]
        assert accel.installed()
    finally:
        accel.uninstall()
    assert [rooms.MLPClassifier, rooms.MLPRegressor] == own
    assert [sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor] == own
    assert [MLPClassifier, MLPRegressor, earlier.MLP] == [*own, own[0]]
    assert (dict(os.environ), list(sys.meta_path), dict(copyreg.dispatch_table)) == before
    assert not accel.installed()
    accel.uninstall()  # twice is harmless
    pickle.loads(pickle.dumps(own[0]()))


@pytest.mark.parametrize("before", ["", "/a:/b", ":/a:", None])
def test_an_environment_that_was_set_before_is_set_again(
    before: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONPATH", before)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NNX_ACCEL_LOG", "./log")
    accel.install()
    assert os.environ["PYTHONPATH"].startswith(patching.CHILDREN)
    assert os.environ["PYTHONPATH"].endswith(before or "")
    assert os.environ["NNX_ACCEL_LOG"] == str(tmp_path / "log")
    accel.uninstall()
    assert os.environ.get("PYTHONPATH") == before
    assert os.environ["NNX_ACCEL_LOG"] == "./log"


def test_what_others_put_on_the_path_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a")
    accel.install()
    os.environ["PYTHONPATH"] = os.pathsep.join(["/new", os.environ["PYTHONPATH"]])
    accel.uninstall()
    assert os.environ["PYTHONPATH"] == os.pathsep.join(["/new", "/a"])


def test_the_module_looks_as_if_its_own_loader_had_loaded_it(run: Run) -> None:
    code = """if True:
        import sklearn.neural_network._multilayer_perceptron as m, inspect
        print(type(m.__loader__).__name__, type(m.__spec__.loader).__name__)
        print(len(inspect.getsource(m)) > 1000)
    """
    assert run("-m", "nnx.accel", "-c", code).stdout == run("-c", code).stdout


@pytest.mark.usefixtures("installed")
def test_estimators_of_both_kinds_are_what_isinstance_says() -> None:
    assert isinstance(MLPClassifier(), KEPT[0])
    assert isinstance(clone(MLPClassifier()), MLPClassifier)
    assert repr(MLPClassifier(alpha=1.0)) == "MLPClassifier(alpha=1.0)"


def test_ipython_s_extension_reaches_the_names_of_the_session() -> None:
    shell = SimpleNamespace(user_ns={"MLPClassifier": KEPT[0], "x": 1})
    accel.load_ipython_extension(shell)
    try:
        assert shell.user_ns["MLPClassifier"] is sklearn.neural_network.MLPClassifier
        assert shell.user_ns["MLPClassifier"] is not KEPT[0]
    finally:
        accel.unload_ipython_extension(shell)
    assert shell.user_ns == {"MLPClassifier": KEPT[0], "x": 1}


# -- pickles --------------------------------------------------------------------------------------


def fit(model: Any) -> Any:
    model.set_params(hidden_layer_sizes=(5,), max_iter=3, random_state=0, n_iter_no_change=1000)
    with pytest.warns(match="hasn't converged"):
        return model.fit(X, Y)


def test_a_pickle_of_an_unaccelerated_model_opens_as_nnx_s_and_predicts_the_same() -> None:
    model = fit(KEPT[0]())
    content, expected = pickle.dumps(model), model.predict_proba(X)
    file = io.BytesIO()
    joblib.dump(model, file)
    accel.install()
    try:
        for opened in (pickle.loads(content), joblib.load(io.BytesIO(file.getvalue()))):
            assert type(opened) is MLPClassifier
            np.testing.assert_allclose(opened.predict_proba(X), expected, rtol=1e-12)
            clone(opened)
    finally:
        accel.uninstall()


@pytest.mark.usefixtures("installed")
def test_a_pickle_of_another_version_of_scikit_learn_warns_as_there() -> None:
    state = {**vars(KEPT[0]()), "_sklearn_version": "0.18"}
    model = MLPClassifier()
    with pytest.warns(InconsistentVersionWarning, match=r"MLPClassifier from version 0\.18"):
        model.__setstate__(state)
    assert not hasattr(model, "_sklearn_version")


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("copies", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_model_that_was_scikit_learn_s_stays_so_through_a_pickle(copies: Any) -> None:
    model = fit(KEPT[0]())
    again = copies(model)
    assert type(again) is KEPT[0]
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


def test_a_pickle_of_an_accelerated_model_opens_where_nothing_is_installed() -> None:
    accel.install()
    try:
        model = fit(MLPClassifier())
        content, expected = pickle.dumps(model), model.predict_proba(X)
    finally:
        accel.uninstall()
    opened = pickle.loads(content)
    assert isinstance(opened, neural_network.MLPClassifier)
    np.testing.assert_array_equal(opened.predict_proba(X), expected)


# -- processes ------------------------------------------------------------------------------------

CHILDREN = """
import multiprocessing, subprocess, sys, warnings
from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.neural_network import MLPClassifier

def where():
    from sklearn.neural_network import MLPRegressor
    return MLPRegressor.__module__

if __name__ == "__main__":
    network = MLPClassifier((4,), solver="lbfgs", max_iter=500, random_state=0)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), network), {"mlpclassifier__alpha": [1e-3, 1e-1]},
        n_jobs=2, cv=2, error_score="raise",
    ).fit(*load_iris(return_X_y=True))
    print("search", type(search.best_estimator_[-1]).__module__)
    print("loky", *Parallel(n_jobs=2)([delayed(where)()] * 2))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print("spawn", pool.apply(where))
    code = "from sklearn.neural_network import MLPClassifier as C; print(C.__module__)"
    print("python", subprocess.check_output([sys.executable, "-c", code], text=True).strip())
"""


def test_child_processes_are_accelerated_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CHILDREN)
    here = "nnx.accel.estimators"
    result = run("-m", "nnx.accel", "program.py")
    assert result.stderr == ""
    assert result.stdout.splitlines() == [
        f"search {here}",
        f"loky {here} {here}",
        f"spawn {here}",
        f"python {here}",
    ]


def test_a_sitecustomize_of_one_s_own_still_runs_in_children(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sitecustomize.py").write_text("print('mine')")
    code = "import sys; print(sys.modules['sitecustomize'].__file__, len(sys.path))"
    path = str(tmp_path / "mine")
    plain = run("-c", code, PYTHONPATH=path)
    child = run("-c", code, PYTHONPATH=os.pathsep.join([patching.CHILDREN, path]))
    assert plain.stdout.startswith("mine\n")
    assert (child.stdout, child.stderr) == (plain.stdout, plain.stderr)


def test_a_child_without_nnx_is_left_alone(run: Run, tmp_path: Path) -> None:
    """Another environment's Python sees PYTHONPATH too."""
    code = """if True:
        import sys
        sys.modules["nnx"] = None
        from sklearn.neural_network import MLPClassifier
        print(MLPClassifier.__module__)
    """
    result = run("-c", code, PYTHONPATH=patching.CHILDREN)
    assert result.stdout == f"{patching.TARGET}\n"
    assert result.stderr == ""


def test_a_child_that_uses_no_networks_loads_nothing(run: Run) -> None:
    code = "import sys; print([m for m in sys.modules if m.partition('.')[0] in ('nnx', 'numpy')])"
    assert run("-c", code, PYTHONPATH=patching.CHILDREN).stdout == "[]\n"
