#include "../norm_relu.h"

#include <cmath>
#include <vector>

#include "parallel.h"

namespace lae::cpu {
namespace {

template <class T>
struct ForwardArgs {
  T* u;  // becomes the normalised values
  const T* bias;
  const T* gain;
  const T* shift;
  T* y;
  T* rstd;
  int64_t d;
  double eps;
};

template <class T>
struct BackwardArgs {
  T* grad;  // masked in place
  const T* normed;
  const T* y;
  const T* rstd;
  const T* gain;
  T* grad_u;
  const T* weight;  // (d, inputs), or null: the gradient of the input is not wanted
  const T* added;   // or null
  T* grad_input;
  int64_t d, inputs;
};

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

// Not part of the loop above, which every layer runs and which this would slow; few need it.
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

constexpr int64_t kRowsDeep = 32;  // rows added in the tensors' own precision, then in double

template <class T>
struct RowsIn {
  const T* grad;
  const T* factor;  // or null
  int64_t d;
};

// Adds rows [begin, end) of `grad`, times those of `factor` where there is one, to `totals`.
template <class T>
LAE_INLINE void add_rows_loop(const RowsIn<T>& a, int64_t begin, int64_t end, T* __restrict sums,
                              double* __restrict totals) {
  for (int64_t base = begin; base < end; base += kRowsDeep) {
    for (int64_t j = 0; j < a.d; ++j) sums[j] = 0;
    for (int64_t i = base; i < end && i < base + kRowsDeep; ++i) {
      const T* __restrict grad = a.grad + i * a.d;
      if (a.factor != nullptr) {
        const T* __restrict factor = a.factor + i * a.d;
        for (int64_t j = 0; j < a.d; ++j) sums[j] += grad[j] * factor[j];
      } else {
        for (int64_t j = 0; j < a.d; ++j) sums[j] += grad[j];
      }
    }
    for (int64_t j = 0; j < a.d; ++j) totals[j] += static_cast<double>(sums[j]);
  }
}

LAE_CLONES void add_rows(const RowsIn<float>& a, int64_t begin, int64_t end, float* sums,
                         double* totals) {
  add_rows_loop(a, begin, end, sums, totals);
}
LAE_CLONES void add_rows(const RowsIn<double>& a, int64_t begin, int64_t end, double* sums,
                         double* totals) {
  add_rows_loop(a, begin, end, sums, totals);
}

// into += weight * (grad * factor).sum(0)
struct ColumnSums {
  const Tensor& into;
  const Tensor& grad;
  const Tensor* factor;  // or null
};

// Chunks of rows are summed apart, and their sums added in order, so that results do not depend on
// the number of threads.
template <class T, size_t count>
void add_column_sums(const ColumnSums (&targets)[count], double weight) {
  const int64_t n = targets[0].grad.size(0), d = targets[0].grad.size(1);
  const int64_t size = (rows_per_chunk(d) + kRowsDeep - 1) / kRowsDeep * kRowsDeep;
  const int64_t chunks = (n + size - 1) / size;
  std::vector<double> totals(chunks * count * d);
  const auto chunk_sums = [&](int64_t chunk, int64_t begin, int64_t end) {
    std::vector<T> sums(d);
    for (size_t k = 0; k < count; ++k) {
      const RowsIn<T> rows{read<T>(targets[k].grad),
                           targets[k].factor ? read<T>(*targets[k].factor) : nullptr, d};
      add_rows(rows, begin, end, sums.data(), totals.data() + (chunk * count + k) * d);
    }
  };
  for_each_chunk(n, chunk_sums, size);
  for (size_t k = 0; k < count; ++k) {
    T* const into = write<T>(targets[k].into);
    for (int64_t j = 0; j < d; ++j) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += totals[(chunk * count + k) * d + j];
      into[j] += static_cast<T>(weight * total);
    }
  }
}

void norm_relu_(Tensor u, const Tensor& bias, const Tensor& gain, const Tensor& shift, Tensor y,
                Tensor rstd, double eps) {
  const Call call("norm_relu_", "u", u, aoti_torch_device_type_cpu());
  check_norm_relu(call, bias, gain, shift, y, rstd, eps);
  Updated u_work(u), y_work(y), rstd_work(rstd);
  const Tensor bias_in = readable(bias), gain_in = readable(gain), shift_in = readable(shift);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const ForwardArgs<T> args{write<T>(u_work.work()), read<T>(bias_in), read<T>(gain_in),
                              read<T>(shift_in), write<T>(y_work.work()),
                              write<T>(rstd_work.work()), u.size(1), eps};
    const auto rows = [&](int64_t, int64_t begin, int64_t end) { forward_rows(args, begin, end); };
    for_each_chunk(u.size(0), rows, rows_per_chunk(u.size(1)));
  });
  for (Updated* updated : {&u_work, &y_work, &rstd_work}) updated->commit();
}

void norm_relu_backward_(Tensor grad, const Tensor& normed, const Tensor& y, const Tensor& rstd,
                         const Tensor& gain, Tensor grad_u, std::optional<Tensor> weight,
                         std::optional<Tensor> added, std::optional<Tensor> grad_input) {
  const Call call("norm_relu_backward_", "grad", grad, aoti_torch_device_type_cpu());
  check_norm_relu_backward(call, normed, y, rstd, gain, grad_u, weight, added, grad_input);
  Updated grad_work(grad), grad_u_work(grad_u);
  InputGrad input(weight, added, grad_input);
  const Tensor normed_in = readable(normed), y_in = readable(y), rstd_in = readable(rstd),
               gain_in = readable(gain);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const BackwardArgs<T> args{write<T>(grad_work.work()), read<T>(normed_in), read<T>(y_in),
                               read<T>(rstd_in), read<T>(gain_in),
                               write<T>(grad_u_work.work()), read_or_null<T>(input.weight),
                               read_or_null<T>(input.added), write_or_null<T>(input.grad),
                               grad.size(1), input.inputs()};
    const auto rows = [&](int64_t, int64_t begin, int64_t end) {
      backward_rows(args, begin, end);
      if (args.weight != nullptr) input_rows(args, begin, end);
    };
    for_each_chunk(grad.size(0), rows, rows_per_chunk(grad.size(1)));
  });
  for (Updated* updated : {&grad_work, &grad_u_work}) updated->commit();
  input.commit();
}

void add_norm_grads_(Tensor gain_grad, Tensor shift_grad, Tensor bias_grad, const Tensor& grad,
                     const Tensor& normed, const Tensor& grad_u, double weight) {
  const Call call("add_norm_grads_", "grad", grad, aoti_torch_device_type_cpu());
  check_norm_grads(call, gain_grad, shift_grad, bias_grad, normed, grad_u);
  Updated gain(gain_grad), shift(shift_grad), bias(bias_grad);
  const Tensor grad_in = readable(grad), normed_in = readable(normed), u_in = readable(grad_u);
  const ColumnSums targets[] = {{gain.work(), grad_in, &normed_in},
                                {shift.work(), grad_in, nullptr},
                                {bias.work(), u_in, nullptr}};
  call.with_dtype([&](auto zero) { add_column_sums<decltype(zero)>(targets, weight); });
  for (Updated* updated : {&gain, &shift, &bias}) updated->commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("norm_relu_", TORCH_BOX(&lae::cpu::norm_relu_));
  m.impl("norm_relu_backward_", TORCH_BOX(&lae::cpu::norm_relu_backward_));
  m.impl("add_norm_grads_", TORCH_BOX(&lae::cpu::add_norm_grads_));
}
