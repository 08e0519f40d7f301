// Asks the driver which of the compiled images a device would run. `lae_fast.ops` calls this
// through ctypes and not as an operator, because it takes no tensor to dispatch on.
#include <cuda_runtime.h>

namespace lae::cuda {
namespace {

__global__ void probe_kernel() {}

}  // namespace
}  // namespace lae::cuda

// Writes the architecture of the machine code and of the PTX it came from, as 86 for 8.6. Returns
// null, or why the device can run none.
extern "C" __attribute__((visibility("default"))) const char* lae_cuda_image(int device,
                                                                              int* machine,
                                                                              int* ptx) {
  int before = 0;
  cudaFuncAttributes found{};
  cudaError_t error = cudaGetDevice(&before);
  if (error == cudaSuccess) error = cudaSetDevice(device);
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&found, lae::cuda::probe_kernel);
  cudaSetDevice(before);
  cudaGetLastError();  // PyTorch's next check must not find this one's
  *machine = found.binaryVersion;
  *ptx = found.ptxVersion;
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}
