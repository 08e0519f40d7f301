// Argument checks and small tensor helpers on PyTorch's stable ABI, shared by both backends.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "philox.h"

namespace lae {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <class... Parts>
[[noreturn]] inline void fail(const Parts&... parts) {
  std::ostringstream text;
  (text << ... << parts);
  throw std::runtime_error(text.str());
}

inline std::string dtype_name(ScalarType type) {
  switch (type) {
    case ScalarType::Float: return "float32";
    case ScalarType::Double: return "float64";
    case ScalarType::Half: return "float16";
    case ScalarType::BFloat16: return "bfloat16";
    case ScalarType::Byte: return "uint8";
    case ScalarType::Char: return "int8";
    case ScalarType::Short: return "int16";
    case ScalarType::Int: return "int32";
    case ScalarType::Long: return "int64";
    case ScalarType::Bool: return "bool";
    default: return torch::headeronly::toString(type);
  }
}

inline std::string shape_text(const Tensor& t) {
  std::ostringstream text;
  const auto sizes = t.sizes();
  text << '[';
  for (size_t i = 0; i < sizes.size(); ++i) text << (i ? ", " : "") << sizes[i];
  text << ']';
  return text.str();
}

inline int32_t device_type(const Tensor& t) {
  int32_t type;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(t.get(), &type));
  return type;
}

inline std::string device_text(const Tensor& t) {
  if (t.is_cpu()) return "cpu";
  std::ostringstream text;
  if (t.is_cuda()) text << "cuda:";
  else text << "device type " << device_type(t) << ", index ";
  text << t.get_device_index();
  return text.str();
}

// What all arguments of one call have in common; the others are compared with `phi`, the first.
struct Call {
  const char* op;
  const Tensor& phi;
  int32_t device;
  int32_t index;
  const char* first;  // what the operator's schema calls phi

  // `backend` is the device type whose kernel is running.
  Call(const char* op, const Tensor& phi, int32_t backend, const char* first = "phi")
      : op(op), phi(phi), device(backend), index(phi.get_device_index()), first(first) {
    if (device_type(phi) != backend) {
      fail(op, ": ", first, " is on ", device_text(phi),
           " but another argument is on a GPU; move all of them to one device.");
    }
    const ScalarType type = phi.scalar_type();
    if (type != ScalarType::Float && type != ScalarType::Double) {
      fail(op, ": ", first, " has dtype ", dtype_name(type), "; it must be float32 or float64.");
    }
  }

  bool is_double() const { return phi.scalar_type() == ScalarType::Double; }

  void check_device(const char* name, const Tensor& t) const {
    if (device_type(t) != device || t.get_device_index() != index) {
      fail(op, ": ", name, " is on ", device_text(t), " but ", first, " is on ", device_text(phi),
           "; they must be on the same device.");
    }
  }

  void check_dtype(const char* name, const Tensor& t, ScalarType wanted, const char* why) const {
    if (t.scalar_type() != wanted) {
      fail(op, ": ", name, " has dtype ", dtype_name(t.scalar_type()), "; it must be ",
           dtype_name(wanted), why, ".");
    }
  }

  void check_like_phi(const char* name, const Tensor& t) const {
    check_device(name, t);
    if (t.scalar_type() != phi.scalar_type()) {
      check_dtype(name, t, phi.scalar_type(), (std::string(" like ") + first).c_str());
    }
    const auto a = t.sizes(), b = phi.sizes();
    bool same = a.size() == b.size();
    for (size_t i = 0; same && i < a.size(); ++i) same = a[i] == b[i];
    if (!same) {
      fail(op, ": ", name, " has shape ", shape_text(t), " but ", first, " has shape ", shape_text(phi),
           "; they must be equal.");
    }
  }

  void check_potential(const char* name, const Tensor& t) const {
    check_device(name, t);
    check_dtype(name, t, ScalarType::Double, "");
    if (t.dim() != 0) {
      fail(op, ": ", name, " has shape ", shape_text(t), "; it must be a scalar, of shape [].");
    }
  }

  void check_vector(const char* name, const Tensor& t, ScalarType type, int64_t length,
                    const char* meaning) const {
    check_device(name, t);
    check_dtype(name, t, type, "");
    if (t.dim() != 1 || t.size(0) != length) {
      fail(op, ": ", name, " has shape ", shape_text(t), "; it must be [", length, "], ", meaning,
           ".");
    }
  }

  void check_rng(const Tensor& t) const {
    check_vector("rng", t, ScalarType::Long, 2, "(seed, step)");
  }

  void check_propose(const Tensor& grad, const Tensor& rng, double step_size,
                     double temperature) const {
    check_like_phi("grad", grad);
    check_rng(rng);
    check_positive("step_size", step_size);
    check_positive("temperature", temperature);
  }

  void check_log_ratio(const Tensor& grad, const Tensor& potential, const Tensor& proposal,
                       const Tensor& grad_proposal, const Tensor& potential_proposal,
                       double step_size, double temperature) const {
    check_like_phi("grad", grad);
    check_potential("potential", potential);
    check_like_phi("proposal", proposal);
    check_like_phi("grad_proposal", grad_proposal);
    check_potential("potential_proposal", potential_proposal);
    check_positive("step_size", step_size);
    check_positive("temperature", temperature);
  }

  void check_step(const Tensor& grad, const Tensor& potential, const Tensor& proposal,
                  const Tensor& grad_proposal, const Tensor& potential_proposal, const Tensor& rng,
                  const Tensor& info, double step_size, double temperature) const {
    check_log_ratio(grad, potential, proposal, grad_proposal, potential_proposal, step_size,
                    temperature);
    check_rng(rng);
    check_vector("info", info, ScalarType::Double, 4,
                 "(log_ratio, accepted, sum of probabilities, sum of acceptances)");
  }

  void check_rows() const {
    if (phi.dim() != 2) {
      fail(op, ": ", first, " has shape ", shape_text(phi), "; it must be (rows, dimensions).");
    }
  }

  void check_propose_rows(const Tensor& grad, const Tensor& rng, const Tensor& step_sizes,
                          double temperature, int64_t first_row) const {
    check_rows();
    if (first_row < 0 || first_row % 4 != 0) {
      fail(op, ": first_row must be a multiple of four, 0 or more, not ", first_row, ".");
    }
    check_like_phi("grad", grad);
    check_rng(rng);
    check_step_sizes(step_sizes);
    check_positive("temperature", temperature);
  }

  void check_step_sizes(const Tensor& t) const {
    check_device("step_sizes", t);
    check_dtype("step_sizes", t, ScalarType::Double, "");
    if (t.dim() != 1 || (t.size(0) != phi.size(1) && t.size(0) != 1)) {
      fail(op, ": step_sizes has shape ", shape_text(t), "; it must be [", phi.size(1),
           "], one per dimension, or [1], one for all.");
    }
  }

  void check_step_rows(const Tensor& grad, const Tensor& potential, const Tensor& proposal,
                       const Tensor& grad_proposal, const Tensor& potential_proposal,
                       const Tensor& rng, const Tensor& accepted, const Tensor& info,
                       const Tensor& step_sizes, double temperature, int64_t first_row,
                       double prior, const std::optional<Tensor>& latents,
                       const std::optional<Tensor>& next_proposal,
                       const std::optional<Tensor>& x_trace,
                       const std::optional<Tensor>& grad_trace) const {
    check_propose_rows(grad, rng, step_sizes, temperature, first_row);
    check_vector("potential", potential, ScalarType::Double, phi.size(0), "one potential per row");
    check_like_phi("proposal", proposal);
    check_like_phi("grad_proposal", grad_proposal);
    check_row_terms(potential_proposal);
    check_vector("accepted", accepted, ScalarType::Bool, phi.size(0), "one decision per row");
    check_vector("info", info, ScalarType::Double, 5,
                 "(mean probability, share accepted, sums of both and of the potential)");
    if (!(prior >= 0) || !std::isfinite(prior)) {
      fail(op, ": prior must be 0 or more and finite, not ", prior, ".");
    }
    if (latents.has_value()) check_latents(*latents);
    if (next_proposal.has_value()) check_like_phi("next_proposal", *next_proposal);
    if (x_trace.has_value()) check_like_phi("x_trace", *x_trace);
    if (grad_trace.has_value()) check_like_phi("grad_trace", *grad_trace);
  }

  // A row's potential may come in several terms, which the operator adds up.
  void check_row_terms(const Tensor& t) const {
    check_device("potential_proposal", t);
    check_dtype("potential_proposal", t, ScalarType::Double, "");
    const int64_t rows = phi.size(0);
    if (t.dim() != 1 || (rows == 0 ? t.numel() != 0 : t.numel() == 0 || t.numel() % rows != 0)) {
      fail(op, ": potential_proposal has shape ", shape_text(t), "; it must be [", rows,
           "], or a multiple of that: as many terms for every row.");
    }
  }

  void check_latents(const Tensor& t) const {
    check_device("latents", t);
    check_dtype("latents", t, phi.scalar_type(), (std::string(" like ") + first).c_str());
    if (phi.size(0) == 0 ? t.numel() != 0 : t.numel() % phi.size(0) != 0) {
      fail(op, ": latents has shape ", shape_text(t), "; it must have as many elements for each of ",
           phi.size(0), " rows.");
    }
  }

  // A vector of the first argument's dtype, one entry a column (or a row).
  void check_vector_like_phi(const char* name, const Tensor& t, int64_t length,
                             const char* meaning) const {
    check_vector(name, t, phi.scalar_type(), length, meaning);
  }

  void check_norm_relu(const Tensor& bias, const Tensor& gain, const Tensor& shift,
                       const Tensor& y, const Tensor& rstd, double eps) const {
    check_rows();
    check_vector_like_phi("bias", bias, phi.size(1), "one per column");
    check_vector_like_phi("gain", gain, phi.size(1), "one per column");
    check_vector_like_phi("shift", shift, phi.size(1), "one per column");
    check_like_phi("y", y);
    check_vector_like_phi("rstd", rstd, phi.size(0), "one per row");
    check_positive("eps", eps);
  }

  void check_norm_relu_backward(const Tensor& normed, const Tensor& y, const Tensor& rstd,
                                const Tensor& gain, const Tensor& grad_u,
                                const std::optional<Tensor>& weight,
                                const std::optional<Tensor>& added,
                                const std::optional<Tensor>& grad_input) const {
    check_rows();
    check_like_phi("normed", normed);
    check_like_phi("y", y);
    check_vector_like_phi("rstd", rstd, phi.size(0), "one per row");
    check_vector_like_phi("gain", gain, phi.size(1), "one per column");
    check_like_phi("grad_u", grad_u);
    if (!weight.has_value() || !grad_input.has_value()) {
      if (weight.has_value() || added.has_value() || grad_input.has_value()) {
        fail(op, ": weight and grad_input go together, and added with them.");
      }
      return;
    }
    const int64_t inputs = weight->dim() == 2 ? weight->size(1) : -1;
    check_matrix("weight", *weight, phi.size(1), inputs);
    check_matrix("grad_input", *grad_input, phi.size(0), inputs);
    if (added.has_value()) check_matrix("added", *added, phi.size(0), inputs);
  }

  void check_matrix(const char* name, const Tensor& t, int64_t rows, int64_t columns) const {
    check_device(name, t);
    check_dtype(name, t, phi.scalar_type(), (std::string(" like ") + first).c_str());
    if (t.dim() != 2 || t.size(0) != rows || t.size(1) != columns) {
      fail(op, ": ", name, " has shape ", shape_text(t), "; it must be [", rows, ", ",
           columns < 0 ? std::string("inputs") : std::to_string(columns), "].");
    }
  }

  void check_column_sums(const Tensor& into) const {
    check_rows();
    check_vector_like_phi("into", into, phi.size(1), "one per column");
  }

  void check_norm_grads(const Tensor& gain_grad, const Tensor& shift_grad,
                        const Tensor& bias_grad, const Tensor& normed,
                        const Tensor& grad_u) const {
    check_rows();
    check_vector_like_phi("gain_grad", gain_grad, phi.size(1), "one per column");
    check_vector_like_phi("shift_grad", shift_grad, phi.size(1), "one per column");
    check_vector_like_phi("bias_grad", bias_grad, phi.size(1), "one per column");
    check_like_phi("normed", normed);
    check_like_phi("grad_u", grad_u);
  }

  void check_likelihood(const Tensor& bias, const Tensor& x) const {
    check_rows();
    check_vector_like_phi("bias", bias, phi.size(1), "one per pixel");
    check_like_phi("x", x);
  }

  void check_log_scale(const Tensor& t) const {
    check_device("log_scale", t);
    check_dtype("log_scale", t, phi.scalar_type(), "");
    if (t.dim() != 0) {
      fail(op, ": log_scale has shape ", shape_text(t), "; it must be a scalar, of shape [].");
    }
  }

  // For values in host memory.
  void check_all_positive(const char* name, const double* values, int64_t count) const {
    for (int64_t i = 0; i < count; ++i) check_positive(name, values[i]);
  }

  void check_positive(const char* name, double value) const {
    if (!(value > 0) || !std::isfinite(value)) {
      fail(op, ": ", name, " must be positive and finite, not ", value, ".");
    }
  }
};

// An uninitialised contiguous tensor. The shim is called directly because the dispatcher's route to
// the same function costs a microsecond.
inline Tensor empty(const int64_t* sizes, int64_t dim, ScalarType type, int32_t device,
                    int32_t index) {
  int64_t strides[64];
  int64_t step = 1;
  for (int64_t i = dim - 1; i >= 0; --i) {
    strides[i] = step;
    step *= sizes[i] > 1 ? sizes[i] : 1;
  }
  const int32_t dtype =
      type == ScalarType::Double ? aoti_torch_dtype_float64() : aoti_torch_dtype_float32();
  AtenTensorHandle handle;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_empty_strided(dim, sizes, strides, dtype, device, index, &handle));
  return Tensor(handle);
}

inline Tensor empty_like_phi(const Call& call) {
  return empty(call.phi.sizes().data(), call.phi.dim(), call.phi.scalar_type(), call.device,
               call.index);
}

inline Tensor empty_scalar(const Call& call) {
  return empty(nullptr, 0, ScalarType::Double, call.device, call.index);
}

// float64 [rows of the first argument].
inline Tensor empty_rows(const Call& call) {
  const int64_t rows = call.phi.size(0);
  return empty(&rows, 1, ScalarType::Double, call.device, call.index);
}

inline int64_t element_size(const Tensor& t) {
  return t.scalar_type() == ScalarType::Double ? 8 : 4;
}

inline void check_copy_rows(const std::vector<Tensor>& into, const std::vector<Tensor>& source,
                            const Tensor& rows, int32_t backend) {
  constexpr const char* op = "copy_rows_";
  if (into.size() != source.size()) {
    fail(op, ": into has ", into.size(), " tensors but source has ", source.size(),
         "; they must be as many.");
  }
  for (size_t t = 0; t < into.size(); ++t) {
    const Call call(op, into[t], backend, "into");
    call.check_like_phi("source", source[t]);
    const int64_t n = into[t].dim() > 0 ? into[t].size(0) : -1;
    // One flag may stand for all rows, of which all tensors have as many.
    const bool one_flag = rows.numel() == 1 && n >= 0;
    const int64_t wanted = one_flag ? into[0].size(0) : rows.numel();
    if (n != wanted) {
      fail(op, ": into has shape ", shape_text(into[t]), "; its first size must be that of rows, ",
           wanted, ".");
    }
    call.check_vector("rows", rows, ScalarType::Bool, one_flag ? 1 : n, "one flag per row");
  }
}

// A contiguous view or copy for reading.
inline Tensor readable(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

// A contiguous tensor to update in place; `commit` writes it back where a copy was needed.
class Updated {
 public:
  explicit Updated(Tensor& target) : target_(target), work_(readable(target)) {}
  const Tensor& work() const { return work_; }
  void commit() {
    if (work_.get() != target_.get()) torch::stable::copy_(target_, work_);
  }

 private:
  Tensor& target_;
  Tensor work_;
};

template <class T>
const T* read(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
T* write(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// The contiguous optional arguments of `norm_relu_backward_`.
struct InputGrad {
  InputGrad(const std::optional<Tensor>& weight, const std::optional<Tensor>& added,
            std::optional<Tensor>& grad_input) {
    if (weight.has_value()) this->weight = readable(*weight);
    if (added.has_value()) this->added = readable(*added);
    if (grad_input.has_value()) grad.emplace(*grad_input);
  }
  int64_t inputs() const { return weight ? weight->size(1) : 0; }
  template <class T>
  const T* weight_or_null() const { return weight ? read<T>(*weight) : nullptr; }
  template <class T>
  const T* added_or_null() const { return added ? read<T>(*added) : nullptr; }
  template <class T>
  T* grad_or_null() const { return grad ? write<T>(grad->work()) : nullptr; }
  void commit() {
    if (grad) grad->commit();
  }

  std::optional<Tensor> weight, added;
  std::optional<Updated> grad;
};

// The contiguous arguments of `ald_step_rows_`.
struct RowStep {
  RowStep(Tensor& x, Tensor& grad, Tensor& potential, Tensor& proposal,
          const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor& rng,
          Tensor& accepted, Tensor& info, const Tensor& step_sizes,
          std::optional<Tensor>& latents, std::optional<Tensor>& next_proposal,
          std::optional<Tensor>& x_trace, std::optional<Tensor>& grad_trace)
      : x(x), grad(grad), potential(potential), rng(rng), accepted(accepted), info(info),
        next_proposal(next_proposal.has_value() ? *next_proposal : proposal),
        proposal(next_proposal.has_value() ? readable(proposal) : this->next_proposal.work()),
        grad_proposal(readable(grad_proposal)), values(readable(potential_proposal)),
        etas(readable(step_sizes)), rows(x.size(0) > 0 ? x.size(0) : 1) {
    if (latents.has_value()) this->latents = readable(*latents);
    if (x_trace.has_value()) this->x_trace.emplace(*x_trace);
    if (grad_trace.has_value()) this->grad_trace.emplace(*grad_trace);
  }

  int64_t values_per_row() const { return values.numel() / rows; }
  int64_t latents_per_row() const { return latents ? latents->numel() / rows : 0; }
  template <class T>
  const T* latents_or_null() const { return latents ? read<T>(*latents) : nullptr; }
  template <class T>
  T* x_trace_or_null() const { return x_trace ? write<T>(x_trace->work()) : nullptr; }
  template <class T>
  T* grad_trace_or_null() const { return grad_trace ? write<T>(grad_trace->work()) : nullptr; }

  void commit() {
    for (Updated* updated : {&x, &grad, &potential, &rng, &accepted, &info, &next_proposal}) {
      updated->commit();
    }
    if (x_trace) x_trace->commit();
    if (grad_trace) grad_trace->commit();
  }

  Updated x, grad, potential, rng, accepted, info, next_proposal;
  Tensor proposal, grad_proposal, values, etas;
  int64_t rows;
  std::optional<Tensor> latents;
  std::optional<Updated> x_trace, grad_trace;
};

// Of an `rng` in host memory, whatever its stride.
inline RngKey read_rng(const Tensor& rng) {
  const int64_t* p = read<int64_t>(rng);
  return {static_cast<uint64_t>(p[0]), static_cast<uint64_t>(p[rng.stride(0)])};
}

}  // namespace lae
