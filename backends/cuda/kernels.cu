// The elementwise tails of the primitives, fused: one kernel per line of nnx.backends.reference.
// activations.cuh stands before this text.
//
// A matrix (n, m) has each column, one example, contiguous: element (i, j) is x[j * n + i].
// T is float or double. A null pointer stands for an array that is not wanted. No
// header is needed, so that a C++ compiler for the CPU can build the kernels too.

// Z = product + b and A = g(Z); product may be Z or A itself.
template <class T, class G>
__global__ void forward(const T* product, const T* b, T* Z, T* A, T alpha, i64 n, i64 size) {
  i64 row = begin() % n, step = stride() % n;
  for (i64 k = begin(); k < size; k += stride()) {
    T z = product[k] + b[row];
    if (Z) Z[k] = z;
    A[k] = G::forward(z, alpha);
    row += step;
    if (row >= n) row -= n;
  }
}

// dZ = dA * g'; dZ may be dA itself.
template <class T, class G>
__global__ void backward(const T* dA, const T* cache, T* dZ, T alpha, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) dZ[k] = dA[k] * G::derivative(cache[k], alpha);
}

// The same for softmax, one thread per column.
template <class T>
__global__ void softmax_forward(const T* product, const T* b, T* Z, T* A, i64 n, i64 m) {
  for (i64 j = begin(); j < m; j += stride()) {
    const T* p = product + j * n;
    T* a = A + j * n;
    T top = p[0] + b[0], sum = 0;
    for (i64 i = 0; i < n; ++i) {
      T z = p[i] + b[i];
      if (Z) Z[j * n + i] = z;
      a[i] = z;
      top = maximum(top, z);
    }
    for (i64 i = 0; i < n; ++i) sum += a[i] = exp(a[i] - top);
    for (i64 i = 0; i < n; ++i) a[i] /= sum;
  }
}

template <class T>
__global__ void softmax_backward(const T* dA, const T* A, T* dZ, i64 n, i64 m) {
  for (i64 j = begin(); j < m; j += stride()) {
    T dot = 0;
    for (i64 k = j * n; k < (j + 1) * n; ++k) dot += A[k] * dA[k];
    for (i64 k = j * n; k < (j + 1) * n; ++k) dZ[k] = A[k] * (dA[k] - dot);
  }
}

// -- losses: L (m,), weighted, and dZ from Z and A = g(Z), g the loss's link ----------------------
// Targets are smoothed: y * keep + rest. weights (m,) may be null. One thread per column.

template <class T>
__global__ void binary_cross_entropy(const T* Z, const T* A, const T* Y, const T* weights, T* dZ,
                                     T* L, T keep, T rest, i64 n, i64 m) {
  for (i64 j = begin(); j < m; j += stride()) {
    T s = weights ? weights[j] : T(1), sum = 0;
    for (i64 k = j * n; k < (j + 1) * n; ++k) {
      T y = Y[k] * keep + rest, z = Z[k];
      sum += maximum(z, T(0)) - z * y + log1p(exp(-fabs(z)));
      dZ[k] = (A[k] - y) * s;
    }
    L[j] = sum * s;
  }
}

template <class T, class Target>
__global__ void categorical_cross_entropy(const T* Z, const T* A, const Target* Y,
                                          const T* weights, T* dZ, T* L, T keep, T rest, i64 n,
                                          i64 m) {
  for (i64 j = begin(); j < m; j += stride()) {
    const T* z = Z + j * n;
    T s = weights ? weights[j] : T(1), top = z[0], exps = 0, sum = 0;
    for (i64 i = 1; i < n; ++i) top = maximum(top, z[i]);
    for (i64 i = 0; i < n; ++i) exps += exp(z[i] - top);
    T lse = log(exps);
    for (i64 i = 0; i < n; ++i) {
      T y = target<T>(Y, n, i, j) * keep + rest;
      sum += y * (lse - (z[i] - top));
      dZ[j * n + i] = (A[j * n + i] - y) * s;
    }
    L[j] = sum * s;
  }
}

template <class T>
__global__ void mean_squared_error(const T*, const T* A, const T* Y, const T* weights, T* dZ, T* L,
                                   T, T, i64 n, i64 m) {
  T share = T(2.0 / n);
  for (i64 j = begin(); j < m; j += stride()) {
    T s = weights ? weights[j] : T(1), sum = 0;
    for (i64 k = j * n; k < (j + 1) * n; ++k) {
      T e = A[k] - Y[k];
      sum += e * e;
      dZ[k] = e * share * s;
    }
    L[j] = sum / T(n) * s;
  }
}

// -- updates of the flat parameter vector ---------------------------------------------------------

template <class T> __global__ void gradient_descent(T* theta, const T* g, T rate, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) theta[k] -= rate * g[k];
}

template <class T>
__global__ void momentum(T* theta, const T* g, T* v, T rate, T beta, T nesterov, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) {
    T speed = v[k] * beta - rate * g[k];
    v[k] = speed;
    theta[k] += nesterov != T(0) ? beta * speed - rate * g[k] : speed;
  }
}

// beta_c stands for 1 - beta, which is rounded to T once, on the host.
template <class T>
__global__ void rmsprop(T* theta, const T* g, T* s, T rate, T beta, T beta_c, T epsilon, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) {
    s[k] = s[k] * beta + beta_c * g[k] * g[k];
    theta[k] -= rate * g[k] / (sqrt(s[k]) + epsilon);
  }
}

// step and epsilon carry the bias corrections; shrink is 1 - learning_rate * weight_decay.
template <class T>
__global__ void adam(T* theta, const T* g, T* m, T* v, T step, T epsilon, T shrink, T beta1,
                     T beta1_c, T beta2, T beta2_c, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) {
    m[k] = m[k] * beta1 + beta1_c * g[k];
    v[k] = v[k] * beta2 + beta2_c * g[k] * g[k];
    theta[k] = theta[k] * shrink - step * m[k] / (sqrt(v[k]) + epsilon);
  }
}

// -- dropout --------------------------------------------------------------------------------------

// A * D / keep_prob; SplitMix64 of (key, element number), as nnx.backends.reference.dropout has it.
template <class T>
__global__ void dropout(const T* A, T* out, u64 key, u64 threshold, T scale, i64 size) {
  for (i64 k = begin(); k < size; k += stride()) {
    u64 x = (u64)(k + 1) * 0x9E3779B97F4A7C15ULL + key;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    x ^= x >> 31;
    out[k] = A[k] * ((x >> 32) < threshold ? T(1) : T(0)) * scale;
  }
}
