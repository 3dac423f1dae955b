// What happens once in a step, and to the flat vector; step.cuh stands before this text.

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
                          i64 epsilon_hat, double weight_decay, i64 patience) {
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
  s->epsilon = epsilon_hat ? epsilon : epsilon * root;
  s->shrink = 1 - rate * weight_decay;
  s->clip = 1;
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
