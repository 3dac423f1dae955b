"""Activations and their derivatives for compiled code, one row of contiguous numbers at a time.

The formulas are those of `nnx.backends.reference.activations`.
"""

from __future__ import annotations

import math
from typing import Any

from nnx.backends.engine.exponential import FAST, exp, inner, tanh
from nnx.backends.engine.lowlevel import cast

_GELU_C = math.sqrt(2 / math.pi)
_GELU_K = 0.044715
_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805


@inner(fastmath=FAST)
def sigmoid(z: Any) -> Any:
    """1 / (1 + exp(-z)); exp is only taken of numbers below zero."""
    one = cast(1, z)
    e = exp(-abs(z))
    return (one if z >= 0 else e) / (one + e)


# -- g(z, alpha) and g'(cache, alpha); the cache is A or Z as in the reference ---------------------


@inner(fastmath=FAST)
def _identity_slope(a, alpha):
    return cast(1, a)


@inner(fastmath=FAST)
def _relu(z, alpha):
    zero = cast(0, z)
    return zero if z < zero else z  # NaN is not below zero, and stays


@inner(fastmath=FAST)
def _relu_slope(a, alpha):
    return cast(1, a) if a > 0 else cast(0, a)


@inner(fastmath=FAST)
def _sigmoid(z, alpha):
    return sigmoid(z)


@inner(fastmath=FAST)
def _sigmoid_slope(a, alpha):
    return a * (cast(1, a) - a)


@inner(fastmath=FAST)
def _tanh_(z, alpha):
    return tanh(z)


@inner(fastmath=FAST)
def _tanh_slope(a, alpha):
    return cast(1, a) - a * a


@inner(fastmath=FAST)
def _leaky_relu(z, alpha):
    return z if z > 0 else alpha * z


@inner(fastmath=FAST)
def _leaky_relu_slope(a, alpha):
    return cast(1, a) if a > 0 else alpha


@inner()
def _elu(z, alpha):
    return z if z > 0 else alpha * cast(math.expm1(min(z, cast(0, z))), z)


@inner(fastmath=FAST)
def _elu_slope(a, alpha):
    return cast(1, a) if a > 0 else a + alpha


@inner()
def _selu(z, alpha):
    return cast(_SELU_SCALE, z) * _elu(z, cast(_SELU_ALPHA, z))


@inner(fastmath=FAST)
def _selu_slope(a, alpha):
    return cast(_SELU_SCALE, a) if a > 0 else a + cast(_SELU_SCALE * _SELU_ALPHA, a)


@inner(fastmath=FAST)
def _gelu(z, alpha):
    half, one = cast(0.5, z), cast(1, z)
    return half * z * (one + tanh(cast(_GELU_C, z) * (z + cast(_GELU_K, z) * z * z * z)))


@inner(fastmath=FAST)
def _gelu_slope(z, alpha):
    half, one, c, k = cast(0.5, z), cast(1, z), cast(_GELU_C, z), cast(_GELU_K, z)
    t = tanh(c * (z + k * z * z * z))
    return half * (one + t) + half * z * (one - t * t) * c * (one + cast(3, z) * k * z * z)


@inner(fastmath=FAST)
def _silu(z, alpha):
    return z * sigmoid(z)


@inner(fastmath=FAST)
def _silu_slope(z, alpha):
    one, s = cast(1, z), sigmoid(z)
    return s * (one + z * (one - s))


@inner()
def _softplus(z, alpha):
    return max(z, cast(0, z)) + cast(math.log1p(exp(-abs(z))), z)


@inner()
def _softplus_slope(a, alpha):
    return -cast(math.expm1(-a), a)


@inner(fastmath=FAST)
def _exponential(z, alpha):
    return exp(z)


@inner(fastmath=FAST)
def _exponential_slope(a, alpha):
    return a


def _compiled(row: Any, kind: str, of: Any) -> Any:
    """Compile a row function under a name of its own.

    Numba tells functions of one name apart by a number that differs from process to process. Two
    cached functions that were compiled in different processes would take each other's.
    """
    row.__qualname__ = row.__name__ = f"row_{kind}_{of.__name__}"
    return inner(fastmath=FAST)(row)


def _in_place(g: Any) -> Any:
    # One pointer: with two the compiler cannot know that they are equal, and would not vectorize.
    def row(a, n, alpha):
        for j in range(n):
            a[j] = g(a[j], alpha)

    return _compiled(row, "in_place", g)


def _keeping(g: Any) -> Any:
    def row(z, a, n, alpha):
        for j in range(n):
            a[j] = g(z[j], alpha)

    return _compiled(row, "keeping", g)


def _backward(slope: Any) -> Any:
    def row(d, cache, n, alpha, scale):
        for j in range(n):
            cache[j] = d[j] * slope(cache[j] * scale, alpha)

    return _compiled(row, "backward", slope)


# The number of an activation in the compiled program; softmax is for the output layer alone.
IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, ELU, SELU, GELU, SILU, SOFTPLUS, EXPONENTIAL = range(11)
SOFTMAX = 11
CODES = {
    "identity": IDENTITY,
    "relu": RELU,
    "sigmoid": SIGMOID,
    "tanh": TANH,
    "leaky_relu": LEAKY_RELU,
    "elu": ELU,
    "selu": SELU,
    "gelu": GELU,
    "silu": SILU,
    "softplus": SOFTPLUS,
    "exponential": EXPONENTIAL,
}

_relu_forward = _in_place(_relu)
_sigmoid_forward = _in_place(_sigmoid)
_tanh_forward = _in_place(_tanh_)
_leaky_relu_forward = _in_place(_leaky_relu)
_elu_forward = _in_place(_elu)
_selu_forward = _in_place(_selu)
_gelu_forward = _in_place(_gelu)
_silu_forward = _in_place(_silu)
_softplus_forward = _in_place(_softplus)
_exponential_forward = _in_place(_exponential)
_gelu_keeping, _silu_keeping = _keeping(_gelu), _keeping(_silu)
_identity_backward = _backward(_identity_slope)
_relu_backward = _backward(_relu_slope)
_sigmoid_backward = _backward(_sigmoid_slope)
_tanh_backward = _backward(_tanh_slope)
_leaky_relu_backward = _backward(_leaky_relu_slope)
_elu_backward = _backward(_elu_slope)
_selu_backward = _backward(_selu_slope)
_gelu_backward = _backward(_gelu_slope)
_silu_backward = _backward(_silu_slope)
_softplus_backward = _backward(_softplus_slope)
_exponential_backward = _backward(_exponential_slope)


@inner()
def forward_row(code, a, n, alpha):
    """a[:n] = g(a[:n])."""
    if code == RELU:
        _relu_forward(a, n, alpha)
    elif code == SIGMOID:
        _sigmoid_forward(a, n, alpha)
    elif code == TANH:
        _tanh_forward(a, n, alpha)
    elif code == LEAKY_RELU:
        _leaky_relu_forward(a, n, alpha)
    elif code == ELU:
        _elu_forward(a, n, alpha)
    elif code == SELU:
        _selu_forward(a, n, alpha)
    elif code == GELU:
        _gelu_forward(a, n, alpha)
    elif code == SILU:
        _silu_forward(a, n, alpha)
    elif code == SOFTPLUS:
        _softplus_forward(a, n, alpha)
    elif code == EXPONENTIAL:
        _exponential_forward(a, n, alpha)


@inner()
def forward_row_keeping(code, z, a, n):
    """a[:n] = g(z[:n]), for the activations whose derivative is written from Z."""
    if code == GELU:
        _gelu_keeping(z, a, n, z[0])
    else:
        _silu_keeping(z, a, n, z[0])


@inner()
def backward_row(code, d, cache, n, alpha, scale):
    """cache[:n] = d[:n] g'(scale cache[:n]): the gradient takes the place of what it needed."""
    if code == IDENTITY:
        _identity_backward(d, cache, n, alpha, scale)
    elif code == RELU:
        _relu_backward(d, cache, n, alpha, scale)
    elif code == SIGMOID:
        _sigmoid_backward(d, cache, n, alpha, scale)
    elif code == TANH:
        _tanh_backward(d, cache, n, alpha, scale)
    elif code == LEAKY_RELU:
        _leaky_relu_backward(d, cache, n, alpha, scale)
    elif code == ELU:
        _elu_backward(d, cache, n, alpha, scale)
    elif code == SELU:
        _selu_backward(d, cache, n, alpha, scale)
    elif code == GELU:
        _gelu_backward(d, cache, n, alpha, scale)
    elif code == SILU:
        _silu_backward(d, cache, n, alpha, scale)
    elif code == SOFTPLUS:
        _softplus_backward(d, cache, n, alpha, scale)
    elif code == EXPONENTIAL:
        _exponential_backward(d, cache, n, alpha, scale)
