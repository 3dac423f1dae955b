"""Runs a program: a table of instructions for each worker, with all addresses worked out before.

An instruction is a row of int64: its operation code, the number of the plan's operation that it
belongs to (for timing), then its operands in the order below. Addresses are absolute, but for those
that change from batch to batch: a pair (slot, offset) stands for `pointers[slot] + offset`.

    GEMM     trans_a trans_b m n k alpha | slot_a a lda | slot_b b ldb | beta | c ldc
             alpha and beta number a scalar: ZERO, ONE, MEAN = 1/m, DESCEND = -learning rate / m
    TAIL     z a rows columns ld bias bias_by_row activation constant
    BACK     d ld_d cache rows columns ld sums sums_by_row activation constant unscale
    DROP     a rows columns ld example unit units by_row layer threshold scale
    LOSS     z rows n_y y_offset labels weights_offset kind parameter activation constant scratch
             sums
    ZERO     address count
    ADD      target source count
    PENALISE theta gradient count
    UPDATE   theta gradient slot1 slot2 count
    GATHER   slot_source slot_index offset target rows row_bytes
    BARRIER
    OUTPUT   z rows n_y offset activation constant

The operands `constant`, `unscale`, `scale` and `parameter` number an entry of the program's table
of constants; `weights_offset` is negative where the examples have no weights.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import cfunc, types

from nnx.backends.engine import kernels
from nnx.backends.engine.exponential import inner
from nnx.backends.engine.lowlevel import (
    cast,
    floats,
    flush_subnormals,
    gemm_narrow,
    gemm_wide,
    integers,
    nanoseconds,
    restore_subnormals,
)

GEMM, TAIL, BACK, DROP, LOSS, ZERO, ADD, PENALISE, UPDATE, GATHER, BARRIER, OUTPUT = range(12)
WIDTH = 20
X, Y, WEIGHTS, SOURCE_X, SOURCE_Y, INDEX, FIXED = range(7)  # slots; FIXED holds zero
SLOTS = 7
SCALAR_ZERO, SCALAR_ONE, SCALAR_MEAN, SCALAR_DESCEND = range(4)


@inner()
def _gemm(c, pointers, scalars, gemm, wide):
    a, b = pointers[c[8]] + c[9], pointers[c[11]] + c[12]
    alpha, beta = scalars[c[7]], scalars[c[14]]
    if wide:
        gemm_wide(gemm, c[2], c[3], c[4], c[5], c[6], alpha, a, c[10], b, c[13], beta, c[15], c[16])
    else:
        gemm_narrow(
            gemm, c[2], c[3], c[4], c[5], c[6], alpha, a, c[10], b, c[13], beta, c[15], c[16]
        )


@inner()
def _loss(c, pointers, constants, mean, size, one):
    z, rows, n_y, labels = c[2], c[3], c[4], c[6] != 0
    y = pointers[Y] + c[5]
    weights = 0 if c[7] < 0 else pointers[WEIGHTS] + c[7]
    parameter, constant = constants[c[9]], cast(constants[c[11]], one)
    if c[8] == kernels.CROSS_ENTROPY or c[8] == kernels.CLIPPED_CROSS_ENTROPY:
        clip = c[8] == kernels.CLIPPED_CROSS_ENTROPY
        return kernels.cross_entropy(
            z, rows, n_y, y, labels, weights, parameter, clip, c[13], mean, size, one
        )
    delta = cast(parameter, one)
    return kernels.loss_of_values(
        z, rows, n_y, y, weights, c[8], delta, c[10], constant, c[12], c[13], mean, size, one
    )


# Where a job's numbers stand; `begin` says what they are. The last three tell how far it has come.
(
    SIZE, CODE, INSTRUCTIONS, POINTERS, STRIDES, SCALARS, CONSTANTS, RULE, RATES, STEPS, T, SEED,
    GEMM_ADDRESS, WIDE, CLOCK, TIMES, TOTALS, BASES, FIRST, SHARES, STEP, AT, SINCE, JOB_WIDTH,
) = range(24)  # fmt: skip
# Of a job's totals: of all steps, and of the step under way.
LOSSES, PENALTIES, STEP_LOSSES, STEP_PENALTIES, TOTALS_WIDTH = range(5)


@inner()
def _compute(job, c, kind, pointers, scalars, constants, rule, t, one):
    """Run one instruction that adds nothing to the cost."""
    size = job[SIZE]
    if kind == GEMM:
        _gemm(c, pointers, scalars, job[GEMM_ADDRESS], job[WIDE])
    elif kind == TAIL:
        kernels.tail(
            c[2], c[3], c[4], c[5], c[6], c[7], c[8] != 0, c[9],
            cast(constants[c[10]], one), size, one,
        )  # fmt: skip
    elif kind == BACK:
        kernels.back(
            c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9] != 0, scalars[SCALAR_MEAN], c[10],
            cast(constants[c[11]], one), cast(constants[c[12]], one), size, one,
        )  # fmt: skip
    elif kind == DROP:
        key = kernels.make_key(job[SEED], t, c[10])
        kernels.drop(
            c[2], c[3], c[4], c[5], job[FIRST] + c[6], c[7], c[8], c[9] != 0, key, c[11],
            cast(constants[c[12]], one), size, one,
        )  # fmt: skip
    elif kind == ZERO:
        kernels.fill_zero(c[2], c[3], one)
    elif kind == ADD:
        kernels.add(c[2], c[3], c[4], one)
    elif kind == UPDATE:
        kernels.update(
            int(rule[0]), c[2], c[3], c[4], c[5], c[6], floats(job[RATES], 1.0)[job[STEP]],
            rule[1], rule[2], rule[3], rule[4], t, one,
        )  # fmt: skip
    elif kind == GATHER:
        kernels.gather(pointers[c[2]], pointers[c[3]] + c[4], c[5], c[6], c[7])
    elif kind == OUTPUT:
        kernels.output(
            c[2], c[3], c[4], pointers[Y] + c[5], c[6], cast(constants[c[7]], one), size, one
        )


@inner()
def begin(address, one):
    """Bring the job at this address to its beginning.

    A job holds addresses of: `code`, int64 (instructions, WIDTH); `bases`, `strides` and
    `pointers`, int64 (SLOTS,), the slots for the first batch, bytes to those of the next, and room
    for those of the current one; `scalars`, dtype (4,), with 1/m at SCALAR_MEAN; `constants`,
    float64; `rule`, float64 (7,), the update rule's number, its constants c0 ... c3, and the
    penalties l2/m and l1/m; `rates`, float64 (steps,); `shares`, float64 (steps,), or 0, factors of
    the penalties; `times`, int64 (operations,), or 0, to which nanoseconds are added; `totals`,
    float64 (TOTALS_WIDTH,), which receives the summed losses and the summed penalties; and `t`, an
    int64, the number of the first step, from 1. size is the bytes of a number; first the position
    in its batch of the first example, which dropout counts from.
    """
    job = integers(address)
    pointers, bases, scalars = (
        integers(job[POINTERS]),
        integers(job[BASES]),
        floats(job[SCALARS], one),
    )
    totals = floats(job[TOTALS], 1.0)
    for k in range(SLOTS):
        pointers[k] = bases[k]
    for k in range(TOTALS_WIDTH):
        totals[k] = 0.0
    scalars[SCALAR_ZERO], scalars[SCALAR_ONE] = cast(0, one), one
    job[STEP], job[AT] = 0, 0
    job[SINCE] = nanoseconds(job[CLOCK]) if job[TIMES] != 0 else 0


@inner()
def run_phase(address, one):
    """Run the job at this address up to its next barrier, or to its end; any thread may.

    Its instructions are run once for each of its learning rates. All jobs of a program have the
    same barriers, and so the same phases: who runs which is up to `workers`.
    """
    job = integers(address)
    before = flush_subnormals()
    scalars, totals = floats(job[SCALARS], one), floats(job[TOTALS], 1.0)
    pointers, strides = integers(job[POINTERS]), integers(job[STRIDES])
    constants, rule = floats(job[CONSTANTS], 1.0), floats(job[RULE], 1.0)
    rates, shares, times = floats(job[RATES], 1.0), floats(job[SHARES], 1.0), integers(job[TIMES])
    timed, mean, size = job[TIMES] != 0, scalars[SCALAR_MEAN], job[SIZE]
    losses, penalties = totals[STEP_LOSSES], totals[STEP_PENALTIES]
    at, met = job[AT], False
    while job[STEP] < job[STEPS]:
        step = job[STEP]
        t = integers(job[T])[0] + step
        scalars[SCALAR_DESCEND] = cast(-rates[step], one) * mean
        while at < job[INSTRUCTIONS]:
            c = integers(job[CODE] + at * WIDTH * 8)
            kind = c[0]
            at += 1
            if kind == LOSS:
                losses += _loss(c, pointers, constants, mean, size, one)
            elif kind == PENALISE:
                share = shares[step] if job[SHARES] != 0 else 1.0
                l2, l1 = cast(share * rule[5], one), cast(share * rule[6], one)
                penalties += kernels.penalise(floats(c[2], one), floats(c[3], one), c[4], l2, l1)
            elif kind == BARRIER:
                met = True
            else:
                _compute(job, c, kind, pointers, scalars, constants, rule, t, one)
            if timed:  # what is waited for at a barrier counts with what follows it
                now = nanoseconds(job[CLOCK])
                times[c[1]] += now - job[SINCE]
                job[SINCE] = now
            if met:
                break
        if met:
            break
        totals[LOSSES] += losses
        totals[PENALTIES] += penalties
        losses, penalties = 0.0, 0.0
        for k in range(SLOTS):
            pointers[k] += strides[k]
        job[STEP], at = step + 1, 0
    job[AT] = at
    totals[STEP_LOSSES], totals[STEP_PENALTIES] = losses, penalties
    restore_subnormals(before)


_ONE_32, _ONE_64 = np.float32(1), np.float64(1)


def _phase_32(address):
    run_phase(address, _ONE_32)


def _phase_64(address):
    run_phase(address, _ONE_64)


@cache
def _compiled_phase(dtype):
    function = _phase_32 if dtype == "float32" else _phase_64
    return cfunc(types.void(types.int64), cache=True, error_model="numpy")(function)


def phase_address(dtype):
    """Return the address of `run_phase` for a dtype.

    All threads call this one: a copy of it in the code of each caller could be compiled to sums in
    another order, and then it would matter who computes what.
    """
    return _compiled_phase(dtype).address
