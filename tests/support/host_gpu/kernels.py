"""What cupy.RawModule is, for the host: kernels compiled by g++, called as a driver would.

The threads of a block that meet at barriers or exchange numbers within a warp are coroutines that
take turns; all of them must come to the same meeting, or the call fails.
"""

import ctypes
import re
import shutil
import subprocess
import weakref
from pathlib import Path
from typing import ClassVar

import numpy as np

from host_gpu.arrays import ndarray
from host_gpu.streams import current_stream
from nnx.backends.cuda import step_kernels
from nnx.backends.cuda.launch import kernel_names, kernel_source

SHIM = r"""
#include <math.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <utility>
#define __global__
#define __device__
#define __shared__ static
struct Dimension { unsigned x; };
static Dimension blockIdx, threadIdx, blockDim, gridDim;

// A coroutine starts with setcontext and then jumps back and forth, which needs no system call.
static struct Thread {
  ucontext_t context;
  jmp_buf jump;
  bool made, started, done;
  int meeting;
  char stack[1 << 15];
} threads[256];
static jmp_buf main_jump;
static void (*body)(void*);
static void* body_arguments;
static double exchanged[2][256];
static unsigned turns[256];

static void start_thread() {
  body(body_arguments);
  threads[threadIdx.x].done = true;
  _longjmp(main_jump, 1);
}
static inline void meet(int kind) {
  Thread& me = threads[threadIdx.x];
  me.meeting = kind;
  if (!_setjmp(me.jump)) _longjmp(main_jump, 1);
}
static inline void __syncthreads() { meet(1); }
static inline void __threadfence() {}
template <class T> static inline T __shfl_xor_sync(unsigned, T v, int mask) {
  unsigned me = threadIdx.x, turn = turns[me]++ & 1;
  exchanged[turn][me] = v;
  meet(2 + mask);
  return (T)exchanged[turn][me ^ mask];
}
static inline unsigned atomicAdd(unsigned* p, unsigned v) { *p += v; return *p - v; }
static inline float __uint_as_float(unsigned u) { float f; memcpy(&f, &u, 4); return f; }
static inline unsigned __float_as_uint(float f) { unsigned u; memcpy(&u, &f, 4); return u; }
static inline unsigned short f16_bits(float v) {
  _Float16 h = (_Float16)v; unsigned short u; memcpy(&u, &h, 2); return u;
}
static inline float f16_value(unsigned short u) { _Float16 h; memcpy(&h, &u, 2); return (float)h; }

static void resume(unsigned x) {
  Thread& t = threads[x];
  t.meeting = 0;
  threadIdx.x = x;
  if (_setjmp(main_jump)) return;
  if (t.started) _longjmp(t.jump, 1);
  t.started = true;
  setcontext(&t.context);
}

static void run_block(void (*f)(void*), void* a) {
  body = f;
  body_arguments = a;
  for (unsigned x = 0; x < blockDim.x; ++x) {
    Thread& t = threads[x];
    t.started = t.done = false;
    turns[x] = 0;
    if (t.made) continue;
    t.made = true;
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack;
    t.context.uc_stack.ss_size = sizeof t.stack;
    makecontext(&t.context, start_thread, 0);
  }
  for (bool left = true; left;) {
    left = false;
    for (unsigned x = 0; x < blockDim.x; ++x) {
      if (threads[x].done) continue;
      resume(x);
      left = left || !threads[x].done;
    }
    for (unsigned x = 1; x < blockDim.x; ++x)
      if (threads[x].done != threads[0].done || threads[x].meeting != threads[0].meeting) {
        fprintf(stderr, "threads 0 and %%u of a block do not meet\n", x);
        abort();
      }
  }
}

%(source)s
template <class... P> struct Call {
  void (*kernel)(P...);
  void** a;
  template <size_t... I> void make(std::index_sequence<I...>) { kernel(*static_cast<P*>(a[I])...); }
  static void once(void* self) {
    static_cast<Call*>(self)->make(std::make_index_sequence<sizeof...(P)>());
  }
};
template <class... P>
void run(void (*kernel)(P...), bool meets, unsigned grid, unsigned block, void** a) {
  Call<P...> call = {kernel, a};
  gridDim.x = grid;
  blockDim.x = block;
  for (blockIdx.x = 0; blockIdx.x < grid; ++blockIdx.x) {
    if (meets) { run_block(&Call<P...>::once, &call); continue; }
    for (threadIdx.x = 0; threadIdx.x < block; ++threadIdx.x) Call<P...>::once(&call);
  }
}
template <class P> struct Code;
template <> struct Code<float> { static constexpr const char* text = "float32 "; };
template <> struct Code<double> { static constexpr const char* text = "float64 "; };
template <> struct Code<i64> { static constexpr const char* text = "int64 "; };
template <> struct Code<u64> { static constexpr const char* text = "uint64 "; };
template <> struct Code<float*> { static constexpr const char* text = "*float32 "; };
template <> struct Code<double*> { static constexpr const char* text = "*float64 "; };
template <> struct Code<const i64*> { static constexpr const char* text = "*int64 "; };
template <> struct Code<unsigned*> { static constexpr const char* text = "*uint32 "; };
%(codes)s
template <class P> struct Code<const P*> : Code<P*> {};
template <class... P> void types(void (*)(P...), char* out) {
  const char* codes[] = {Code<P>::text...};
  for (const char* code : codes) while (*code) *out++ = *code++;
  *out = 0;
}
%(entries)s
"""
STEP_CODES = """
template <> struct Code<f16*> { static constexpr const char* text = "*float16 "; };
template <> struct Code<bf16*> { static constexpr const char* text = "*uint16 "; };
template <> struct Code<u8*> { static constexpr const char* text = "*uint8 "; };
template <> struct Code<State*> { static constexpr const char* text = "*uint8 "; };
template <> struct Code<Scale*> { static constexpr const char* text = "*uint8 "; };
"""
ENTRY = """
extern "C" void run_%(i)d(unsigned grid, unsigned block, void** a) {
  run(&%(name)s, %(meets)d, grid, block, a);
}
extern "C" void types_%(i)d(char* out) { types(&%(name)s, out); }
"""
MEETS = re.compile(r"step_(softmax|loss|bias_gradient|inspect|update)<")
ALL = {
    kernel_source(): (kernel_names(), ""),
    kernel_source(step_kernels.FILE): (step_kernels.step_names(), STEP_CODES),
}


class HostModule:
    """What cupy.RawModule is; all kernels of a source are compiled together, once."""

    folder: Path
    _libraries: ClassVar[dict] = {}

    def __init__(self, *, code, options, name_expressions):
        self._names, codes = ALL[code]
        assert set(name_expressions) <= set(self._names), set(name_expressions) - set(self._names)
        self._asked = frozenset(name_expressions)
        if code not in self._libraries:
            self._libraries[code] = self._compile(code, codes)
        self._library = self._libraries[code]

    def _compile(self, code, codes):
        entries = "".join(
            ENTRY % {"i": i, "name": name, "meets": bool(MEETS.match(name))}
            for i, name in enumerate(self._names)
        )
        path = self.folder / f"kernels{len(self._libraries)}"
        source, library = path.with_suffix(".cpp"), path.with_suffix(".so")
        text = SHIM % {"source": code, "entries": entries, "codes": codes}
        source.write_text(text, encoding="utf-8")
        flags = ("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Werror")
        unused = ("-Wno-unused-function", "-Wno-unused-variable")
        subprocess.run(("g++", *flags, *unused, "-o", library, source), check=True)
        return ctypes.CDLL(str(library))

    def get_function(self, name):
        assert name in self._asked, f"{name} was not asked for"
        i = self._names.index(name)
        text = ctypes.create_string_buffer(1000)
        getattr(self._library, f"types_{i}")(text)
        wanted = text.value.decode().split()
        run = getattr(self._library, f"run_{i}")

        def launch(grid, block, arguments):
            # As CuPy does it: arrays are pointers, Python's integers have 64 bits.
            values = [np.int64(x) if type(x) is int else x for x in arguments]
            found = [
                f"*{x.dtype}" if isinstance(x, ndarray) else str(x.dtype)
                for x in values
                if x is not None
            ]
            expected = [w for w, x in zip(wanted, values, strict=True) if x is not None]
            assert found == expected, f"{name}: {found} for {expected}"
            cells = [
                np.uint64(0 if x is None else x.data.ptr)
                if x is None or isinstance(x, ndarray)
                else x
                for x in values
            ]
            cells = [np.array(cell) for cell in cells]
            pointers = (ctypes.c_void_p * len(cells))(*(cell.ctypes.data for cell in cells))
            alive = [weakref.ref(x) for x in values if isinstance(x, ndarray)]

            def work():
                assert cells
                assert all(array() is not None for array in alive), f"{name}: a buffer is gone"
                run(grid[0], block[0], pointers)

            current_stream().submit(name, work)

        return launch


def why_not():
    """What keeps the kernels from being compiled for the host."""
    return None if shutil.which("g++") else "no g++: the kernels cannot be compiled for the host"
