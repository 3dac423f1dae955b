// The cost and dZ[L]; step.cuh stands before this text.
//
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

// A logarithm's cost between those of the probabilities 1 - eps and eps; NaN stays.
template <class T> __device__ inline T clipped(T cost, T eps) {
  if (eps == T(0)) return cost;
  T low = -log1p(-eps), high = -log(eps);
  return cost < low ? low : cost > high ? high : cost;
}

struct Larger { template <class T> __device__ T operator()(T a, T b) const { return maximum(a, b); } };
struct Plus { template <class T> __device__ T operator()(T a, T b) const { return a + b; } };

template <class C, class Y>
__global__ void step_softmax(const State* s, const Scale* f, const typename Master<C>::T* Z,
                             const typename Master<C>::T* b, C* dZ, double* partial,
                             unsigned* done, typename Master<C>::T eps,
                             typename Master<C>::T keep, typename Master<C>::T rest,
                             typename Master<C>::T share, i64 n, i64 ld, i64 m, i64 lanes) {
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
      loss += y * clipped(lse - v, eps);
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

struct ClippedBinaryCrossEntropy {  // delta is eps
  static constexpr bool linked = true;
  template <class T> static __device__ T loss(T, T z, T y, T eps) {
    T rest = log1p(exp(-fabs(z))), yes = maximum(-z, T(0)) + rest, no = maximum(z, T(0)) + rest;
    return y * clipped(yes, eps) + (T(1) - y) * clipped(no, eps);
  }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

struct Poisson {  // with the exponential
  static constexpr bool linked = true;
  template <class T> static __device__ T loss(T a, T z, T y, T) { return a - y * z; }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

struct PoissonDeviance {  // with the exponential
  static constexpr bool linked = true;
  template <class T> static __device__ T loss(T a, T z, T y, T) {
    return a - y * z + (y == T(0) ? T(0) : y * log(y) - y);
  }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

struct Squared {
  static constexpr bool linked = false;
  template <class T> static __device__ T loss(T a, T, T y, T) { return (a - y) * (a - y); }
  template <class T> static __device__ T slope(T a, T y, T) { return T(2) * (a - y); }
};

struct HalfSquared {  // its slope is not a mean over the outputs, see `steep`
  static constexpr bool linked = false;
  template <class T> static __device__ T loss(T a, T, T y, T) { return T(0.5) * (a - y) * (a - y); }
  template <class T> static __device__ T slope(T a, T y, T) { return a - y; }
};

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

// `each` is 1, or 1 / n where the loss is a mean over the outputs; `steep` the same for its slope.
template <class C, class L>
__global__ void step_loss(const State* s, const Scale* f, const typename Master<C>::T* Z,
                          const typename Master<C>::T* b, C* dZ, double* partial, unsigned* done,
                          i64 g, typename Master<C>::T alpha, typename Master<C>::T delta,
                          typename Master<C>::T keep, typename Master<C>::T rest,
                          typename Master<C>::T each, typename Master<C>::T steep,
                          typename Master<C>::T share, i64 n, i64 ld, i64 m, i64 lanes) {
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
      T d = L::slope(out.a, wanted, delta) * steep * (L::linked ? T(1) : out.of_a);
      down(dZ[j * ld + i], d * weight * factor);
    }
    for (i64 i = n + group.lane; i < ld; i += lanes) down(dZ[j * ld + i], T(0));
    total += loss * each * weight;
  }
  if (grid_sum(total, partial, done)) *s->cost += total / m;
}
