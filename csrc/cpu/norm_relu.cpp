#include <cmath>

#include "../tensors.h"
#include "kernels.h"

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

// Apart from the loop above, which a CPU runs for every layer and this hardly ever.
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

void norm_relu_(Tensor u, const Tensor& bias, const Tensor& gain, const Tensor& shift, Tensor y,
                Tensor rstd, double eps) {
  const Call call("norm_relu_", u, aoti_torch_device_type_cpu(), "u");
  call.check_norm_relu(bias, gain, shift, y, rstd, eps);
  Updated u_work(u), y_work(y), rstd_work(rstd);
  const Tensor bias_in = readable(bias), gain_in = readable(gain), shift_in = readable(shift);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const ForwardArgs<T> args{write<T>(u_work.work()), read<T>(bias_in), read<T>(gain_in),
                              read<T>(shift_in), write<T>(y_work.work()),
                              write<T>(rstd_work.work()), u.size(1), eps};
    const auto rows = [&](int64_t, int64_t begin, int64_t end) { forward_rows(args, begin, end); };
    for_each_chunk(u.size(0), rows, rows_a_chunk(u.size(1)));
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&u_work, &y_work, &rstd_work}) updated->commit();
}

void norm_relu_backward_(Tensor grad, const Tensor& normed, const Tensor& y, const Tensor& rstd,
                         const Tensor& gain, Tensor grad_u, std::optional<Tensor> weight,
                         std::optional<Tensor> added, std::optional<Tensor> grad_input) {
  const Call call("norm_relu_backward_", grad, aoti_torch_device_type_cpu(), "grad");
  call.check_norm_relu_backward(normed, y, rstd, gain, grad_u, weight, added, grad_input);
  Updated grad_work(grad), grad_u_work(grad_u);
  InputGrad input(weight, added, grad_input);
  const Tensor normed_in = readable(normed), y_in = readable(y), rstd_in = readable(rstd),
               gain_in = readable(gain);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const BackwardArgs<T> args{write<T>(grad_work.work()), read<T>(normed_in), read<T>(y_in),
                               read<T>(rstd_in), read<T>(gain_in),
                               write<T>(grad_u_work.work()), input.weight_or_null<T>(),
                               input.added_or_null<T>(), input.grad_or_null<T>(), grad.size(1),
                               input.inputs()};
    const auto rows = [&](int64_t, int64_t begin, int64_t end) {
      backward_rows(args, begin, end);
      if (args.weight != nullptr) input_rows(args, begin, end);
    };
    for_each_chunk(grad.size(0), rows, rows_a_chunk(grad.size(1)));
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&grad_work, &grad_u_work}) updated->commit();
  input.commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("norm_relu_", TORCH_BOX(&lae::cpu::norm_relu_));
  m.impl("norm_relu_backward_", TORCH_BOX(&lae::cpu::norm_relu_backward_));
}
