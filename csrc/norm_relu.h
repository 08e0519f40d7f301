// LayerNorm with ReLU and its gradients: the operators' arguments, which both backends check and
// prepare alike, and their registration.
#pragma once

#include <optional>

#include "tensors.h"

namespace lae {

template <class T>
struct ForwardArgs {
  T* u;  // becomes the normalised values
  const T* bias;
  const T* gain;
  const T* shift;
  T* y;
  T* rstd;
  int64_t n, d;
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
  int64_t n, d, inputs;
};

// into += weight * (grad * factor).sum(0)
template <class T>
struct ColumnSum {
  T* into;
  const T* grad;
  const T* factor;  // or null
};

// The gradients of LayerNorm's gain and shift and of the Linear's bias.
constexpr int kColumnSums = 3;

template <class T>
struct ColumnSums {
  ColumnSum<T> all[kColumnSums];
  int64_t n, d;
  double weight;
};

inline void check_norm_relu(const Call& call, const Tensor& bias, const Tensor& gain,
                            const Tensor& shift, const Tensor& y, const Tensor& rstd, double eps) {
  call.check_is_matrix();
  const int64_t n = call.first.size(0), d = call.first.size(1);
  call.check_vector_like_first("bias", bias, d, "one per column");
  call.check_vector_like_first("gain", gain, d, "one per column");
  call.check_vector_like_first("shift", shift, d, "one per column");
  call.check_like_first("y", y);
  call.check_vector_like_first("rstd", rstd, n, "one per row");
  call.check_positive("eps", eps);
}

inline void check_norm_relu_backward(const Call& call, const Tensor& normed, const Tensor& y,
                                     const Tensor& rstd, const Tensor& gain, const Tensor& grad_u,
                                     const std::optional<Tensor>& weight,
                                     const std::optional<Tensor>& added,
                                     const std::optional<Tensor>& grad_input) {
  call.check_is_matrix();
  const int64_t n = call.first.size(0), d = call.first.size(1);
  call.check_like_first("normed", normed);
  call.check_like_first("y", y);
  call.check_vector_like_first("rstd", rstd, n, "one per row");
  call.check_vector_like_first("gain", gain, d, "one per column");
  call.check_like_first("grad_u", grad_u);
  if (!weight.has_value() || !grad_input.has_value()) {
    if (weight.has_value() || added.has_value() || grad_input.has_value()) {
      fail(call.op, ": pass weight and grad_input together, and added only with both.");
    }
    return;
  }
  const int64_t inputs = weight->dim() == 2 ? weight->size(1) : -1;
  call.check_matrix_like_first("weight", *weight, d, inputs, "inputs");
  call.check_matrix_like_first("grad_input", *grad_input, n, inputs, "inputs");
  if (added.has_value()) call.check_matrix_like_first("added", *added, n, inputs, "inputs");
}

inline void check_norm_grads(const Call& call, const Tensor& gain_grad, const Tensor& shift_grad,
                             const Tensor& bias_grad, const Tensor& normed, const Tensor& grad_u) {
  call.check_is_matrix();
  const int64_t d = call.first.size(1);
  call.check_vector_like_first("gain_grad", gain_grad, d, "one per column");
  call.check_vector_like_first("shift_grad", shift_grad, d, "one per column");
  call.check_vector_like_first("bias_grad", bias_grad, d, "one per column");
  call.check_like_first("normed", normed);
  call.check_like_first("grad_u", grad_u);
}

// `Kernels::forward`, `backward` and `add_column_sums` run on contiguous memory.
template <class Kernels>
void norm_relu_(Tensor u, const Tensor& bias, const Tensor& gain, const Tensor& shift, Tensor y,
                Tensor rstd, double eps) {
  const Call call("norm_relu_", "u", u, Kernels::device_type());
  check_norm_relu(call, bias, gain, shift, y, rstd, eps);
  Updated u_out(u), y_out(y), rstd_out(rstd);
  const Tensor bias_in = readable(bias), gain_in = readable(gain), shift_in = readable(shift);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    Kernels::forward(call, ForwardArgs<T>{.u = write<T>(u_out),
                                          .bias = read<T>(bias_in),
                                          .gain = read<T>(gain_in),
                                          .shift = read<T>(shift_in),
                                          .y = write<T>(y_out),
                                          .rstd = write<T>(rstd_out),
                                          .n = u.size(0),
                                          .d = u.size(1),
                                          .eps = eps});
  });
  commit_all(u_out, y_out, rstd_out);
}

template <class Kernels>
void norm_relu_backward_(Tensor grad, const Tensor& normed, const Tensor& y, const Tensor& rstd,
                         const Tensor& gain, Tensor grad_u, std::optional<Tensor> weight,
                         std::optional<Tensor> added, std::optional<Tensor> grad_input) {
  const Call call("norm_relu_backward_", "grad", grad, Kernels::device_type());
  check_norm_relu_backward(call, normed, y, rstd, gain, grad_u, weight, added, grad_input);
  Updated grad_out(grad), grad_u_out(grad_u);
  OptionalUpdated grad_input_out = updated(grad_input);
  const Tensor normed_in = readable(normed), y_in = readable(y), rstd_in = readable(rstd),
               gain_in = readable(gain);
  const std::optional<Tensor> weight_in = readable(weight), added_in = readable(added);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    Kernels::backward(call, BackwardArgs<T>{.grad = write<T>(grad_out),
                                            .normed = read<T>(normed_in),
                                            .y = read<T>(y_in),
                                            .rstd = read<T>(rstd_in),
                                            .gain = read<T>(gain_in),
                                            .grad_u = write<T>(grad_u_out),
                                            .weight = read_or_null<T>(weight_in),
                                            .added = read_or_null<T>(added_in),
                                            .grad_input = write_or_null<T>(grad_input_out),
                                            .n = grad.size(0),
                                            .d = grad.size(1),
                                            .inputs = weight ? weight->size(1) : 0});
  });
  commit_all(grad_out, grad_u_out, grad_input_out);
}

template <class Kernels>
void add_norm_grads_(Tensor gain_grad, Tensor shift_grad, Tensor bias_grad, const Tensor& grad,
                     const Tensor& normed, const Tensor& grad_u, double weight) {
  const Call call("add_norm_grads_", "grad", grad, Kernels::device_type());
  check_norm_grads(call, gain_grad, shift_grad, bias_grad, normed, grad_u);
  Updated gain(gain_grad), shift(shift_grad), bias(bias_grad);
  const Tensor grad_in = readable(grad), normed_in = readable(normed), u_in = readable(grad_u);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    Kernels::add_column_sums(
        call, ColumnSums<T>{.all = {{write<T>(gain), read<T>(grad_in), read<T>(normed_in)},
                                    {write<T>(shift), read<T>(grad_in), nullptr},
                                    {write<T>(bias), read<T>(u_in), nullptr}},
                            .n = grad.size(0),
                            .d = grad.size(1),
                            .weight = weight});
  });
  commit_all(gain, shift, bias);
}

template <class Kernels, class Library>
void register_norm_relu(Library& m) {
  m.impl("norm_relu_", TORCH_BOX(&norm_relu_<Kernels>));
  m.impl("norm_relu_backward_", TORCH_BOX(&norm_relu_backward_<Kernels>));
  m.impl("add_norm_grads_", TORCH_BOX(&add_norm_grads_<Kernels>));
}

}  // namespace lae
