#include "../norm_relu.h"

#include <cmath>
#include <vector>

#include "parallel.h"

namespace lae::cpu {
namespace {

constexpr int64_t kNormLanes = 32;

// Adds term(j) over 0 <= j < d in lanes, so that the loop is vector arithmetic.
template <class T, class Term>
LAE_INLINE T sum_lanes(int64_t d, const Term& term) {
  alignas(64) T lanes[kNormLanes] = {};
  int64_t j = 0;
  for (; j + kNormLanes <= d; j += kNormLanes) {
#pragma GCC ivdep
    for (int64_t l = 0; l < kNormLanes; ++l) lanes[l] += term(j + l);
  }
  for (int64_t l = 0; j + l < d; ++l) lanes[l] += term(j + l);
  for (int64_t half = kNormLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

template <class T>
LAE_INLINE void forward_loop(const ForwardArgs<T>& a, int64_t begin, int64_t end) {
  const T* __restrict bias = a.bias;
  const T* __restrict gain = a.gain;
  const T* __restrict shift = a.shift;
  for (int64_t i = begin; i < end; ++i) {
    T* __restrict u = a.u + i * a.d;
    T* __restrict y = a.y + i * a.d;
    const T mean = sum_lanes<T>(a.d, [&](int64_t j) { return u[j] += bias[j]; }) / T(a.d);
    const T square = sum_lanes<T>(a.d, [&](int64_t j) {
      u[j] -= mean;
      return u[j] * u[j];
    });
    const T rstd = T(1) / std::sqrt(square / T(a.d) + static_cast<T>(a.eps));
    a.rstd[i] = rstd;
    for (int64_t j = 0; j < a.d; ++j) {
      u[j] *= rstd;
      const T z = u[j] * gain[j] + shift[j];
      y[j] = z < T(0) ? T(0) : z;
    }
  }
}

template <class T>
LAE_INLINE void backward_loop(const BackwardArgs<T>& a, int64_t begin, int64_t end) {
  const T* __restrict gain = a.gain;
  for (int64_t i = begin; i < end; ++i) {
    T* __restrict grad = a.grad + i * a.d;
    T* __restrict grad_u = a.grad_u + i * a.d;
    const T* __restrict normed = a.normed + i * a.d;
    const T* __restrict y = a.y + i * a.d;
    const T mean = sum_lanes<T>(a.d, [&](int64_t j) {
      grad[j] = y[j] > T(0) ? grad[j] : T(0);
      return grad_u[j] = grad[j] * gain[j];
    }) / T(a.d);
    const T slope =
        sum_lanes<T>(a.d, [&](int64_t j) { return grad_u[j] * normed[j]; }) / T(a.d);
    for (int64_t j = 0; j < a.d; ++j) {
      grad_u[j] = a.rstd[i] * (grad_u[j] - mean - normed[j] * slope);
    }
  }
}

// Kept out of the loop above, which it would slow: every layer runs that one, and few need this.
template <class T>
void input_rows(const BackwardArgs<T>& a, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T* const grad_u = a.grad_u + i * a.d;
    T* __restrict grad_input = a.grad_input + i * a.inputs;
    for (int64_t k = 0; k < a.inputs; ++k) {
      grad_input[k] = a.added == nullptr ? T(0) : a.added[i * a.inputs + k];
    }
    for (int64_t j = 0; j < a.d; ++j) {
      const T* __restrict weight = a.weight + j * a.inputs;
      for (int64_t k = 0; k < a.inputs; ++k) grad_input[k] += grad_u[j] * weight[k];
    }
  }
}

LAE_CLONES void forward_rows(const ForwardArgs<float>& a, int64_t b, int64_t e) {
  forward_loop(a, b, e);
}
LAE_CLONES void forward_rows(const ForwardArgs<double>& a, int64_t b, int64_t e) {
  forward_loop(a, b, e);
}
LAE_CLONES void backward_rows(const BackwardArgs<float>& a, int64_t b, int64_t e) {
  backward_loop(a, b, e);
}
LAE_CLONES void backward_rows(const BackwardArgs<double>& a, int64_t b, int64_t e) {
  backward_loop(a, b, e);
}

constexpr int64_t kRowsDeep = 32;  // rows summed in the tensors' own precision, before double

// Adds rows [begin, end) of `grad`, times those of `factor` where there is one, to `totals`.
template <class T>
LAE_INLINE void add_rows_loop(const ColumnSum<T>& a, int64_t d, int64_t begin, int64_t end,
                              T* __restrict sums, double* __restrict totals) {
  for (int64_t base = begin; base < end; base += kRowsDeep) {
    for (int64_t j = 0; j < d; ++j) sums[j] = 0;
    for (int64_t i = base; i < end && i < base + kRowsDeep; ++i) {
      const T* __restrict grad = a.grad + i * d;
      if (a.factor != nullptr) {
        const T* __restrict factor = a.factor + i * d;
        for (int64_t j = 0; j < d; ++j) sums[j] += grad[j] * factor[j];
      } else {
        for (int64_t j = 0; j < d; ++j) sums[j] += grad[j];
      }
    }
    for (int64_t j = 0; j < d; ++j) totals[j] += static_cast<double>(sums[j]);
  }
}

LAE_CLONES void add_rows(const ColumnSum<float>& a, int64_t d, int64_t begin, int64_t end,
                         float* sums, double* totals) {
  add_rows_loop(a, d, begin, end, sums, totals);
}
LAE_CLONES void add_rows(const ColumnSum<double>& a, int64_t d, int64_t begin, int64_t end,
                         double* sums, double* totals) {
  add_rows_loop(a, d, begin, end, sums, totals);
}

struct NormReluKernels : OnCpu {
  template <class T>
  static void forward(const Call&, const ForwardArgs<T>& args) {
    const auto rows = [&](int64_t, int64_t begin, int64_t end) { forward_rows(args, begin, end); };
    for_each_chunk(args.n, rows, rows_per_chunk(args.d));
  }

  template <class T>
  static void backward(const Call&, const BackwardArgs<T>& args) {
    const auto rows = [&](int64_t, int64_t begin, int64_t end) {
      backward_rows(args, begin, end);
      if (args.weight != nullptr) input_rows(args, begin, end);
    };
    for_each_chunk(args.n, rows, rows_per_chunk(args.d));
  }

  // Chunks of rows are summed apart, and their sums added in order, so that results do not depend
  // on the number of threads.
  template <class T>
  static void add_column_sums(const Call&, const ColumnSums<T>& sums) {
    const int64_t d = sums.d;
    const int64_t size = ceil_div(rows_per_chunk(d), kRowsDeep) * kRowsDeep;
    const int64_t chunks = ceil_div(sums.n, size);
    std::vector<double> totals(chunks * kColumnSums * d);
    const auto sum_chunk = [&](int64_t chunk, int64_t begin, int64_t end) {
      std::vector<T> few(d);
      for (int k = 0; k < kColumnSums; ++k) {
        add_rows(sums.all[k], d, begin, end, few.data(),
                 totals.data() + (chunk * kColumnSums + k) * d);
      }
    };
    for_each_chunk(sums.n, sum_chunk, size);
    const double weight = sums.weight;
    for (int k = 0; k < kColumnSums; ++k) {
      T* const into = sums.all[k].into;
      for (int64_t j = 0; j < d; ++j) {
        double total = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
          total += totals[(chunk * kColumnSums + k) * d + j];
        }
        into[j] += static_cast<T>(weight * total);
      }
    }
  }
};

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  lae::register_norm_relu<lae::cpu::NormReluKernels>(m);
}
