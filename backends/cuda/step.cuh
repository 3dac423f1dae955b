// What the kernels of a training step share that runs as a CUDA graph: its products are cuBLASLt's,
// everything beside them is in step_*.cu. activations.cuh stands before this text.
//
// C is the type in which matrices are stored (float, double, f16, bf16), Master<C>::T that of
// parameters, gradients and cost (float or double). A matrix (n, m) has each column, one example,
// contiguous: element (i, j) is x[j * ld + i]. ld is n rounded up to a multiple of 8, and rows n to
// ld are zero. A graph is the same for every step: what changes lies in State and Scale.

typedef unsigned char u8;
typedef unsigned short u16;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };

template <class C> struct Master { typedef float T; };
template <> struct Master<double> { typedef double T; };

__device__ inline float up(float v) { return v; }
__device__ inline double up(double v) { return v; }
__device__ inline float up(bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }
#ifdef __CUDACC__
__device__ inline float up(f16 v) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(v.bits));
  return f;
}
__device__ inline u16 f16_bits(float v) {
  u16 bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(v));
  return bits;
}
#else
__device__ inline float up(f16 v) { return f16_value(v.bits); }
#endif

// Round to nearest, ties to even; NaN stays NaN.
__device__ inline u16 bf16_bits(float v) {
  unsigned u = __float_as_uint(v);
  return v != v ? (u16)0x7fff : (u16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
__device__ inline void down(float& to, float v) { to = v; }
__device__ inline void down(double& to, double v) { to = v; }
__device__ inline void down(f16& to, float v) { to.bits = f16_bits(v); }
__device__ inline void down(bf16& to, float v) { to.bits = bf16_bits(v); }

// Eight elements of a column, read and written 16 bytes at a time.
template <class C> struct alignas(16) Eight { C x[8]; };

// A thread's way through the eights of a matrix: number k, the i-th of column j.
struct Walk {
  i64 k, i, j, per, step_i, step_j;
  __device__ explicit Walk(i64 ld)
      : k(begin()), i(k % (ld / 8)), j(k / (ld / 8)), per(ld / 8), step_i(stride() % per),
        step_j(stride() / per) {}
  __device__ void next() {
    k += stride();
    i += step_i;
    j += step_j;
    if (i >= per) {
      i -= per;
      ++j;
    }
  }
};

// Written by step_begin before a run and by step_tick before each step, read by all others.
struct State {
  const void* X;
  const void* Y;
  const void* weights;  // null: all ones
  const i64* order;     // null: 0, 1, 2, ...
  const double* rates;  // null: `rate` for every step
  double* cost;         // the sum of the steps' costs
  double rate;
  i64 t;      // number of the step, from 1 on
  i64 batch;  // number of the batch in this run, from 0 on
  double step, epsilon, shrink;  // of the update, with Adam's corrections
  double clip;                   // what the gradient is multiplied by
};

// float16 only: dZ[L] is multiplied by `scale`, which halves after a step whose gradient was not
// finite and doubles after a number of steps without one.
struct Scale {
  float scale;
  int clean, skipped, bad;
};

// -- sums whose result does not depend on which block is done first -------------------------------

// The block's sum, in thread 0.
__device__ inline double block_sum(double v) {
  __shared__ double parts[32];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  v = lane < (int)(blockDim.x >> 5) ? parts[lane] : 0;
  for (int o = 16; o; o >>= 1) v += __shfl_xor_sync(~0u, v, o);
  __syncthreads();
  return v;
}

// Whether all other blocks of the `count` that share a counter are done; it is left at zero.
__device__ inline bool is_last(unsigned* done, unsigned count) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(done, 1u) == count - 1;
    if (last) *done = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// The grid's sum: true in one thread of the last block, which then holds it in `v`.
__device__ inline bool grid_sum(double& v, double* partial, unsigned* done) {
  v = block_sum(v);
  if (threadIdx.x == 0) partial[blockIdx.x] = v;
  if (!is_last(done, gridDim.x)) return false;
  v = 0;
  for (unsigned i = threadIdx.x; i < gridDim.x; i += blockDim.x) {
    v += ((volatile double*)partial)[i];
  }
  v = block_sum(v);
  return threadIdx.x == 0;
}

template <class T> __device__ inline T sign(T v) {
  return v > T(0) ? T(1) : v < T(0) ? T(-1) : v == T(0) ? T(0) : v;
}
template <class T> __device__ inline bool finite(T v) { return v - v == T(0); }
__device__ inline double not_a_number() { return sqrt(-1.0); }

// -- the batch ------------------------------------------------------------------------------------

__device__ inline i64 example(const State* s, i64 m, i64 j) {
  i64 position = s->batch * m + j;
  return s->order ? s->order[position] : position;
}
