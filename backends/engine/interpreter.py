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

from numba import njit

from nnx.backends.engine import kernels
from nnx.backends.engine.exponential import inner
from nnx.backends.engine.lowlevel import (
    atomic_add,
    atomic_load,
    cast,
    floats,
    flush_subnormals,
    gemm_narrow,
    gemm_wide,
    give_way,
    integers,
    nanoseconds,
    pause,
    restore_subnormals,
)

GEMM, TAIL, BACK, DROP, LOSS, ZERO, ADD, PENALISE, UPDATE, GATHER, BARRIER, OUTPUT = range(12)
WIDTH = 20
X, Y, WEIGHTS, SOURCE_X, SOURCE_Y, INDEX, FIXED = range(7)  # slots; FIXED holds zero
SLOTS = 7
SCALAR_ZERO, SCALAR_ONE, SCALAR_MEAN, SCALAR_DESCEND = range(4)


_SPINS = 5_000  # about 0.1 ms: longer than any worker is late while each has a core


@inner()
def wait(counter, target, give_way_address):
    """Arrive at a barrier and wait until `target` arrivals have been counted."""
    atomic_add(counter, 1)
    spins = 0
    while atomic_load(counter) < target:
        pause()
        spins += 1
        if spins > _SPINS:  # the other worker may be waiting for this core
            give_way(give_way_address)


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


# Where a job's numbers stand; `run` says what they are.
(
    SIZE, CODE, INSTRUCTIONS, POINTERS, STRIDES, SCALARS, CONSTANTS, RULE, RATES,
    STEPS, T, SEED, GEMM_ADDRESS, WIDE, COUNTER, WORKERS, CLOCK, GIVE_WAY, TIMES,
    TOTALS, SHARES, JOB_WIDTH,
) = range(22)  # fmt: skip


@inner()
def _step(job, pointers, scalars, constants, rule, rate, share, t, arrived, one):
    """Run one worker's instructions once; return its part of the summed losses, the penalty, and
    the arrivals at the barrier so far."""
    losses, penalty = 0.0, 0.0
    size, times = job[SIZE], integers(job[TIMES])
    timed = job[TIMES] != 0
    before = nanoseconds(job[CLOCK]) if timed else 0
    mean = scalars[SCALAR_MEAN]
    for i in range(job[INSTRUCTIONS]):
        c = integers(job[CODE] + i * WIDTH * 8)
        kind = c[0]
        if kind == GEMM:
            _gemm(c, pointers, scalars, job[GEMM_ADDRESS], job[WIDE])
        elif kind == TAIL:
            kernels.tail(
                c[2], c[3], c[4], c[5], c[6], c[7], c[8] != 0, c[9],
                cast(constants[c[10]], one), size, one,
            )  # fmt: skip
        elif kind == BACK:
            kernels.back(
                c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9] != 0, mean, c[10],
                cast(constants[c[11]], one), cast(constants[c[12]], one), size, one,
            )  # fmt: skip
        elif kind == DROP:
            key = kernels.make_key(job[SEED], t, c[10])
            kernels.drop(
                c[2], c[3], c[4], c[5], c[6], c[7], c[8], c[9] != 0, key, c[11],
                cast(constants[c[12]], one), size, one,
            )  # fmt: skip
        elif kind == LOSS:
            losses += _loss(c, pointers, constants, mean, size, one)
        elif kind == ZERO:
            kernels.fill_zero(c[2], c[3], one)
        elif kind == ADD:
            kernels.add(c[2], c[3], c[4], one)
        elif kind == PENALISE:
            l2, l1 = cast(share * rule[5], one), cast(share * rule[6], one)
            penalty += kernels.penalise(floats(c[2], one), floats(c[3], one), c[4], l2, l1)
        elif kind == UPDATE:
            kernels.update(
                int(rule[0]), c[2], c[3], c[4], c[5], c[6], rate,
                rule[1], rule[2], rule[3], rule[4], t, one,
            )  # fmt: skip
        elif kind == GATHER:
            kernels.gather(pointers[c[2]], pointers[c[3]] + c[4], c[5], c[6], c[7])
        elif kind == BARRIER:
            arrived += job[WORKERS]
            wait(job[COUNTER], arrived, job[GIVE_WAY])
        elif kind == OUTPUT:
            kernels.output(
                c[2], c[3], c[4], pointers[Y] + c[5], c[6], cast(constants[c[7]], one), size, one
            )
        if timed:
            now = nanoseconds(job[CLOCK])
            times[c[1]] += now - before
            before = now
    return losses, penalty, arrived


@njit(nogil=True, cache=True, error_model="numpy")
def run(address, one):
    """Run the job at this address: its instructions, once for each of its learning rates.

    A job holds addresses of: `code`, int64 (instructions, WIDTH); `pointers` and
    `strides`, int64 (SLOTS,), the slots for the first batch and bytes to those of the next;
    `scalars`, dtype (4,), with 1/m at SCALAR_MEAN; `constants`, float64; `rule`, float64 (7,), the
    update rule's number, its constants c0 ... c3, and the penalties l2/m and l1/m; `rates`, float64
    (steps,); `shares`, float64 (steps,), or 0, factors of the penalties; `counter`, an int64 that
    is zero; `times`, int64 (operations,), or 0, to which nanoseconds are added; and `totals`,
    float64 (2,), which receives the summed losses and the summed penalties. t is the number of the
    first step, from 1; size the bytes of a number.
    """
    job = integers(address)
    before = flush_subnormals()
    scalars = floats(job[SCALARS], one)
    pointers, strides = integers(job[POINTERS]), integers(job[STRIDES])
    constants, rule = floats(job[CONSTANTS], 1.0), floats(job[RULE], 1.0)
    rates, totals = floats(job[RATES], 1.0), floats(job[TOTALS], 1.0)
    shares, shared = floats(job[SHARES], 1.0), job[SHARES] != 0
    arrived = 0
    losses, penalties = 0.0, 0.0
    scalars[SCALAR_ZERO], scalars[SCALAR_ONE] = cast(0, one), one
    for number in range(job[STEPS]):
        rate = rates[number]
        scalars[SCALAR_DESCEND] = cast(-rate, one) * scalars[SCALAR_MEAN]
        share = shares[number] if shared else 1.0
        loss, penalty, arrived = _step(
            job, pointers, scalars, constants, rule, rate, share, job[T] + number, arrived, one
        )
        losses += loss
        penalties += penalty
        for k in range(SLOTS):
            pointers[k] += strides[k]
    totals[0], totals[1] = losses, penalties
    restore_subnormals(before)
