// What happens to the matrices of a layer beside its products; step.cuh stands before this text.

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

// ReLU in place, with the mask of cuBLASLt's epilogue: bit i % 8 of byte i / 8 of a column. at_zero
// is the bit of an exact zero, on which the library's documentation is silent.
template <class C>
__global__ void step_relu_forward(C* A, const typename Master<C>::T* b, u8* mask, i64 mask_ld,
                                  i64 at_zero, i64 n, i64 ld, i64 m) {
  typedef typename Master<C>::T T;
  for (Walk w(ld); w.j < m; w.next()) {
    Eight<C> a = ((Eight<C>*)A)[w.k];
    unsigned bits = 0;
    for (int e = 0; e < 8; ++e) {
      i64 row = w.i * 8 + e;
      T z = row < n ? up(a.x[e]) + b[row] : T(0);
      bits |= (z > T(0) || (at_zero && z == T(0)) ? 1u : 0u) << e;
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
