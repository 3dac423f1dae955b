"""The kernels for real GPUs: NVRTC compiles them without one, and every one is there and used."""

import numpy as np
import pytest

from nnx.backends.cuda.launch import OPTIONS, kernel_names, kernel_source
from nnx.backends.cuda.step_kernels import FILE, step_names
from nnx.backends.reference import losses, updates
from nnx.backends.reference.activations import ACTIVATIONS


def call(function, *arguments):
    """Call a function of NVRTC and return its results without the status, which is checked."""
    status, *results = function(*arguments)
    assert int(status) == 0, status
    return results[0] if results else None


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize(
    ("file", "names"),
    [("kernels.cu", kernel_names()), (FILE, step_names())],
    ids=["kernels", "step"],
)
def test_nvrtc_compiles_every_kernel_without_a_warning(architecture, file, names):
    nvrtc = pytest.importorskip("cuda.bindings.nvrtc", reason="cuda-bindings brings NVRTC's API")
    program = call(nvrtc.nvrtcCreateProgram, kernel_source(file).encode(), file.encode(), 0, [], [])
    for name in names:
        call(nvrtc.nvrtcAddNameExpression, program, name.encode())
    # What CuPy adds to the options.
    options = [o.encode() for o in (*OPTIONS, "-ftz=true", f"--gpu-architecture={architecture}")]
    (status,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
    log = b" " * call(nvrtc.nvrtcGetProgramLogSize, program)
    call(nvrtc.nvrtcGetProgramLog, program, log)
    assert (int(status), log.strip(b" \0\n").decode()) == (0, "")
    binary = b" " * call(nvrtc.nvrtcGetCUBINSize, program)
    call(nvrtc.nvrtcGetCUBIN, program, binary)
    for name in names:
        assert call(nvrtc.nvrtcGetLoweredName, program, name.encode()) in binary


def test_every_kernel_is_launched_by_a_primitive(host_backend, monkeypatch):
    """And so no layout of the training step falls back on the reference unnoticed."""
    launched, backend = [], host_backend
    monkeypatch.setattr(backend, "_launch", lambda name, *_: launched.append(name))
    for dtype in ("float32", "float64"):
        W, b, A = (backend.zeros(shape, dtype) for shape in [(3, 3), (3, 1), (3, 4)])
        for g in ACTIVATIONS.values():
            backend.dense_forward(W, b, A, g, A=backend.empty((3, 4), dtype))
            if g.builtin != "identity":  # its derivative is one: there is nothing to launch
                backend.dense_backward(W, A, g, A)
        labels = backend.asarray(np.zeros(4, np.int64))
        for loss in (losses.BinaryCrossEntropy(), losses.MeanSquaredError()):
            backend.loss_with_gradient(loss, ACTIVATIONS[loss.link], A, A, A)
        for Y in (labels, A):
            loss = losses.CategoricalCrossEntropy()
            backend.loss_with_gradient(loss, ACTIVATIONS["softmax"], A, A, Y)
        for rule in (
            updates.GradientDescentRule(),
            updates.MomentumRule(),
            updates.RMSpropRule(),
            updates.AdamRule(),
        ):
            theta = backend.zeros((12,), dtype)
            slots = {name: backend.zeros((12,), dtype) for name in rule.slots}
            backend.update(rule, theta, theta, slots, 0.1, 1)
        backend.dropout(A, 1, 0.5)
    assert set(launched) == set(kernel_names())
    assert len(kernel_names()) == len(set(kernel_names()))
