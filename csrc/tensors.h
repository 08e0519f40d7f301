// Tensors on PyTorch's stable ABI: new ones, contiguous ones, and pointers into them.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <optional>

#include "checks.h"

namespace lae {

// An uninitialised contiguous tensor on the device of a call. The shim is called directly because
// the dispatcher's route to the same function costs a microsecond.
inline Tensor empty(const Call& call, const int64_t* sizes, int64_t dim, ScalarType type) {
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
      aoti_torch_empty_strided(dim, sizes, strides, dtype, call.device, call.index, &handle));
  return Tensor(handle);
}

// Of the shape and dtype of the call's first tensor.
inline Tensor empty_like_first(const Call& call) {
  return empty(call, call.first.sizes().data(), call.first.dim(), call.first.scalar_type());
}

inline Tensor empty_doubles(const Call& call, int64_t count) {
  return empty(call, &count, 1, ScalarType::Double);
}

// A contiguous view or copy for reading.
inline Tensor readable(const Tensor& t) {
  return t.is_contiguous() ? t : torch::stable::contiguous(t);
}

inline std::optional<Tensor> readable(const std::optional<Tensor>& t) {
  return t ? std::optional(readable(*t)) : std::nullopt;
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

using OptionalUpdated = std::optional<Updated>;

inline OptionalUpdated updated(std::optional<Tensor>& target) {
  return target ? OptionalUpdated(*target) : std::nullopt;
}

inline void commit(Updated& t) { t.commit(); }
inline void commit(OptionalUpdated& t) {
  if (t) t->commit();
}

template <class... All>
void commit_all(All&... all) {
  (commit(all), ...);
}

template <class T>
const T* read(const Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}

template <class T>
T* write(const Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

template <class T>
T* write(const Updated& t) {
  return write<T>(t.work());
}

// Of an optional argument, or null.
template <class T>
const T* read_or_null(const std::optional<Tensor>& t) {
  return t ? read<T>(*t) : nullptr;
}

template <class T>
T* write_or_null(const OptionalUpdated& t) {
  return t ? write<T>(*t) : nullptr;
}

}  // namespace lae
