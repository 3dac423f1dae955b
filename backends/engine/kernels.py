"""The steps of a compiled program between its matrix products; see `interpreter` for the operands.

A matrix is an address, rows, columns and a leading dimension (numbers from row to row). Every
worker calls these on its own part. `one` is a number of the program's dtype.
"""

from __future__ import annotations

import math

import numpy as np

from nnx.backends.engine.elementwise import (
    IDENTITY,
    SOFTMAX,
    backward_row,
    forward_row,
    forward_row_keeping,
    sigmoid,
)
from nnx.backends.engine.exponential import FAST, exp, inner
from nnx.backends.engine.lowlevel import cast, floats, integers

(
    CROSS_ENTROPY, CLIPPED_CROSS_ENTROPY, BINARY_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY,
    SQUARED, HALF_SQUARED, ABSOLUTE, HUBER, POISSON, POISSON_DEVIANCE,
) = range(10)  # fmt: skip
DESCENT, MOMENTUM, NESTEROV, RMSPROP, ADAM, ADAM_HAT = range(6)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1, _MIX2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_U1, _U27, _U30, _U31, _U32 = (np.uint64(n) for n in (1, 27, 30, 31, 32))


@inner(fastmath=FAST)
def _add_vector(a, b, n):
    for j in range(n):
        a[j] += b[j]


@inner(fastmath=FAST)
def _add_number(a, b, n):
    for j in range(n):
        a[j] += b


@inner(fastmath=FAST)
def _add_scaled(a, b, scale, n):
    for j in range(n):
        a[j] += scale * b[j]


@inner(fastmath=FAST)
def _sum(a, n, one):
    total = cast(0, one)
    for j in range(n):
        total += a[j]
    return total


@inner()
def fill_zero(address, n, one):
    """Set n numbers to zero."""
    a, zero = floats(address, one), cast(0, one)
    for j in range(n):
        a[j] = zero


@inner()
def add(target, source, n, one):
    """target[:n] += source[:n]."""
    _add_vector(floats(target, one), floats(source, one), n)


@inner()
def tail(z, a, rows, columns, ld, bias, bias_by_row, code, alpha, size, one):
    """A = g(Z + b), both with leading dimension ld; in place where z == a."""
    b = floats(bias, one)
    for i in range(rows):
        row = floats(z + i * ld * size, one)
        if bias_by_row:
            _add_number(row, b[i], columns)
        else:
            _add_vector(row, b, columns)
        if z != a:
            forward_row_keeping(code, row, floats(a + i * ld * size, one), columns)
        else:
            forward_row(code, row, columns, alpha)


@inner()
def back(
    d, ld_d, cache, rows, columns, ld, sums, sums_by_row, weight, code, alpha, unscale, size, one
):
    """dZ = dA g' in the place of the cache; add `weight` times its sums over examples to sums."""
    s = floats(sums, one)
    for i in range(rows):
        row = floats(cache + i * ld * size, one)
        backward_row(code, floats(d + i * ld_d * size, one), row, columns, alpha, unscale)
        if sums_by_row:
            s[i] += weight * _sum(row, columns, one)
        else:
            _add_scaled(s, row, weight, columns)


@inner()
def _mix(x):
    x = (x ^ (x >> _U30)) * _MIX1
    x = (x ^ (x >> _U27)) * _MIX2
    return x ^ (x >> _U31)


@inner()
def make_key(seed, t, layer):
    """The dropout key of a layer in step t; see `nnx.backends.reference.dropout.make_key`."""
    key = _mix(np.uint64(seed) + _GOLDEN)
    key = _mix(key + _GOLDEN * np.uint64(t + 1))
    return _mix(key + _GOLDEN * np.uint64(layer + 1))


@inner()
def drop(a, rows, columns, ld, example, unit, units, by_row, key, threshold, scale, size, one):
    """Multiply by the dropout mask and `scale`.

    The matrix holds examples from `example` on and units from `unit` on, of `units`: one example
    in a row, or (by_row) one unit in a row.
    """
    limit, zero = np.uint64(threshold), cast(0, one)
    for i in range(rows):
        row = floats(a + i * ld * size, one)
        if by_row:
            counter, stride = np.uint64(example * units + unit + i), np.uint64(units)
        else:
            counter, stride = np.uint64((example + i) * units + unit), _U1
        for j in range(columns):
            x = _mix((counter + np.uint64(j) * stride + _U1) * _GOLDEN + key)
            row[j] = row[j] * scale if (x >> _U32) < limit else zero


@inner(fastmath=FAST)
def _exponentials(a, n):
    for j in range(n):
        a[j] = exp(a[j])


@inner()
def _machine_epsilon(one):
    """The distance from 1 to the next number of the dtype."""
    return 2.220446049250313e-16 if one + cast(1e-10, one) != one else 1.1920928955078125e-07


@inner()
def _clip(x, low, high):
    """x kept in [low, high]; NaN stays."""
    return low if x < low else (high if x > high else x)


@inner()
def _clipped_cross_entropy(a, share, n_y, y, label, labels, keep, spread, one):
    """-sum_j y_j log clip(share a_j, eps, 1 - eps) of one example."""
    eps, loss = _machine_epsilon(one), 0.0
    if labels and not 0 <= label < n_y:
        return math.nan
    if labels and spread == 0:
        return -math.log(_clip(float(a[label] * share), eps, 1 - eps))
    for j in range(n_y):
        wanted = spread
        if labels:
            wanted += keep if label == j else cast(0, one)
        else:
            wanted += keep * y[j]
        loss -= wanted * math.log(_clip(float(a[j] * share), eps, 1 - eps))
    return loss


@inner()
def cross_entropy(z, rows, n_y, y, labels, weights, smoothing, clip, sums, weight, size, one):
    """Softmax with cross-entropy: dZ[L] = s (A - Y) in the place of Z[L]; return the sum of s L."""
    total, s = 0.0, floats(sums, one)
    keep, spread = cast(1 - smoothing, one), cast(smoothing / n_y, one)
    zero, clipped = cast(0, one), 0.0
    for i in range(rows):
        row = floats(z + i * n_y * size, one)
        top = row[0]
        for j in range(1, n_y):
            top = row[j] if row[j] > top or row[j] != row[j] else top
        for j in range(n_y):
            row[j] -= top
        # L = sum_j y_j (log sum_k exp v_k - v_j): here the second part, below the first.
        score = zero
        if labels:
            label = integers(y)[i]
            score = keep * (row[label] if 0 <= label < n_y else cast(math.nan, one))
        else:
            target = floats(y + i * n_y * size, one)
            for j in range(n_y):
                score += keep * target[j] * row[j]
        if smoothing != 0:
            for j in range(n_y):
                score += spread * row[j]
        total -= score * (floats(weights, one)[i] if weights else one)
    _exponentials(floats(z, one), rows * n_y)
    for i in range(rows):
        row = floats(z + i * n_y * size, one)
        mass = zero
        for j in range(n_y):
            mass += row[j]
        share, whole = one / mass, one
        if not labels:
            target, whole = floats(y + i * n_y * size, one), zero
            for j in range(n_y):
                whole += target[j]
        importance = floats(weights, one)[i] if weights else one
        if clip:
            label = integers(y)[i] if labels else 0
            target = floats(y + i * n_y * size, one)
            clipped += importance * _clipped_cross_entropy(
                row, share, n_y, target, label, labels, keep, spread, one
            )
        for j in range(n_y):
            wanted = spread
            if labels:
                wanted += keep if integers(y)[i] == j else zero
            else:
                wanted += keep * floats(y + i * n_y * size, one)[j]
            row[j] = importance * (row[j] * share - wanted)
            s[j] += weight * row[j]
        whole = keep * whole + cast(smoothing, one)
        total += importance * whole * math.log(mass)
    return clipped if clip else total


@inner()
def _pair(kind, z, y, delta, one):
    """Loss and dZ (dA for the losses of values) of one output."""
    zero = cast(0, one)
    if kind == BINARY_CROSS_ENTROPY:
        y = y * (one - delta) + delta * cast(0.5, one)  # delta is the label smoothing here
        loss = max(z, zero) - z * y + math.log1p(exp(-abs(z)))
        return loss, sigmoid(z) - y
    if kind == CLIPPED_BINARY_CROSS_ENTROPY:
        y = y * (one - delta) + delta * cast(0.5, one)
        a, eps = sigmoid(z), _machine_epsilon(one)
        c = _clip(float(a), eps, 1 - eps)
        return cast(-y * math.log(c) - (one - y) * math.log1p(-c), one), a - y
    if kind == POISSON:
        a = exp(z)
        return a - y * z, a - y
    if kind == POISSON_DEVIANCE:
        a = exp(z)
        logs = y * (cast(math.log(y), one) - z) if y != zero else zero
        return logs - y + a, a - y
    e = z - y
    if kind == HALF_SQUARED:
        return cast(0.5, one) * e * e, e
    if kind == SQUARED:
        return e * e, e + e
    if kind == ABSOLUTE:
        return abs(e), (one if e > 0 else zero) - (one if e < 0 else zero) + zero * e
    size = abs(e)
    inside = min(size, delta)
    return inside * (size - cast(0.5, one) * inside), max(min(e, delta), -delta)


@inner()
def loss_of_values(
    z, rows, n_y, y, weights, kind, delta, code, alpha, scratch, sums, weight, size, one
):
    """The other losses: dZ[L] in the place of Z[L]; return the sum of s L."""
    total, s, d = 0.0, floats(sums, one), floats(scratch, one)
    linked = kind in (
        BINARY_CROSS_ENTROPY, CLIPPED_BINARY_CROSS_ENTROPY, POISSON, POISSON_DEVIANCE
    )  # fmt: skip
    mean, share = one / cast(n_y, one), one
    if not linked or kind == POISSON:
        share = mean
    slopes = one if kind == HALF_SQUARED else share
    for i in range(rows):
        row, target = floats(z + i * n_y * size, one), floats(y + i * n_y * size, one)
        importance = floats(weights, one)[i] if weights else one
        if not linked:
            forward_row(code, row, n_y, alpha)
        for j in range(n_y):
            loss, slope = _pair(kind, row[j], target[j], delta, one)
            total += importance * share * loss
            d[j] = importance * slopes * slope
        backward_row(IDENTITY if linked else code, d, row, n_y, alpha, one)
        for j in range(n_y):
            s[j] += weight * row[j]
    return total


@inner(fastmath=FAST)
def penalise(theta, g, n, l2, l1):
    """g += l2 theta + l1 sign(theta); return l2/2 sum of theta^2 + l1 sum of |theta|."""
    zero = cast(0, l2)
    squares, sizes = zero, zero
    for j in range(n):
        w = theta[j]
        squares += w * w
        sizes += abs(w)
        g[j] += l2 * w + (l1 if w > zero else (-l1 if w < zero else zero))
    return 0.5 * l2 * squares + l1 * sizes


@inner(fastmath=FAST)
def _descent(theta, g, n, rate):
    for j in range(n):
        theta[j] -= rate * g[j]


@inner(fastmath=FAST)
def _momentum(theta, g, v, n, rate, beta):
    for j in range(n):
        v[j] = beta * v[j] - rate * g[j]
        theta[j] += v[j]


@inner(fastmath=FAST)
def _nesterov(theta, g, v, n, rate, beta):
    for j in range(n):
        v[j] = beta * v[j] - rate * g[j]
        theta[j] += beta * v[j] - rate * g[j]


@inner(fastmath=FAST)
def _rmsprop(theta, g, s, n, rate, beta, epsilon, one):
    rest = one - beta
    for j in range(n):
        s[j] = beta * s[j] + rest * g[j] * g[j]
        theta[j] -= rate * g[j] / (math.sqrt(s[j]) + epsilon)


@inner(fastmath=FAST)
def _adam(theta, g, m, v, n, step, beta1, beta2, epsilon, shrink, one):
    rest1, rest2 = one - beta1, one - beta2
    for j in range(n):
        m[j] = beta1 * m[j] + rest1 * g[j]
        v[j] = beta2 * v[j] + rest2 * g[j] * g[j]
        theta[j] = shrink * theta[j] - step * m[j] / (math.sqrt(v[j]) + epsilon)


@inner()
def update(rule, theta, g, slot1, slot2, n, rate, c0, c1, c2, c3, t, one):
    """Move theta[:n] by one update; c0, c1, ... are the rule's constants (float64).

    Momentum: beta. RMSprop: beta, epsilon. Adam: beta1, beta2, epsilon, weight decay.
    """
    p, g, a, b = floats(theta, one), floats(g, one), floats(slot1, one), floats(slot2, one)
    alpha = cast(rate, one)
    if rule == DESCENT:
        _descent(p, g, n, alpha)
    elif rule == MOMENTUM:
        _momentum(p, g, a, n, alpha, cast(c0, one))
    elif rule == NESTEROV:
        _nesterov(p, g, a, n, alpha, cast(c0, one))
    elif rule == RMSPROP:
        _rmsprop(p, g, a, n, alpha, cast(c0, one), cast(c1, one), one)
    elif rule in (ADAM, ADAM_HAT):
        root = math.sqrt(1 - c1**t)
        step = cast(rate * root / (1 - c0**t), one)
        epsilon = cast(c2 * root if rule == ADAM else c2, one)
        shrink = cast(1 - rate * c3, one)
        _adam(p, g, a, b, n, step, cast(c0, one), cast(c1, one), epsilon, shrink, one)


@inner(fastmath=FAST)
def _softmax_row(row, n, one):
    """row := its exponentials over their sum, for logits from which the largest was taken."""
    mass = cast(0, one)
    for j in range(n):
        mass += row[j]
    share = one / mass
    for j in range(n):
        row[j] *= share


@inner()
def output(z, rows, n_y, target, code, alpha, size, one):
    """target := g(Z), both (rows, n_y) and contiguous."""
    a = floats(target, one)
    for i in range(rows):
        source, row = floats(z + i * n_y * size, one), floats(target + i * n_y * size, one)
        top = cast(0, one)
        if code == SOFTMAX:
            top = source[0]
            for j in range(1, n_y):
                top = source[j] if source[j] > top or source[j] != source[j] else top
        for j in range(n_y):
            row[j] = source[j] - top
    if code != SOFTMAX:
        forward_row(code, a, rows * n_y, alpha)
        return
    _exponentials(a, rows * n_y)
    for i in range(rows):
        _softmax_row(floats(target + i * n_y * size, one), n_y, one)


@inner()
def gather(source, index, target, rows, row_bytes):
    """Copy rows source[index[i]] to target[i]; row_bytes is a multiple of four."""
    positions = integers(index)
    words = row_bytes // 4
    for i in range(rows):
        a, b = (
            floats(source + positions[i] * row_bytes, np.float32(0)),
            floats(target + i * row_bytes, np.float32(0)),
        )
        for j in range(words):
            b[j] = a[j]
