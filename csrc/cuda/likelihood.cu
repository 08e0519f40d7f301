#include "../likelihood.h"

#include "blocks.cuh"

namespace lae::cuda {
namespace {

// A block takes one image at a time. One thread computes in double what depends on the scale: if
// all threads did, that would cost more than the pixels on cards with few units for double.
template <template <class> class Pixel, class T>
__global__ void __launch_bounds__(kRowThreads) images_kernel(Images<T> a) {
  LAE_SHARED(double, storage, [(sizeof(Pixel<T>) + sizeof(double) - 1) / sizeof(double)]);
  auto* const shared = reinterpret_cast<Pixel<T>*>(storage);
  if (threadIdx.x == 0) *shared = a.template pixel<Pixel>();
  __syncthreads();
  const Pixel<T> pixel = *shared;
  for (int64_t i = blockIdx.x; i < a.n; i += gridDim.x) {
    T* const output = a.output + i * a.d;
    const T* const x = a.x + i * a.d;
    Pair<double> sums;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      const PixelTerms<T> terms = pixel(output[j] + a.bias[j], x[j]);
      output[j] = terms.grad;
      sums.first += static_cast<double>(terms.value);
      sums.second += static_cast<double>(terms.by_scale);
    }
    sums = block_sum(sums);
    if (threadIdx.x == 0) {
      const double pixels = static_cast<double>(a.d);
      a.values[i] = pixel.value(sums.first, pixels);
      if constexpr (Pixel<T>::kScaled) a.by_scale[i] = pixel.by_scale(sums.second, pixels);
    }
  }
}

struct LikelihoodKernels : OnCuda {
  template <template <class> class Pixel, class T>
  static void run(const Call& call, const Images<T>& images) {
    Launch(call).run<images_kernel<Pixel, T>>(row_blocks(images.n), kRowThreads, images);
  }
};

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  lae::register_likelihoods<lae::cuda::LikelihoodKernels>(m);
}
