#include "../likelihood.h"

#include "parallel.h"

namespace lae::cpu {
namespace {

template <class Pixel, class T>
LAE_INLINE void image_loop(const Pixel& chosen, const Images<T>& a, int64_t begin, int64_t end) {
  const Pixel pixel = chosen;  // a copy, which no store to `output` can change
  const T* __restrict bias = a.bias;
  for (int64_t i = begin; i < end; ++i) {
    alignas(64) double values[kLanes] = {}, scales[kLanes] = {};
    T* __restrict output = a.output + i * a.d;
    const T* __restrict x = a.x + i * a.d;
    const auto add = [&](int64_t j, int64_t l) {
      const PixelTerms<T> terms = pixel(output[j] + bias[j], x[j]);
      output[j] = terms.grad;
      values[l] += static_cast<double>(terms.value);
      if constexpr (Pixel::kScaled) scales[l] += static_cast<double>(terms.by_scale);
    };
    int64_t j = 0;
    for (; j + kLanes <= a.d; j += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) add(j + l, l);
    }
    for (int64_t l = 0; j + l < a.d; ++l) add(j + l, l);
    const double pixels = static_cast<double>(a.d);
    a.values[i] = pixel.value(add_lanes(values), pixels);
    if constexpr (Pixel::kScaled) a.by_scale[i] = pixel.by_scale(add_lanes(scales), pixels);
  }
}

// Function multiversioning does not reach templates, so each loop has a plain function.
#define LAE_IMAGES(Pixel, T)                                                                   \
  LAE_CLONES void image_chunk(const Pixel<T>& pixel, const Images<T>& images, int64_t begin,   \
                              int64_t end) {                                                   \
    image_loop(pixel, images, begin, end);                                                     \
  }
LAE_IMAGES(BernoulliPixel, float)
LAE_IMAGES(BernoulliPixel, double)
LAE_IMAGES(GaussianPixel, float)
LAE_IMAGES(GaussianPixel, double)
LAE_IMAGES(DiscretizedLogisticPixel, float)
LAE_IMAGES(DiscretizedLogisticPixel, double)
#undef LAE_IMAGES

struct LikelihoodKernels : OnCpu {
  template <template <class> class Pixel, class T>
  static void run(const Call&, const Images<T>& images) {
    const Pixel<T> pixel = images.template pixel<Pixel>();
    const auto chunk = [&](int64_t, int64_t begin, int64_t end) {
      image_chunk(pixel, images, begin, end);
    };
    for_each_chunk(images.n, chunk, rows_per_chunk(images.d));
  }
};

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  lae::register_likelihoods<lae::cpu::LikelihoodKernels>(m);
}
