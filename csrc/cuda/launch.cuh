// How the operators launch kernels: on a GPU, or in the emulator of csrc/emulate for tests without
// one. Nothing else in csrc/cuda knows which.
#pragma once

#include "../tensors.h"

#if defined(LAE_EMULATE)
#include "../emulate/cuda.h"
#else
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>

#define LAE_DEVICE CUDA  // the operators' dispatch key
#define LAE_SHARED(type, name, extent) __shared__ type name extent

namespace lae::cuda {

using torch::stable::accelerator::DeviceGuard;

inline int32_t device_type() { return aoti_torch_device_type_cuda(); }

inline cudaStream_t current_stream(int32_t index) {
  void* stream;
  STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &stream));
  return static_cast<cudaStream_t>(stream);
}

// The error of the launch, or null.
template <auto kernel, class... Arguments>
const char* enqueue(dim3 grid, int threads, cudaStream_t stream, const Arguments&... arguments) {
  kernel<<<grid, threads, 0, stream>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace lae::cuda
#endif

namespace lae::cuda {

// What the operators' bodies ask of the backend that runs their kernels.
struct OnCuda {
  static int32_t device_type() { return cuda::device_type(); }
  static constexpr bool kHostReads = false;  // the host would have to wait for the device
};

// Selects the device of a call and launches on its current stream, for as long as this exists.
class Launch {
 public:
  explicit Launch(const Call& call)
      : op_(call.op), guard_(call.index), stream_(current_stream(call.index)) {}

  template <auto kernel, class... Arguments>
  void run(dim3 grid, int threads, const Arguments&... arguments) const {
    const char* const error = enqueue<kernel>(grid, threads, stream_, arguments...);
    if (error != nullptr) fail(op_, ": CUDA could not launch the kernel: ", error, ".");
  }

 private:
  const char* op_;
  DeviceGuard guard_;
  cudaStream_t stream_;
};

// `doubles` uninitialised doubles from PyTorch's allocator: reuse is ordered on the stream, and
// under graph capture they belong to the graph.
inline Tensor workspace(const Call& call, int64_t doubles) {
  return empty_doubles(call, doubles);
}

}  // namespace lae::cuda
