// Checks of an operator's arguments, and the one form of their messages:
//
//   ald_step_rows_: grad has shape [3] but x has shape [2, 2]; they must be equal.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cmath>
#include <cstdint>
#include <sstream>
#include <stdexcept>
#include <string>

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

// A call of an operator: its name, and the tensor that the others must match.
struct Call {
  const char* op;
  const char* name;  // what the schema calls `first`
  const Tensor& first;
  int32_t device;
  int32_t index;

  // `backend` is the device type whose kernel is running.
  Call(const char* op, const char* name, const Tensor& first, int32_t backend)
      : op(op), name(name), first(first), device(backend), index(first.get_device_index()) {
    if (device_type(first) != backend) {
      fail(op, ": ", name, " is on ", device_text(first),
           " but another argument is on a GPU; move all of them to one device.");
    }
    const ScalarType type = first.scalar_type();
    if (type != ScalarType::Float && type != ScalarType::Double) {
      fail(op, ": ", name, " has dtype ", dtype_name(type), "; it must be float32 or float64.");
    }
  }

  // Calls body with a zero of the first tensor's type.
  template <class Body>
  auto with_dtype(const Body& body) const {
    return first.scalar_type() == ScalarType::Double ? body(double{}) : body(float{});
  }

  void check_is_matrix() const {
    if (first.dim() != 2) {
      fail(op, ": ", name, " has shape ", shape_text(first), "; it must be (rows, dimensions).");
    }
  }

  void check_device(const char* what, const Tensor& t) const {
    if (device_type(t) != device || t.get_device_index() != index) {
      fail(op, ": ", what, " is on ", device_text(t), " but ", name, " is on ",
           device_text(first), "; they must be on the same device.");
    }
  }

  // On the device of the first tensor and of this dtype.
  void check_type(const char* what, const Tensor& t, ScalarType wanted) const {
    check_device(what, t);
    if (t.scalar_type() != wanted) {
      fail(op, ": ", what, " has dtype ", dtype_name(t.scalar_type()), "; it must be ",
           dtype_name(wanted), ".");
    }
  }

  void check_type_like_first(const char* what, const Tensor& t) const {
    check_device(what, t);
    if (t.scalar_type() != first.scalar_type()) {
      fail(op, ": ", what, " has dtype ", dtype_name(t.scalar_type()), "; it must be ",
           dtype_name(first.scalar_type()), " like ", name, ".");
    }
  }

  void check_like_first(const char* what, const Tensor& t) const {
    check_type_like_first(what, t);
    const auto a = t.sizes(), b = first.sizes();
    bool same = a.size() == b.size();
    for (size_t i = 0; same && i < a.size(); ++i) same = a[i] == b[i];
    if (!same) {
      fail(op, ": ", what, " has shape ", shape_text(t), " but ", name, " has shape ",
           shape_text(first), "; they must be equal.");
    }
  }

  void check_vector(const char* what, const Tensor& t, ScalarType type, int64_t length,
                    const char* meaning) const {
    check_type(what, t, type);
    check_length(what, t, length, meaning);
  }

  void check_vector_like_first(const char* what, const Tensor& t, int64_t length,
                               const char* meaning) const {
    check_type_like_first(what, t);
    check_length(what, t, length, meaning);
  }

  void check_scalar_like_first(const char* what, const Tensor& t) const {
    check_type_like_first(what, t);
    if (t.dim() != 0) {
      fail(op, ": ", what, " has shape ", shape_text(t), "; it must be a scalar, of shape [].");
    }
  }

  // `columns` is -1 where any number will do; `any` then names it in the message.
  void check_matrix_like_first(const char* what, const Tensor& t, int64_t rows, int64_t columns,
                               const char* any) const {
    check_type_like_first(what, t);
    if (t.dim() != 2 || t.size(0) != rows || (columns >= 0 && t.size(1) != columns)) {
      fail(op, ": ", what, " has shape ", shape_text(t), "; it must be [", rows, ", ",
           columns < 0 ? std::string(any) : std::to_string(columns), "].");
    }
  }

  void check_positive(const char* what, double value) const {
    if (!(value > 0) || !std::isfinite(value)) {
      fail(op, ": ", what, " must be positive and finite, not ", value, ".");
    }
  }

 private:
  void check_length(const char* what, const Tensor& t, int64_t length, const char* meaning) const {
    if (t.dim() != 1 || t.size(0) != length) {
      fail(op, ": ", what, " has shape ", shape_text(t), "; it must be [", length, "], ", meaning,
           ".");
    }
  }
};

}  // namespace lae
