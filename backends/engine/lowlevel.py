"""What compiled code needs below Numba's own level: pointers, matrix products, atomics, a clock.

Addresses are int64. `one` is a number of the program's dtype; it chooses the specialisation.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnx.backends.engine import forget_stale_code

forget_stale_code()  # before any function of this package is decorated

_I32, _I64 = ir.IntType(32), ir.IntType(64)
_VOID, _BYTES = ir.VoidType(), ir.IntType(8).as_pointer()
_X86 = platform.machine() in ("x86_64", "AMD64")
_FLUSH = 0x8040  # MXCSR: flush to zero, and take subnormal operands as zero
ROW_MAJOR, KEEP, TRANSPOSE = 101, 111, 112  # cblas's enumerations
CLOCK_ADDRESS = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value or 0
_CLOCK_MONOTONIC = 6 if platform.system() == "Darwin" else 1


@intrinsic
def floats(typing: Any, address: Any, one: Any) -> Any:
    """Read an address as a pointer to numbers of the program's dtype."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.get_value_type(signature.return_type)
        return builder.inttoptr(arguments[0], target)

    return types.CPointer(one)(types.int64, one), generate


@intrinsic
def integers(typing: Any, address: Any) -> Any:
    """Read an address as a pointer to int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.CPointer(types.int64)(types.int64), generate


@intrinsic
def cast(typing: Any, value: Any, one: Any) -> Any:
    """Round a number to the dtype of `one`, so that float32 code stays float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[0], value, one)

    return one(value, one), generate


@intrinsic
def power_of_two(typing: Any, exponent: Any) -> Any:
    """2^exponent as float32, for exponents (int32) from -126 to 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        biased = builder.add(arguments[0], ir.Constant(_I32, 127))
        return builder.bitcast(builder.shl(biased, ir.Constant(_I32, 23)), ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def power_of_two_64(typing: Any, exponent: Any) -> Any:
    """2^exponent as float64, for exponents (int32) from -1022 to 1023."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        biased = builder.add(builder.sext(arguments[0], _I64), ir.Constant(_I64, 1023))
        return builder.bitcast(builder.shl(biased, ir.Constant(_I64, 52)), ir.DoubleType())

    return types.float64(types.int32), generate


def _gemm(width: ir.IntType) -> Any:
    @intrinsic
    def gemm(
        typing: Any,
        address: Any,
        trans_a: Any,
        trans_b: Any,
        m: Any,
        n: Any,
        k: Any,
        alpha: Any,
        a: Any,
        lda: Any,
        b: Any,
        ldb: Any,
        beta: Any,
        c: Any,
        ldc: Any,
    ) -> Any:
        """C := alpha op(A) op(B) + beta C, row-major: cblas_?gemm at that address."""
        number, whole = alpha, types.int64

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            function, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc = arguments
            real = context.get_value_type(number)
            kinds = [_I32] * 3 + [width] * 3
            kinds += [real, _I64, width, _I64, width, real, _I64, width]
            values = [ir.Constant(_I32, ROW_MAJOR), ta, tb, m, n, k, alpha, a, lda, b, ldb]
            values += [beta, c, ldc]
            values = [
                builder.trunc(value, kind)
                if isinstance(kind, ir.IntType) and value.type.width > kind.width
                else value
                for value, kind in zip(values, kinds, strict=True)
            ]
            pointer = ir.FunctionType(_VOID, kinds).as_pointer()
            builder.call(builder.inttoptr(function, pointer), values)
            return context.get_dummy_value()

        operand = [whole, whole]
        signature = types.void(*[whole] * 6, number, *operand, *operand, number, *operand)
        return signature, generate

    return gemm


gemm_wide, gemm_narrow = _gemm(_I64), _gemm(_I32)


@intrinsic
def atomic_add(typing: Any, address: Any, value: Any) -> Any:
    """Add to the int64 at an address, seen by all threads in one order; return what it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.atomic_rmw("add", pointer, arguments[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_replace(typing: Any, address: Any, old: Any, new: Any) -> Any:
    """Write the int64 at an address if it is `old`; return whether it was."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        found = builder.cmpxchg(pointer, arguments[1], arguments[2], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


@intrinsic
def atomic_store(typing: Any, address: Any, value: Any) -> Any:
    """Write the int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        builder.store_atomic(arguments[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def atomic_load(typing: Any, address: Any) -> Any:
    """Read the int64 at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], _I64.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.int64), generate


@intrinsic
def pause(typing: Any) -> Any:
    """Tell the processor that this is a waiting loop."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:
            kind = ir.FunctionType(_VOID, [])
            builder.call(_built_in(builder, kind, "llvm.x86.sse2.pause"), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def nanoseconds(typing: Any, clock_address: Any) -> Any:
    """The monotonic clock, through the C library's clock_gettime at that address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I32, _I64.as_pointer()])
        time = builder.alloca(_I64, size=2)
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        builder.call(function, [ir.Constant(_I32, _CLOCK_MONOTONIC), time])
        seconds = builder.load(time)
        rest = builder.load(builder.gep(time, [ir.Constant(_I64, 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(_I64, 10**9)), rest)

    return types.int64(types.int64), generate


@intrinsic
def call_1(typing: Any, address: Any, a: Any) -> Any:
    """Call the C function at an address with one pointer; return its int."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I64])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return types.int32(types.int64, types.int64), generate


@intrinsic
def call_2(typing: Any, address: Any, a: Any, b: Any) -> Any:
    """Call the C function at an address with two pointers; return its int."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(_I32, [_I64, _I64])
        function = builder.inttoptr(arguments[0], kind.as_pointer())
        return builder.call(function, arguments[1:])

    return types.int32(types.int64, types.int64, types.int64), generate


def _built_in(builder: Any, kind: Any, name: str) -> Any:
    """One of LLVM's own functions."""
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


@intrinsic
def flush_subnormals(typing: Any) -> Any:
    """Treat numbers below the normal ones as zero in this thread; return the state before.

    Arithmetic on them is a hundred times as slow, and Adam's m of a unit that died decays to them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if not _X86:
            return ir.Constant(_I32, 0)
        kind, state = ir.FunctionType(_VOID, [_BYTES]), builder.alloca(_I32)
        pointer = builder.bitcast(state, _BYTES)
        builder.call(_built_in(builder, kind, "llvm.x86.sse.stmxcsr"), [pointer])
        before = builder.load(state)
        builder.store(builder.or_(before, ir.Constant(_I32, _FLUSH)), state)
        builder.call(_built_in(builder, kind, "llvm.x86.sse.ldmxcsr"), [pointer])
        return before

    return types.int32(), generate


@intrinsic
def restore_subnormals(typing: Any, before: Any) -> Any:
    """Undo `flush_subnormals`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:
            kind, state = ir.FunctionType(_VOID, [_BYTES]), builder.alloca(_I32)
            builder.store(arguments[0], state)
            pointer = builder.bitcast(state, _BYTES)
            builder.call(_built_in(builder, kind, "llvm.x86.sse.ldmxcsr"), [pointer])
        return context.get_dummy_value()

    return types.void(types.int32), generate
