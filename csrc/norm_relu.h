// The arguments of LayerNorm with ReLU and its gradients, which both backends check alike.
#pragma once

#include <optional>

#include "tensors.h"

namespace lae {

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
      fail(call.op, ": weight and grad_input go together, and added with them.");
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

// The contiguous optional arguments of `norm_relu_backward_`, which take the gradient to the input.
struct InputGrad {
  InputGrad(const std::optional<Tensor>& weight, const std::optional<Tensor>& added,
            std::optional<Tensor>& grad_input) {
    if (weight.has_value()) this->weight = readable(*weight);
    if (added.has_value()) this->added = readable(*added);
    if (grad_input.has_value()) grad.emplace(*grad_input);
  }
  int64_t inputs() const { return weight ? weight->size(1) : 0; }
  void commit() {
    if (grad) grad->commit();
  }

  std::optional<Tensor> weight, added;
  std::optional<Updated> grad;
};

}  // namespace lae
