// What all kernels share: how threads share out elements, and the activations. No header is needed,
// so that NVRTC and a C++ compiler for the CPU can build it alike.

typedef long long i64;
typedef unsigned long long u64;

// One thread handles the elements begin(), begin() + stride(), ... below a size.
__device__ inline i64 begin() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ inline i64 stride() { return (i64)gridDim.x * blockDim.x; }

// As NumPy's maximum, and unlike fmax: NaN wins.
template <class T> __device__ inline T maximum(T a, T b) { return a > b || a != a ? a : b; }

// -- activations: A = g(Z), and g' from the cache c, which is A or Z as the reference has it ------

template <class T> __device__ inline T sigmoid(T z) {
  T e = exp(-fabs(z));  // exp is only taken of numbers below zero
  return (z >= T(0) ? T(1) : e) / (T(1) + e);
}

template <class T> __device__ inline T elu(T z, T alpha) { return z > T(0) ? z : alpha * expm1(z); }

struct Identity {
  template <class T> static __device__ T forward(T z, T) { return z; }
};

struct Sigmoid {
  template <class T> static __device__ T forward(T z, T) { return sigmoid(z); }
  template <class T> static __device__ T derivative(T a, T) { return a * (T(1) - a); }
};

struct Tanh {
  template <class T> static __device__ T forward(T z, T) { return tanh(z); }
  template <class T> static __device__ T derivative(T a, T) { return T(1) - a * a; }
};

struct Relu {
  template <class T> static __device__ T forward(T z, T) { return maximum(z, T(0)); }
  template <class T> static __device__ T derivative(T a, T) { return a > T(0) ? T(1) : T(0); }
};

struct LeakyRelu {
  template <class T> static __device__ T forward(T z, T alpha) { return z > T(0) ? z : alpha * z; }
  template <class T> static __device__ T derivative(T a, T alpha) {
    return a > T(0) ? T(1) : alpha;
  }
};

struct Elu {
  template <class T> static __device__ T forward(T z, T alpha) { return elu(z, alpha); }
  template <class T> static __device__ T derivative(T a, T alpha) {
    return a > T(0) ? T(1) : a + alpha;
  }
};

struct Selu {
  static constexpr double ALPHA = 1.6732632423543772, SCALE = 1.0507009873554805;
  template <class T> static __device__ T forward(T z, T) { return T(SCALE) * elu(z, T(ALPHA)); }
  template <class T> static __device__ T derivative(T a, T) {
    return a > T(0) ? T(SCALE) : a + T(SCALE * ALPHA);
  }
};

struct Gelu {  // the tanh form; C = sqrt(2 / pi)
  static constexpr double C = 0.79788456080286541, K = 0.044715;
  template <class T> static __device__ T inner(T z) { return tanh(T(C) * (z + T(K) * z * z * z)); }
  template <class T> static __device__ T forward(T z, T) { return T(0.5) * z * (T(1) + inner(z)); }
  template <class T> static __device__ T derivative(T z, T) {
    T t = inner(z);
    return T(0.5) * (T(1) + t) +
           T(0.5) * z * (T(1) - t * t) * T(C) * (T(1) + T(3 * K) * z * z);
  }
};

struct Silu {
  template <class T> static __device__ T forward(T z, T) { return z * sigmoid(z); }
  template <class T> static __device__ T derivative(T z, T) {
    T s = sigmoid(z);
    return s * (T(1) + z * (T(1) - s));
  }
};

struct Softplus {
  template <class T> static __device__ T forward(T z, T) {
    return maximum(z, T(0)) + log1p(exp(-fabs(z)));
  }
  template <class T> static __device__ T derivative(T a, T) { return -expm1(-a); }
};

struct Exponential {
  template <class T> static __device__ T forward(T z, T) { return exp(z); }
  template <class T> static __device__ T derivative(T a, T) { return a; }
};

// -- targets: columns (n, m), or labels (m,) of classes -------------------------------------------

template <class T> __device__ inline T target(const T* Y, i64 n, i64 i, i64 j) {
  return Y[j * n + i];
}
template <class T> __device__ inline T target(const i64* labels, i64, i64 i, i64 j) {
  return labels[j] == i ? T(1) : T(0);
}

template <class T> __device__ inline bool out_of_range(const T*, i64, i64) { return false; }
__device__ inline bool out_of_range(const i64* labels, i64 n, i64 j) {
  return labels[j] < 0 || labels[j] >= n;
}
