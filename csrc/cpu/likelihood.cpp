#include "../likelihood.h"

#include <tuple>

#include "parallel.h"

namespace lae::cpu {
namespace {

template <class T>
struct Images {
  T* output;  // becomes the gradient
  const T* bias;
  const T* x;
  double* values;
  double* by_scale;  // null where there is no scale
  int64_t d;
  double log_scale;
};

template <template <class> class Pixel, class T>
LAE_INLINE void image_loop(const Images<T>& a, int64_t begin, int64_t end) {
  const Pixel<T> pixel(a.log_scale);
  const T* __restrict bias = a.bias;
  for (int64_t i = begin; i < end; ++i) {
    alignas(64) double values[kLanes] = {}, scales[kLanes] = {};
    T* __restrict output = a.output + i * a.d;
    const T* __restrict x = a.x + i * a.d;
    const auto add = [&](int64_t j, int64_t l) {
      const PixelTerms<T> terms = pixel(output[j] + bias[j], x[j]);
      output[j] = terms.grad;
      values[l] += static_cast<double>(terms.value);
      if constexpr (Pixel<T>::kScaled) scales[l] += static_cast<double>(terms.by_scale);
    };
    int64_t j = 0;
    for (; j + kLanes <= a.d; j += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) add(j + l, l);
    }
    for (int64_t l = 0; j + l < a.d; ++l) add(j + l, l);
    const double pixels = static_cast<double>(a.d);
    a.values[i] = pixel.value(add_lanes(values), pixels);
    if constexpr (Pixel<T>::kScaled) a.by_scale[i] = pixel.by_scale(add_lanes(scales), pixels);
  }
}

// Function multiversioning does not reach templates, so each loop has a plain function.
#define LAE_IMAGES(name, Pixel, T)                                                             \
  LAE_CLONES void name(const Images<T>& images, int64_t begin, int64_t end) {                   \
    image_loop<Pixel>(images, begin, end);                                                     \
  }
LAE_IMAGES(bernoulli_images, BernoulliPixel, float)
LAE_IMAGES(bernoulli_images, BernoulliPixel, double)
LAE_IMAGES(gaussian_images, GaussianPixel, float)
LAE_IMAGES(gaussian_images, GaussianPixel, double)
LAE_IMAGES(logistic_images, DiscretizedLogisticPixel, float)
LAE_IMAGES(logistic_images, DiscretizedLogisticPixel, double)
#undef LAE_IMAGES

// Returns the value of each image. `run` is one of the functions above; a density without a scale
// has neither `log_scale` nor `by_scale`.
template <class Run>
Tensor for_each_image(const Call& call, Tensor& output, const Tensor& bias, const Tensor& x,
                      const Tensor* log_scale, Tensor* by_scale, const Run& run) {
  check_likelihood(call, bias, x, log_scale);
  const int64_t n = output.size(0), d = output.size(1);
  Tensor values = empty_doubles(call, n);
  if (by_scale != nullptr) *by_scale = empty_doubles(call, n);
  Updated work(output);
  const Tensor bias_in = readable(bias), x_in = readable(x);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const Images<T> images{
        write<T>(work.work()), read<T>(bias_in), read<T>(x_in), write<double>(values),
        by_scale == nullptr ? nullptr : write<double>(*by_scale), d,
        log_scale == nullptr ? 0.0 : static_cast<double>(*read<T>(*log_scale))};
    const auto range = [&](int64_t, int64_t begin, int64_t end) { run(images, begin, end); };
    for_each_chunk(n, range, rows_per_chunk(d));
  });
  work.commit();
  return values;
}

Tensor bernoulli_grad_(Tensor output, const Tensor& bias, const Tensor& x) {
  const Call call("bernoulli_grad_", "output", output, aoti_torch_device_type_cpu());
  return for_each_image(
      call, output, bias, x, nullptr, nullptr,
      [](const auto& images, int64_t a, int64_t b) { bernoulli_images(images, a, b); });
}

template <class Run>
std::tuple<Tensor, Tensor> scaled_grad(const char* op, Tensor& output, const Tensor& bias,
                                       const Tensor& x, const Tensor& log_scale, const Run& run) {
  const Call call(op, "output", output, aoti_torch_device_type_cpu());
  Tensor by_scale;
  Tensor values = for_each_image(call, output, bias, x, &log_scale, &by_scale, run);
  return {values, by_scale};
}

std::tuple<Tensor, Tensor> gaussian_grad_(Tensor output, const Tensor& bias, const Tensor& x,
                                          const Tensor& log_scale) {
  return scaled_grad(
      "gaussian_grad_", output, bias, x, log_scale,
      [](const auto& images, int64_t a, int64_t b) { gaussian_images(images, a, b); });
}

std::tuple<Tensor, Tensor> discretized_logistic_grad_(Tensor output, const Tensor& bias,
                                                      const Tensor& x, const Tensor& log_scale) {
  return scaled_grad(
      "discretized_logistic_grad_", output, bias, x, log_scale,
      [](const auto& images, int64_t a, int64_t b) { logistic_images(images, a, b); });
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("bernoulli_grad_", TORCH_BOX(&lae::cpu::bernoulli_grad_));
  m.impl("gaussian_grad_", TORCH_BOX(&lae::cpu::gaussian_grad_));
  m.impl("discretized_logistic_grad_", TORCH_BOX(&lae::cpu::discretized_logistic_grad_));
}
