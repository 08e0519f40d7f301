// A PyTorch device whose memory is the host's: tensors on it meet the same checks as CUDA tensors.
//
// Every operator that this file does not define runs on CPU tensors over the same memory, unless it
// mixes devices, which CUDA refuses too. New memory holds NaN, and lies between guard zones that
// `check_guards` compares after every launch.
#include "device.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

namespace emulate {
namespace {

constexpr size_t kGuard = 256;
constexpr int kGuardByte = 0xA5, kFreshByte = 0xFF;  // 0xFF everywhere is a NaN

std::mutex mutex;
std::map<char*, size_t> live;  // data -> bytes

bool intact(const char* zone) {
#if defined(__SANITIZE_ADDRESS__)
  return zone != nullptr;  // the sanitizer watches the zones itself
#endif
  for (size_t i = 0; i < kGuard; ++i) {
    if (static_cast<unsigned char>(zone[i]) != kGuardByte) return false;
  }
  return true;
}

std::string broken_guard(const char* data, size_t bytes) {
  if (intact(data - kGuard) && intact(data + bytes)) return "";
  return std::string("memory ") + (intact(data + bytes) ? "before" : "past") +
         " the end of a buffer of " + std::to_string(bytes) + " bytes was written";
}

// Whatever wrote there was reported after its launch; this is for writes from outside kernels.
void release(void* pointer) {
  if (pointer == nullptr) return;
  char* const data = static_cast<char*>(pointer);
  const std::scoped_lock lock(mutex);
  live.erase(data);
  mark_readable(data - kGuard, kGuard);
  std::free(data - kGuard);
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::DeviceType::PrivateUse1, 0);
    if (bytes == 0) return {nullptr, nullptr, &release, device};
    // The end zone begins at the last byte: whatever is written past it is noticed.
    char* const block = static_cast<char*>(std::malloc(bytes + 2 * kGuard));
    TORCH_CHECK(block != nullptr, "the emulated device is out of memory");
    char* const data = block + kGuard;
    std::memset(block, kGuardByte, bytes + 2 * kGuard);
    std::memset(data, kFreshByte, bytes);
    const std::scoped_lock lock(mutex);
    live[data] = bytes;
    mark_unreadable(block, kGuard);
    mark_unreadable(data + bytes, kGuard);
    return {data, data, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &memory);

struct Guard final : c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::PrivateUse1> {
  c10::Device exchangeDevice(c10::Device) const override { return {type(), 0}; }
  c10::Device getDevice() const override { return {type(), 0}; }
  c10::Stream getStream(c10::Device device) const noexcept override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const noexcept override { return stream; }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    c10::DataPtr fresh = memory.allocate(bytes);
    const size_t kept = std::min(bytes, storage.nbytes());
    if (kept > 0) std::memcpy(fresh.get(), storage.data(), kept);
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(fresh));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
};

bool is_emulated(const at::Tensor& t) {
  return t.defined() && t.device().type() == c10::DeviceType::PrivateUse1;
}

// A CPU tensor over the same memory.
at::Tensor on_host(const at::Tensor& t) {
  if (!is_emulated(t)) return t;
  const size_t bytes = t.storage().nbytes();
  const c10::Storage storage(c10::Storage::use_byte_size_t(), bytes,
                             c10::DataPtr(t.storage().mutable_data(), c10::kCPU),
                             c10::GetCPUAllocator(), /*resizable=*/true);
  at::Tensor alias = at::empty({0}, t.options().device(c10::kCPU));
  alias.set_(storage, t.storage_offset(), t.sizes(), t.strides());
  return t.is_conj() ? alias.conj() : alias;
}

at::Tensor on_device(const at::Tensor& t) {
  at::Tensor copy = at::empty_strided(t.sizes(), t.strides(),
                                      t.options().device(c10::DeviceType::PrivateUse1));
  on_host(copy).copy_(t);
  return copy;
}

// CUDA takes scalars, and index tensors, from the CPU, and nothing else.
bool may_mix(const std::string& name, const at::Tensor& t) {
  return t.dim() == 0 || name.starts_with("aten::index") || name == "aten::_index_put_impl_";
}

void fallback(const c10::OperatorHandle& op, c10::DispatchKeySet, torch::jit::Stack* stack) {
  const auto& schema = op.schema();
  const size_t count = schema.arguments().size(), begin = stack->size() - count;
  std::vector<c10::IValue> given(stack->begin() + begin, stack->end());
  const std::string name = schema.name();
  const auto take = [&](const at::Tensor& t) {
    TORCH_CHECK(!t.defined() || is_emulated(t) || may_mix(name, t), name,
                ": expected all tensors to be on the same device, but found ", t.device(),
                " beside the emulated one");
    return on_host(t);
  };
  for (size_t i = 0; i < count; ++i) {
    c10::IValue& value = (*stack)[begin + i];
    if (value.isTensor()) {
      value = take(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : value.toTensorVector()) list.push_back(take(t));
      value = list;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& t : value.toOptionalTensorList().vec()) {
        list.push_back(t.has_value() ? std::optional(take(*t)) : t);
      }
      value = list;
    } else if (value.isDevice() && value.toDevice().type() == c10::DeviceType::PrivateUse1) {
      value = c10::Device(c10::kCPU);
    }
  }
  std::vector<c10::IValue> hosts(stack->begin() + begin, stack->end());
  op.callBoxed(stack);

  // What an operator writes and returns is the tensor that it was given.
  const auto& returns = schema.returns();
  const size_t first = stack->size() - returns.size();
  const auto written = [&](size_t r) -> const c10::IValue* {
    const auto* alias = returns[r].alias_info();
    if (alias == nullptr) return nullptr;
    TORCH_CHECK(alias->isWrite(), name, " makes a view: the emulated device must define it");
    for (size_t i = 0; i < count; ++i) {
      const auto* mine = schema.arguments()[i].alias_info();
      if (mine != nullptr && *mine == *alias) return &given[i];
    }
    return nullptr;
  };
  for (size_t i = 0; i < count; ++i) {
    if (!given[i].isTensor() || !is_emulated(given[i].toTensor())) continue;
    at::Tensor mine = given[i].toTensor();
    const at::Tensor& host = hosts[i].toTensor();
    if (host.sizes() != mine.sizes()) {  // resized by the operator, as an `out` may be
      mine.resize_(host.sizes());
      on_host(mine).copy_(host);
    }
  }
  for (size_t r = 0; r < returns.size(); ++r) {
    c10::IValue& value = (*stack)[first + r];
    if (const c10::IValue* mine = written(r)) {
      value = *mine;
    } else if (value.isTensor() && value.toTensor().defined()) {
      value = on_device(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& t : value.toTensorVector()) list.push_back(on_device(t));
      value = list;
    }
  }
}

constexpr c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                 std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                 std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &memory, kKeys, c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride,
                         std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                         std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, kKeys,
                                           c10::dtype_or_default(dtype));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  on_host(to).copy_(on_host(from));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar read_scalar(const at::Tensor& t) {
  ++reads;
  return on_host(t).item();
}

const at::Tensor& resize(const at::Tensor& self, at::IntArrayRef size,
                         std::optional<at::MemoryFormat> format) {
  at::native::resize_bytes_nocuda(self.storage(),
                                  at::detail::computeStorageNbytesContiguous(
                                      size, self.element_size(), self.storage_offset()));
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  if (format.has_value()) self.unsafeGetTensorImpl()->empty_tensor_restride(*format);
  return self;
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return self.set_(source.storage(), source.storage_offset(), source.sizes(), source.strides());
}

at::Tensor& set_storage(at::Tensor& self, at::Storage storage, int64_t offset,
                        at::IntArrayRef size, at::IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride);
  return self;
}

at::Tensor convolution(const at::Tensor& input, const at::Tensor& weight,
                       const std::optional<at::Tensor>& bias, at::IntArrayRef stride,
                       at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
                       at::IntArrayRef output_padding, int64_t groups) {
  const auto host_bias = bias.has_value() ? std::optional(on_host(*bias)) : bias;
  return on_device(at::convolution(on_host(input), on_host(weight), host_bias, stride, padding,
                                   dilation, transposed, output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& grad, const at::Tensor& input, const at::Tensor& weight,
    at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed,
    at::IntArrayRef output_padding, int64_t groups, std::array<bool, 3> mask) {
  const auto bias_sizes = mask[2] ? at::OptionalIntArrayRef({grad.size(1)}) : std::nullopt;
  auto [a, b, c] = at::convolution_backward(on_host(grad), on_host(input), on_host(weight),
                                            bias_sizes, stride, padding, dilation, transposed,
                                            output_padding, groups, mask);
  const auto take = [](const at::Tensor& t) { return t.defined() ? on_device(t) : t; };
  return {take(a), take(b), take(c)};
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", &at::native::view);
  m.impl("alias", &at::native::alias);
  m.impl("unfold", &at::native::unfold);
  m.impl("_reshape_alias", &at::native::_reshape_alias);
  m.impl("resize_", &resize);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &read_scalar);
  m.impl("set_.source_Tensor", &set_tensor);
  m.impl("set_.source_Storage_storage_offset", &set_storage);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

[[maybe_unused]] const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

}  // namespace

long reads = 0;

std::string check_guards() {
  const std::scoped_lock lock(mutex);
  for (const auto& [data, bytes] : live) {
    if (std::string fault = broken_guard(data, bytes); !fault.empty()) {
      std::memset(data - kGuard, kGuardByte, kGuard);
      std::memset(data + bytes, kGuardByte, kGuard);
      return fault;
    }
  }
  return "";
}

}  // namespace emulate
