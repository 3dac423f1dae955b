// The kernels of a training step that runs as a CUDA graph: everything beside its matrix products.
// activations.cuh stands before this text.
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

__global__ void step_begin(State* s, u64 X, u64 Y, u64 weights, u64 order, u64 rates, u64 cost,
                           double rate, i64 t) {
  if (begin()) return;  // the work of one thread
  s->X = (const void*)X;
  s->Y = (const void*)Y;
  s->weights = (const void*)weights;
  s->order = (const i64*)order;
  s->rates = (const double*)rates;
  s->cost = (double*)cost;
  s->rate = rate;
  s->t = t;
  s->batch = -1;
  *s->cost = 0;
}

__global__ void step_tick(State* s, Scale* f, double beta1, double beta2, double epsilon,
                          double weight_decay, i64 patience) {
  if (begin()) return;
  i64 t = ++s->t, batch = ++s->batch;
  if (f) {
    if (f->bad) {
      f->scale *= 0.5f;
      f->clean = 0;
      ++f->skipped;
    } else if (++f->clean >= patience) {
      f->scale *= 2;
      f->clean = 0;
    }
    f->bad = 0;
    t = t > f->skipped ? t - f->skipped : 1;  // the moments have seen so many gradients
  }
  double rate = s->rates ? s->rates[batch] : s->rate;
  double root = sqrt(1 - pow(beta2, (double)t));
  s->step = rate * root / (1 - pow(beta1, (double)t));
  s->epsilon = epsilon * root;
  s->shrink = 1 - rate * weight_decay;
  s->clip = 1;
}

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

template <class T> __device__ inline bool finite(T v) { return v - v == T(0); }
__device__ inline double not_a_number() { return sqrt(-1.0); }

// -- the batch ------------------------------------------------------------------------------------

__device__ inline i64 example(const State* s, i64 m, i64 j) {
  i64 position = s->batch * m + j;
  return s->order ? s->order[position] : position;
}

// A[0] = X[:, order], converted to C.
template <class C> __global__ void step_gather(const State* s, C* A, i64 n, i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  for (Walk w(ld); w.j < m; w.next()) {
    const T* x = (const T*)s->X + example(s, m, w.j) * n + w.i * 8;
    Eight<T> in;
    Eight<C> out;
    if (n == ld && ((u64)x & 15) == 0) {
      in = *(const Eight<T>*)x;
    } else {
      for (int e = 0; e < 8; ++e) in.x[e] = w.i * 8 + e < n ? x[e] : T(0);
    }
    for (int e = 0; e < 8; ++e) down(out.x[e], in.x[e]);
    ((Eight<C>*)A)[w.k] = out;
  }
}

// -- dropout: the masks of nnx.backends.reference.dropout -----------------------------------------

constexpr u64 GOLDEN = 0x9E3779B97F4A7C15ULL;

__device__ inline u64 mix(u64 x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// Which units of a layer are kept in this step; seed is already mixed. threshold 2^32 keeps all.
struct Mask {
  u64 key, threshold;
  __device__ Mask(const State* s, u64 seed, i64 layer, u64 threshold)
      : key(mix(mix(seed + GOLDEN * (u64)(s->t + 1)) + GOLDEN * (u64)(layer + 1))),
        threshold(threshold) {}
  __device__ bool drops() const { return !(threshold >> 32); }
  __device__ bool keeps(i64 element) const {
    return (mix((u64)(element + 1) * GOLDEN + key) >> 32) < threshold;
  }
};

// A := A * D / keep_prob, for forward and backward alike.
template <class C>
__global__ void step_dropout(const State* s, C* A, u64 seed, i64 layer, u64 threshold,
                             typename Master<C>::T scale, i64 n, i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  Mask mask(s, seed, layer, threshold);
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> a = ((Eight<C>*)A)[w.k];
    for (int e = 0; e < 8; ++e) {
      T v = up(a.x[e]);
      down(a.x[e], v * (mask.keeps(w.j * n + w.i * 8 + e) ? T(1) : T(0)) * scale);
    }
    ((Eight<C>*)A)[w.k] = a;
  }
}

// -- activations that no epilogue has computed ----------------------------------------------------

// Z = product + b, A = g(Z), with dropout. Z and A may be the product itself.
template <class C, class G>
__global__ void step_forward(const State* s, const C* product, C* Z, C* A,
                             const typename Master<C>::T* b, typename Master<C>::T alpha, u64 seed,
                             i64 layer, u64 threshold, typename Master<C>::T scale, i64 n, i64 ld,
                             i64 m) {
  typedef typename Master<C>::T T;
  Mask mask(s, seed, layer, threshold);
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> p = ((const Eight<C>*)product)[w.k], a;
    for (int e = 0; e < 8; ++e) {
      i64 row = w.i * 8 + e;
      T z = row < n ? up(p.x[e]) + b[row] : T(0);
      T v = row < n ? G::forward(z, alpha) : T(0);
      if (mask.drops()) v = v * (mask.keeps(w.j * n + row) ? T(1) : T(0)) * scale;
      down(p.x[e], z);
      down(a.x[e], v);
    }
    if (Z) ((Eight<C>*)Z)[w.k] = p;
    ((Eight<C>*)A)[w.k] = a;
  }
}

// dZ = dA * g', with dropout. cache is Z, or A after dropout, which is A times `scale` where it was
// kept. dZ may be dA or the cache.
template <class C, class G>
__global__ void step_backward(const State* s, const C* dA, const C* cache, C* dZ,
                              typename Master<C>::T alpha, u64 seed, i64 layer, u64 threshold,
                              typename Master<C>::T scale, typename Master<C>::T unscale, i64 n,
                              i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  Mask mask(s, seed, layer, threshold);
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> d = ((const Eight<C>*)dA)[w.k], c = ((const Eight<C>*)cache)[w.k];
    for (int e = 0; e < 8; ++e) {
      i64 row = w.i * 8 + e;
      T v = up(d.x[e]);
      if (mask.drops()) v = v * (mask.keeps(w.j * n + row) ? T(1) : T(0)) * scale;
      down(d.x[e], row < n ? v * G::derivative(T(up(c.x[e]) * unscale), alpha) : T(0));
    }
    ((Eight<C>*)dZ)[w.k] = d;
  }
}

// ReLU in place, with the mask of cuBLASLt's epilogue: bit i % 8 of byte i / 8 of a column.
template <class C>
__global__ void step_relu_forward(C* A, const typename Master<C>::T* b, u8* mask, i64 mask_ld,
                                  i64 n, i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> a = ((Eight<C>*)A)[w.k];
    unsigned bits = 0;
    for (int e = 0; e < 8; ++e) {
      i64 row = w.i * 8 + e;
      T z = row < n ? up(a.x[e]) + b[row] : T(0);
      bits |= (z > T(0) ? 1u : 0u) << e;
      down(a.x[e], maximum(z, T(0)));
    }
    mask[w.j * mask_ld + w.i] = (u8)bits;
    ((Eight<C>*)A)[w.k] = a;
  }
}

template <class C>
__global__ void step_relu_backward(C* d, const u8* mask, i64 mask_ld, i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> v = ((Eight<C>*)d)[w.k];
    unsigned bits = mask[w.j * mask_ld + w.i];
    for (int e = 0; e < 8; ++e) down(v.x[e], T(up(v.x[e])) * (bits >> e & 1 ? T(1) : T(0)));
    ((Eight<C>*)d)[w.k] = v;
  }
}

// -- the cost and dZ[L] ---------------------------------------------------------------------------
// Z is the product W[L] A[L-1] without b. A group of `lanes` threads (a power of two up to 32)
// takes an example. Targets are smoothed: y * keep + rest. dZ = slope * weight * share * scale, and
// may be Z. The cost is the mean over the m examples.

struct Group {
  i64 lane, size, first, count;  // this thread's place in its group; the first group and all
  __device__ explicit Group(i64 lanes)
      : lane(threadIdx.x % lanes), size(lanes), first(begin() / lanes), count(stride() / lanes) {}
  // All threads of a warp come here together, also those whose example lies beyond the last.
  template <class T, class F> __device__ T reduce(T v, F join) const {
    for (int o = (int)size / 2; o; o >>= 1) v = join(v, T(__shfl_xor_sync(~0u, v, o)));
    return v;
  }
  __device__ i64 rounds(i64 m) const { return (m + count - 1) / count; }
};

struct Larger { template <class T> __device__ T operator()(T a, T b) const { return maximum(a, b); } };
struct Plus { template <class T> __device__ T operator()(T a, T b) const { return a + b; } };

template <class C, class Y>
__global__ void step_softmax(const State* s, const Scale* f, const typename Master<C>::T* Z,
                             const typename Master<C>::T* b, C* dZ, double* partial,
                             unsigned* done, typename Master<C>::T keep,
                             typename Master<C>::T rest, typename Master<C>::T share, i64 n,
                             i64 ld, i64 m, i64 lanes) {
  typedef typename Master<C>::T T;
  Group group(lanes);
  const T* weights = (const T*)s->weights;
  T factor = f ? share * f->scale : share;
  double total = 0;
  for (i64 round = 0; round < group.rounds(m); ++round) {
    i64 j = group.first + round * group.count;
    bool there = j < m;
    const T* z = Z + j * ld;
    T top = there ? z[0] + b[0] : T(0), sum = 0;
    for (i64 i = group.lane; there && i < n; i += lanes) top = maximum(top, z[i] + b[i]);
    top = group.reduce(top, Larger());
    for (i64 i = group.lane; there && i < n; i += lanes) sum += exp(z[i] + b[i] - top);
    sum = group.reduce(sum, Plus());
    if (!there) continue;
    i64 source = example(s, m, j);
    T weight = weights ? weights[s->batch * m + j] : T(1), lse = log(sum), loss = 0;
    for (i64 i = group.lane; i < n; i += lanes) {
      T y = target<T>((const Y*)s->Y, n, i, source) * keep + rest, v = z[i] + b[i] - top;
      loss += y * (lse - v);
      down(dZ[j * ld + i], (exp(v) / sum - y) * weight * factor);
    }
    for (i64 i = n + group.lane; i < ld; i += lanes) down(dZ[j * ld + i], T(0));
    total += loss * weight;
    if (group.lane == 0 && out_of_range((const Y*)s->Y, n, source)) total = not_a_number();
  }
  if (grid_sum(total, partial, done)) *s->cost += total / m;
}

template <class T> struct Slope { T a, of_a; };

// A and dA/dZ of the output layer; the numbers are those of nnx.backends.cuda.launch.STRUCTS.
template <class T> __device__ inline Slope<T> output(i64 g, T z, T alpha) {
#define FROM_A(number, G) \
  case number: { T a = G::forward(z, alpha); return {a, G::derivative(a, alpha)}; }
#define FROM_Z(number, G) \
  case number: return {G::forward(z, alpha), G::derivative(z, alpha)};
  switch (g) {
    FROM_A(1, Sigmoid) FROM_A(2, Tanh) FROM_A(3, Relu) FROM_A(4, LeakyRelu) FROM_A(5, Elu)
    FROM_A(6, Selu) FROM_Z(7, Gelu) FROM_Z(8, Silu) FROM_A(9, Softplus) FROM_A(10, Exponential)
    default: return {z, T(1)};
  }
}

// The losses of elements: `loss`, and its derivative by z or by a, as `linked` says.
struct BinaryCrossEntropy {  // with the sigmoid
  static constexpr bool linked = true;
  template <class T> static __device__ T loss(T, T z, T y, T) {
    return maximum(z, T(0)) - z * y + log1p(exp(-fabs(z)));
  }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

struct Poisson {  // with the exponential
  static constexpr bool linked = true;
  template <class T> static __device__ T loss(T a, T z, T y, T) { return a - y * z; }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

struct Squared {
  static constexpr bool linked = false;
  template <class T> static __device__ T loss(T a, T, T y, T) { return (a - y) * (a - y); }
  template <class T> static __device__ T slope(T a, T y, T) { return T(2) * (a - y); }
};

template <class T> __device__ inline T sign(T v) {
  return v > T(0) ? T(1) : v < T(0) ? T(-1) : v == T(0) ? T(0) : v;
}

struct Absolute {
  static constexpr bool linked = false;
  template <class T> static __device__ T loss(T a, T, T y, T) { return fabs(a - y); }
  template <class T> static __device__ T slope(T a, T y, T) { return sign(a - y); }
};

struct HuberLoss {
  static constexpr bool linked = false;
  template <class T> static __device__ T loss(T a, T, T y, T delta) {
    T e = fabs(a - y), q = e > delta ? delta : e;
    return q * (e - T(0.5) * q);
  }
  template <class T> static __device__ T slope(T a, T y, T delta) {
    T e = a - y;
    return e > delta ? delta : e < -delta ? -delta : e;
  }
};

// `each` is 1, or 1 / n where the loss is a mean over the outputs.
template <class C, class L>
__global__ void step_loss(const State* s, const Scale* f, const typename Master<C>::T* Z,
                          const typename Master<C>::T* b, C* dZ, double* partial, unsigned* done,
                          i64 g, typename Master<C>::T alpha, typename Master<C>::T delta,
                          typename Master<C>::T keep, typename Master<C>::T rest,
                          typename Master<C>::T each, typename Master<C>::T share, i64 n, i64 ld,
                          i64 m, i64 lanes) {
  typedef typename Master<C>::T T;
  Group group(lanes);
  const T* weights = (const T*)s->weights;
  T factor = f ? share * f->scale : share;
  double total = 0;
  for (i64 j = group.first; j < m; j += group.count) {
    const T* y = (const T*)s->Y + example(s, m, j) * n;
    T weight = weights ? weights[s->batch * m + j] : T(1), loss = 0;
    for (i64 i = group.lane; i < n; i += lanes) {
      T z = Z[j * ld + i] + b[i], wanted = y[i] * keep + rest;
      Slope<T> out = output(g, z, alpha);
      loss += L::loss(out.a, z, wanted, delta);
      T d = L::slope(out.a, wanted, delta) * each * (L::linked ? T(1) : out.of_a);
      down(dZ[j * ld + i], d * weight * factor);
    }
    for (i64 i = n + group.lane; i < ld; i += lanes) down(dZ[j * ld + i], T(0));
    total += loss * each * weight;
  }
  if (grid_sum(total, partial, done)) *s->cost += total / m;
}

// -- bias gradients that no epilogue has computed -------------------------------------------------

// db = sum of dZ over the examples. A block adds 32 rows over one of `chunks` parts of the
// examples; the last block of these rows adds the chunks up, always in the same order.
template <class C>
__global__ void step_bias_gradient(const C* dZ, typename Master<C>::T* db,
                                   typename Master<C>::T* sums, unsigned* done, i64 chunks, i64 ld,
                                   i64 m) {
  typedef typename Master<C>::T T;
  __shared__ T part[256];
  i64 groups = (ld + 31) / 32, group = blockIdx.x % groups, chunk = blockIdx.x / groups;
  int row = threadIdx.x & 31, column = threadIdx.x >> 5, columns = blockDim.x >> 5;
  i64 i = group * 32 + row, last = (chunk + 1) * m / chunks;
  T sum = 0;
  if (i < ld) {
    for (i64 j = chunk * m / chunks + column; j < last; j += columns) sum += up(dZ[j * ld + i]);
  }
  part[threadIdx.x] = sum;
  __syncthreads();
  if (column == 0 && i < ld) {
    for (int c = 1; c < columns; ++c) sum += part[c * 32 + row];
    sums[chunk * ld + i] = sum;
  }
  if (!is_last(done + group, (unsigned)chunks)) return;
  if (column == 0 && i < ld) {
    sum = 0;
    for (i64 c = 0; c < chunks; ++c) sum += ((volatile T*)sums)[c * ld + i];
    db[i] = sum;
  }
}

// -- the flat vector ------------------------------------------------------------------------------
// `count` and `penalised` count eights. The gradient as the formulas have it: unscaled, with the
// derivatives of the penalties, l2 and l1 already divided by m.

template <class T> __device__ inline T full_gradient(T g, T w, T inverse, T l2, T l1) {
  g *= inverse;
  if (l2 != T(0)) g += w * l2;
  if (l1 != T(0)) g += sign(w) * l1;
  return g;
}

// The gradient's norm: how much to clip it to `limit` (0: not at all), and whether it is finite.
template <class T>
__global__ void step_inspect(State* s, Scale* f, const T* theta, const T* g, double* partial,
                             unsigned* done, T l2, T l1, T unshare, double limit, i64 count,
                             i64 penalised) {
  T inverse = f ? T(unshare / f->scale) : T(1);
  double sum = 0;
  for (i64 k = begin(); k < count; k += stride()) {
    Eight<T> d = ((const Eight<T>*)g)[k], w = ((const Eight<T>*)theta)[k];
    bool counts = k < penalised;
    for (int e = 0; e < 8; ++e) {
      double x = full_gradient(d.x[e], w.x[e], inverse, counts ? l2 : T(0), counts ? l1 : T(0));
      sum += x * x;
    }
  }
  if (!grid_sum(sum, partial, done)) return;
  double norm = sqrt(sum);
  if (limit > 0) s->clip = norm > limit ? limit / norm : norm == norm ? 1 : norm;
  if (f && !finite(norm)) f->bad = 1;
}

// For whoever wants the gradient itself.
template <class T> __global__ void step_unscale(const Scale* f, T* g, T unshare, i64 count) {
  T inverse = T(unshare / f->scale);
  for (i64 k = begin(); k < count; k += stride()) {
    Eight<T> d = ((Eight<T>*)g)[k];
    for (int e = 0; e < 8; ++e) d.x[e] *= inverse;
    ((Eight<T>*)g)[k] = d;
  }
}

// beta_c stands for 1 - beta, which is rounded to T once, on the host.
template <class T> struct Constants {
  T step, epsilon, shrink, beta1, beta1_c, beta2, beta2_c;
};

struct GradientDescent {
  static constexpr int slots = 0;
  template <class T> static __device__ void move(T& w, T g, T&, T&, const Constants<T>& c) {
    w -= c.step * g;
  }
};

struct Momentum {  // beta2 is 1 for Nesterov's form
  static constexpr int slots = 1;
  template <class T> static __device__ void move(T& w, T g, T& v, T&, const Constants<T>& c) {
    v = v * c.beta1 - c.step * g;
    w += c.beta2 != T(0) ? c.beta1 * v - c.step * g : v;
  }
};

struct RMSprop {
  static constexpr int slots = 1;
  template <class T> static __device__ void move(T& w, T g, T& v, T&, const Constants<T>& c) {
    v = v * c.beta1 + c.beta1_c * g * g;
    w -= c.step * g / (sqrt(v) + c.epsilon);
  }
};

struct Adam {
  static constexpr int slots = 2;
  template <class T> static __device__ void move(T& w, T g, T& v1, T& v2, const Constants<T>& c) {
    v1 = v1 * c.beta1 + c.beta1_c * g;
    v2 = v2 * c.beta2 + c.beta2_c * g * g;
    w = w * c.shrink - c.step * v1 / (sqrt(v2) + c.epsilon);
  }
};

// Theta moves along the gradient; the copy in C follows it; the penalties are added to the cost. A
// gradient that is not finite makes the cost NaN, since ReLU epilogues make zeros of NaN and would
// hide it; in float16 it leaves everything as it is.
template <class C, class R>
__global__ void step_update(const State* s, const Scale* f, typename Master<C>::T* theta,
                            const typename Master<C>::T* g, typename Master<C>::T* slot1,
                            typename Master<C>::T* slot2, C* copy, double* partial,
                            unsigned* done, typename Master<C>::T beta1,
                            typename Master<C>::T beta1_c, typename Master<C>::T beta2,
                            typename Master<C>::T beta2_c, typename Master<C>::T l2,
                            typename Master<C>::T l1, typename Master<C>::T unshare, i64 count,
                            i64 penalised) {
  typedef typename Master<C>::T T;
  Constants<T> c = {T(s->step), T(s->epsilon), T(s->shrink), beta1, beta1_c, beta2, beta2_c};
  T inverse = f ? T(unshare / f->scale) : T(1), clip = T(s->clip);
  bool skip = f && f->bad, penalties = l2 != T(0) || l1 != T(0), good = true;
  double penalty = 0;
  for (i64 k = begin(); k < count; k += stride()) {
    Eight<T> w = ((Eight<T>*)theta)[k], d = ((const Eight<T>*)g)[k], v1 = w, v2 = w;
    if (R::slots > 0) v1 = ((Eight<T>*)slot1)[k];
    if (R::slots > 1) v2 = ((Eight<T>*)slot2)[k];
    Eight<C> low;
    bool counts = penalties && k < penalised;
    for (int e = 0; e < 8; ++e) {
      T x = full_gradient(d.x[e], w.x[e], inverse, counts ? l2 : T(0), counts ? l1 : T(0));
      if (counts) penalty += (T(0.5) * l2 * w.x[e] + l1 * sign(w.x[e])) * (double)w.x[e];
      good = good && finite(x);
      R::move(w.x[e], x * clip, v1.x[e], v2.x[e], c);
      down(low.x[e], w.x[e]);
    }
    if (skip) continue;
    ((Eight<T>*)theta)[k] = w;
    if (R::slots > 0) ((Eight<T>*)slot1)[k] = v1;
    if (R::slots > 1) ((Eight<T>*)slot2)[k] = v2;
    if (copy) ((Eight<C>*)copy)[k] = low;
  }
  if (!good && !skip) *(volatile double*)s->cost = not_a_number();
  if (penalties && grid_sum(penalty, partial, done)) *s->cost += penalty;
}

template <class C>
__global__ void step_cast(const typename Master<C>::T* theta, C* copy, i64 count) {
  for (i64 k = begin(); k < count; k += stride()) {
    Eight<typename Master<C>::T> w = ((const Eight<typename Master<C>::T>*)theta)[k];
    Eight<C> low;
    for (int e = 0; e < 8; ++e) down(low.x[e], w.x[e]);
    ((Eight<C>*)copy)[k] = low;
  }
}
