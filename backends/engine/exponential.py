"""exp and tanh for compiled code, as formulas that the compiler turns into vector instructions.

Moshier's Cephes: expf, tanhf, exp and tanh; errors of one or two units in the last place.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

from nnx.backends.engine.lowlevel import power_of_two, power_of_two_64

# For functions that only compiled code calls: without the wrappers they compile faster. Python's
# error model would check every division for zero, and a loop with a way out is not vectorized.
inner = partial(njit, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
# Reordering a sum and fusing multiply with add is what vectors need; NaN and infinity stay.
FAST = {"reassoc", "contract", "nsz"}

_F = np.float32
_LOG2E, _LN2_HIGH, _LN2_LOW = _F(1.44269504088896341), _F(0.693359375), _F(-2.12194440e-4)
_E0, _E1, _E2 = _F(1.9875691500e-4), _F(1.3981999507e-3), _F(8.3334519073e-3)
_E3, _E4, _E5 = _F(4.1665795894e-2), _F(1.6666665459e-1), _F(5.0000001201e-1)
_T0, _T1, _T2 = _F(-5.70498872745e-3), _F(2.06390887954e-2), _F(-5.37397155531e-2)
_T3, _T4 = _F(1.33314422036e-1), _F(-3.33332819422e-1)
_LOWEST, _HIGHEST, _TANH_SPLIT = _F(-104), _F(89), _F(0.625)
_ZERO, _HALF, _ONE, _TWO = _F(0), _F(0.5), _F(1), _F(2)


@inner(fastmath={"contract"})
def _exp32(x: Any) -> Any:
    x = _HIGHEST if x > _HIGHEST else x
    x = _LOWEST if x < _LOWEST else x
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = _E0
    p = p * r + _E1
    p = p * r + _E2
    p = p * r + _E3
    p = p * r + _E4
    p = p * r + _E5
    p = p * r * r + r + _ONE
    # 2^n in two factors: n reaches 128 and, for subnormal results, -150.
    whole = np.int32(n)
    half = whole >> np.int32(1)
    return p * power_of_two(half) * power_of_two(whole - half)


@inner(fastmath={"contract"})
def _tanh32(x: Any) -> Any:
    size = -x if x < _ZERO else x
    e = _exp32(size + size)
    large = _ONE - _TWO / (e + _ONE)
    large = -large if x < _ZERO else large
    s = x * x
    p = _T0
    p = p * s + _T1
    p = p * s + _T2
    p = p * s + _T3
    p = p * s + _T4
    return p * s * x + x if size < _TANH_SPLIT else large


_LOG2E_64 = 1.4426950408889634
_LN2_HIGH_64, _LN2_LOW_64 = 6.93145751953125e-1, 1.42860682030941723212e-6
_LOWEST_64, _HIGHEST_64 = -746.0, 710.0


@inner(fastmath={"contract"})
def _exp64(x: Any) -> Any:
    x = _HIGHEST_64 if x > _HIGHEST_64 else x
    x = _LOWEST_64 if x < _LOWEST_64 else x
    n = np.floor(x * _LOG2E_64 + 0.5)
    r = x - n * _LN2_HIGH_64
    r = r - n * _LN2_LOW_64
    s = r * r
    p = 1.26177193074810590878e-4
    p = p * s + 3.02994407707441961300e-2
    p = p * s + 9.99999999999999999910e-1
    p = p * r
    q = 3.00198505138664455042e-6
    q = q * s + 2.52448340349684104192e-3
    q = q * s + 2.27265548208155028766e-1
    q = q * s + 2.0
    p = 1.0 + 2.0 * (p / (q - p))
    # 2^n in two factors: n reaches 1024 and, for subnormal results, -1075.
    whole = np.int32(n)
    half = whole >> np.int32(1)
    return p * power_of_two_64(half) * power_of_two_64(whole - half)


@inner(fastmath={"contract"})
def _tanh64(x: Any) -> Any:
    size = -x if x < 0.0 else x
    large = 1.0 - 2.0 / (_exp64(size + size) + 1.0)
    large = -large if x < 0.0 else large
    s = x * x
    p = -9.64399179425052238628e-1
    p = p * s - 9.92877231001918586564e1
    p = p * s - 1.61468768441708447952e3
    q = s + 1.12811678491632931402e2
    q = q * s + 2.23548839060100448583e3
    q = q * s + 4.84406305325125486048e3
    return x + x * s * (p / q) if size < 0.625 else large


def exp(x: Any) -> Any:
    """e^x in the precision of x."""
    raise NotImplementedError("for compiled code")


def tanh(x: Any) -> Any:
    """Hyperbolic tangent in the precision of x."""
    raise NotImplementedError("for compiled code")


@overload(exp)
def _exp(x):
    if x == types.float32:
        return lambda x: _exp32(x)
    return lambda x: _exp64(x)


@overload(tanh)
def _tanh(x):
    if x == types.float32:
        return lambda x: _tanh32(x)
    return lambda x: _tanh64(x)
