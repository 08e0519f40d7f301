#include "../likelihood.h"

#include <tuple>

#include "blocks.cuh"

namespace lae::cuda {
namespace {

template <class T>
struct Images {
  T* output;  // becomes the gradient
  const T* bias;
  const T* x;
  const T* log_scale;  // null where there is no scale
  double* values;
  double* by_scale;
  int64_t n, d;
};

// A block takes an image at a time. One thread works out in double what the scale gives: if all did
// it, that would cost more than the pixels on cards with few units for doubles.
template <template <class> class Pixel, class T>
__global__ void __launch_bounds__(kRowThreads) images_kernel(Images<T> a) {
  LAE_SHARED(double, storage, [(sizeof(Pixel<T>) + sizeof(double) - 1) / sizeof(double)]);
  auto* const shared = reinterpret_cast<Pixel<T>*>(storage);
  if (threadIdx.x == 0) {
    *shared = Pixel<T>(a.log_scale == nullptr ? 0.0 : static_cast<double>(*a.log_scale));
  }
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
      if (Pixel<T>::kScaled) a.by_scale[i] = pixel.by_scale(sums.second, pixels);
    }
  }
}

// Returns the value of each image; a density without a scale has neither `log_scale` nor `by_scale`.
template <template <class> class Pixel>
Tensor for_each_image(const Call& call, Tensor& output, const Tensor& bias, const Tensor& x,
                      const Tensor* log_scale, Tensor* by_scale) {
  check_likelihood(call, bias, x, log_scale);
  const int64_t n = output.size(0), d = output.size(1);
  Tensor values = empty_doubles(call, n);
  if (by_scale != nullptr) *by_scale = empty_doubles(call, n);
  Updated work(output);
  const Tensor bias_in = readable(bias), x_in = readable(x);
  const Launch launch(call);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const Images<T> images{write<T>(work.work()), read<T>(bias_in), read<T>(x_in),
                           log_scale == nullptr ? nullptr : read<T>(*log_scale),
                           write<double>(values),
                           by_scale == nullptr ? nullptr : write<double>(*by_scale), n, d};
    launch.run<images_kernel<Pixel, T>>(row_blocks(n), kRowThreads, images);
  });
  work.commit();
  return values;
}

Tensor bernoulli_grad_(Tensor output, const Tensor& bias, const Tensor& x) {
  const Call call("bernoulli_grad_", "output", output, device_type());
  return for_each_image<BernoulliPixel>(call, output, bias, x, nullptr, nullptr);
}

template <template <class> class Pixel>
std::tuple<Tensor, Tensor> scaled_grad(const char* op, Tensor& output, const Tensor& bias,
                                       const Tensor& x, const Tensor& log_scale) {
  const Call call(op, "output", output, device_type());
  Tensor by_scale;
  Tensor values = for_each_image<Pixel>(call, output, bias, x, &log_scale, &by_scale);
  return {values, by_scale};
}

std::tuple<Tensor, Tensor> gaussian_grad_(Tensor output, const Tensor& bias, const Tensor& x,
                                          const Tensor& log_scale) {
  return scaled_grad<GaussianPixel>("gaussian_grad_", output, bias, x, log_scale);
}

std::tuple<Tensor, Tensor> discretized_logistic_grad_(Tensor output, const Tensor& bias,
                                                      const Tensor& x, const Tensor& log_scale) {
  return scaled_grad<DiscretizedLogisticPixel>("discretized_logistic_grad_", output, bias, x,
                                               log_scale);
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("bernoulli_grad_", TORCH_BOX(&lae::cuda::bernoulli_grad_));
  m.impl("gaussian_grad_", TORCH_BOX(&lae::cuda::gaussian_grad_));
  m.impl("discretized_logistic_grad_", TORCH_BOX(&lae::cuda::discretized_logistic_grad_));
}
