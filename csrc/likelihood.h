// The negative log-likelihood of one pixel with its derivatives; and the operators' arguments,
// which both backends check and prepare alike, and their registration.
//
// exp and log1p are polynomials without branches, so that compilers vectorise them; relative errors
// are a few ulp on the ranges used here. A NaN in the decoder's output gives a NaN value.
#pragma once

#include <cmath>
#include <cstdint>
#include <tuple>

#include "normal.h"
#include "tensors.h"

namespace lae {

LAE_HD double power_of_two(int64_t exponent) {
  const uint64_t bits = static_cast<uint64_t>(exponent + 1023) << 52;
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(static_cast<long long>(bits));
#else
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// e^x for x <= 0, at least e^-87 (float) or e^-700 (double).
LAE_HD float exp_non_positive(float x) {
  x = x < -87.0f ? -87.0f : x;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const float whole = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - whole * 0x1.62e4p-1f) - whole * 0x1.7f7d1cp-20f;
  // Minimax on |r| <= log(2) / 2 (Cephes, expf).
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return p * bits_float(static_cast<uint32_t>(static_cast<int32_t>(whole) + 127) << 23);
}

LAE_HD double exp_non_positive(double x) {
  x = x < -700.0 ? -700.0 : x;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const double whole = (x * 1.4426950408889634 + kRound) - kRound;
  const double r = (x - whole * 0x1.62e42fefa0000p-1) - whole * 0x1.cf79abc9e3b39p-40;
  double p = 1.0;  // Taylor, degree 14, by Horner's rule
  for (int k = 14; k > 0; --k) p = p * r * (1.0 / k) + 1.0;
  return p * power_of_two(static_cast<int64_t>(whole));
}

// atanh(s) / s - 1 over y, with y = s^2 <= 1/9; in float a minimax fit, 7e-10 of the logarithm.
LAE_HD float atanh_tail(float y) {
  float p = 0x1.f1aeep-4f;
  p = p * y + 0x1.b6d6a4p-4f;
  p = p * y + 0x1.250972p-3f;
  p = p * y + 0x1.9996a8p-3f;
  return p * y + 0x1.555558p-2f;
}

LAE_HD double atanh_tail(double y) {
  double p = 1.0 / 35.0;
  for (int k = 33; k > 1; k -= 2) p = p * y + 1.0 / k;
  return p;
}

template <class T>
struct Logistic {
  T softplus;  // log(1 + e^t)
  T sigmoid;   // 1 / (1 + e^-t)
};

// With e = e^-|t|, log(1 + e) is 2 atanh(e / (2 + e)). A division costs as much as all the rest, so
// both quotients share one.
template <class T>
LAE_HD Logistic<T> logistic(T t) {
  const T e = exp_non_positive(t > T(0) ? -t : t);
  const T one = T(1) + e, two = T(2) + e, inverse = T(1) / (one * two);
  const T s = e * one * inverse;
  const T positive = t < T(0) ? T(0) : t;  // NaN stays NaN
  const T log1p = T(2) * s + T(2) * s * (s * s * atanh_tail(s * s));
  return {positive + log1p, (t < T(0) ? e : T(1)) * two * inverse};
}

// What one pixel adds to the image's value and to its derivative by the log scale; and the
// derivative by the decoder's output.
template <class T>
struct PixelTerms {
  T value, grad, by_scale;
};

template <class T>
struct BernoulliPixel {
  static constexpr bool kScaled = false;
  explicit LAE_HD BernoulliPixel(double) {}
  LAE_HD PixelTerms<T> operator()(T output, T x) const {
    const Logistic<T> at = logistic(output);
    return {at.softplus - x * output, at.sigmoid - x, T(0)};
  }
  LAE_HD double value(double sum, double) const { return sum; }
};

// -log N(x; output, scale^2), the constants added once per image.
template <class T>
struct GaussianPixel {
  static constexpr bool kScaled = true;
  double log_scale;
  T precision;
  explicit LAE_HD GaussianPixel(double log_scale)
      : log_scale(log_scale), precision(static_cast<T>(exp(-2.0 * log_scale))) {}
  LAE_HD PixelTerms<T> operator()(T output, T x) const {
    const T difference = output - x, grad = difference * precision;
    const T square = difference * grad;
    return {square, grad, square};
  }
  LAE_HD double value(double sum, double pixels) const {
    return 0.5 * sum + pixels * (log_scale + 0.91893853320467274178);
  }
  LAE_HD double by_scale(double sum, double pixels) const { return pixels - sum; }
};

// The logistic density's mass in a grey level's bin; see `DiscretizedLogistic` in
// lae_fast/models/likelihoods.py. A bin of black or white has one end only.
template <class T>
struct DiscretizedLogisticPixel {
  static constexpr bool kScaled = true;
  static constexpr double kHalf = 0.5 / 255.0;
  T inverse, log_mass, by_width;
  explicit LAE_HD DiscretizedLogisticPixel(double log_scale)
      : inverse(static_cast<T>(exp(-log_scale))) {
    const double width = 2.0 * kHalf * exp(-log_scale);
    log_mass = static_cast<T>(log(-expm1(-width)));
    by_width = static_cast<T>(width / expm1(width));
  }
  LAE_HD PixelTerms<T> operator()(T output, T x) const {
    constexpr T half = static_cast<T>(kHalf), last = static_cast<T>(1.0 - kHalf);
    const T low = (x - half - output) * inverse, high = (x + half - output) * inverse;
    const T below = x <= half ? T(0) : T(1), above = x >= last ? T(0) : T(1);
    const T inner = below * above;
    const Logistic<T> at_low = logistic(low), past_high = logistic(-high);
    const T from_high = above > T(0) ? past_high.softplus : T(0);
    const T from_low = below > T(0) ? at_low.softplus : T(0);
    const T high_share = above * past_high.sigmoid, low_share = below * at_low.sigmoid;
    return {from_high + from_low - inner * log_mass, (high_share - low_share) * inverse,
            high_share * high - low_share * low + inner * by_width};
  }
  LAE_HD double value(double sum, double) const { return sum; }
  LAE_HD double by_scale(double sum, double) const { return sum; }
};

template <class T>
struct Images {
  T* output;  // becomes the gradient
  const T* bias;
  const T* x;
  const T* log_scale;  // null where the density has no scale
  double* values;
  double* by_scale;  // likewise
  int64_t n, d;

  template <template <class> class Pixel>
  LAE_HD Pixel<T> pixel() const {
    return Pixel<T>(log_scale == nullptr ? 0.0 : static_cast<double>(*log_scale));
  }
};

inline void check_likelihood(const Call& call, const Tensor& bias, const Tensor& x,
                             const Tensor* log_scale) {
  call.check_is_matrix();
  call.check_vector_like_first("bias", bias, call.first.size(1), "one per pixel");
  call.check_like_first("x", x);
  if (log_scale != nullptr) call.check_scalar_like_first("log_scale", *log_scale);
}

// Returns the value of each image; a density without a scale has neither `log_scale` nor
// `by_scale`. `Kernels::run<Pixel>` works on contiguous memory.
template <class Kernels, template <class> class Pixel>
Tensor likelihood_grad(const Call& call, Tensor& output, const Tensor& bias, const Tensor& x,
                       const Tensor* log_scale, Tensor* by_scale) {
  check_likelihood(call, bias, x, log_scale);
  const int64_t n = output.size(0), d = output.size(1);
  Tensor values = empty_doubles(call, n);
  if (by_scale != nullptr) *by_scale = empty_doubles(call, n);
  Updated gradient(output);
  const Tensor bias_in = readable(bias), x_in = readable(x);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    Kernels::template run<Pixel>(
        call, Images<T>{.output = write<T>(gradient),
                        .bias = read<T>(bias_in),
                        .x = read<T>(x_in),
                        .log_scale = log_scale == nullptr ? nullptr : read<T>(*log_scale),
                        .values = write<double>(values),
                        .by_scale = by_scale == nullptr ? nullptr : write<double>(*by_scale),
                        .n = n,
                        .d = d});
  });
  gradient.commit();
  return values;
}

template <class Kernels, template <class> class Pixel>
std::tuple<Tensor, Tensor> scaled_likelihood_grad(const char* op, Tensor& output,
                                                  const Tensor& bias, const Tensor& x,
                                                  const Tensor& log_scale) {
  const Call call(op, "output", output, Kernels::device_type());
  Tensor by_scale;
  Tensor values = likelihood_grad<Kernels, Pixel>(call, output, bias, x, &log_scale, &by_scale);
  return {values, by_scale};
}

template <class Kernels>
Tensor bernoulli_grad_(Tensor output, const Tensor& bias, const Tensor& x) {
  const Call call("bernoulli_grad_", "output", output, Kernels::device_type());
  return likelihood_grad<Kernels, BernoulliPixel>(call, output, bias, x, nullptr, nullptr);
}

template <class Kernels>
std::tuple<Tensor, Tensor> gaussian_grad_(Tensor output, const Tensor& bias, const Tensor& x,
                                          const Tensor& log_scale) {
  return scaled_likelihood_grad<Kernels, GaussianPixel>("gaussian_grad_", output, bias, x,
                                                        log_scale);
}

template <class Kernels>
std::tuple<Tensor, Tensor> discretized_logistic_grad_(Tensor output, const Tensor& bias,
                                                      const Tensor& x, const Tensor& log_scale) {
  return scaled_likelihood_grad<Kernels, DiscretizedLogisticPixel>("discretized_logistic_grad_",
                                                                   output, bias, x, log_scale);
}

template <class Kernels, class Library>
void register_likelihoods(Library& m) {
  m.impl("bernoulli_grad_", TORCH_BOX(&bernoulli_grad_<Kernels>));
  m.impl("gaussian_grad_", TORCH_BOX(&gaussian_grad_<Kernels>));
  m.impl("discretized_logistic_grad_", TORCH_BOX(&discretized_logistic_grad_<Kernels>));
}

}  // namespace lae
