"""Where the products come from: NumPy's own BLAS, or MKL where NNX_BLAS asks for it."""

import shutil
import subprocess
import sys

import pytest

from nnx.backends.engine import blas
from nnx.errors import DataError, UnknownNameError

MKL = """
int layer, threads = 1;
extern "C" {
void cblas_sgemm() {}
void cblas_dgemm() {}
int MKL_Set_Threading_Layer(int wanted) { return layer = wanted; }
void MKL_Set_Num_Threads(int count) { threads = count; }
int MKL_Get_Max_Threads() { return threads; }
int chosen_layer() { return layer; }
}
"""


def find():
    """As at the first call in a process."""
    return blas.find_blas.__wrapped__()


def test_numpys_own_is_the_default(monkeypatch):
    monkeypatch.delenv("NNX_BLAS", raising=False)
    default = find()
    monkeypatch.setenv("NNX_BLAS", "numpy")
    assert find().gemm == default.gemm


def test_another_name_is_an_error_that_lists_them(monkeypatch):
    monkeypatch.setenv("NNX_BLAS", "mlk")
    with pytest.raises(UnknownNameError, match=r"unknown NNX_BLAS 'mlk'; did you mean 'mkl'\?"):
        find()


def test_a_missing_mkl_is_an_error_that_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("NNX_BLAS", "MKL")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(DataError, match="pip install mkl"):
        find()


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to build a stand-in for MKL")
def test_mkl_gives_the_products_and_numpys_threads_stay_the_ones_held(monkeypatch, tmp_path):
    monkeypatch.delenv("NNX_BLAS", raising=False)
    own = find()
    source, folder = tmp_path / "mkl.cpp", tmp_path / "lib"
    folder.mkdir()
    source.write_text(MKL)
    library = folder / "libmkl_rt.so.9"
    subprocess.run(["g++", "-shared", "-fPIC", "-o", library, source], check=True)
    monkeypatch.setenv("NNX_BLAS", "mkl")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    found = find()
    assert found is not None
    assert found.gemm != own.gemm
    assert not found.wide
    assert found.get_threads() == own.get_threads()
    assert blas.ctypes.CDLL(str(library)).chosen_layer() == 1
