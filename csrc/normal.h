// Two independent standard normals from two 32-bit words (Box and Muller, 1958).
//
//   u = (radius_word + 1/2) 2^-32,  r = sqrt(-2 log u),  t = 2 pi (angle_word + 1/2) 2^-32
//   first = r cos t,  second = r sin t
//
// The float32 version has no branches and calls nothing but sqrt, so that compilers vectorise it
// and every backend computes the same value up to the contraction of multiply-adds.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "philox.h"

namespace lae {

LAE_HD uint32_t float_bits(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

LAE_HD float bits_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// -2 log((word + 1/2) 2^-32) with a small RELATIVE error everywhere. Above sqrt(1/2) the float
// nearest to u is too coarse (log u is about u - 1), so 1 - u is taken from the word's exact
// complement instead.
LAE_HD float minus_two_log(uint32_t word) {
  constexpr uint32_t kSqrtHalfWord = 3037000500u;  // sqrt(1/2) 2^32, rounded
  constexpr uint32_t kSqrtHalfBits = 0x3F3504F3u;
  const bool near_one = word >= kSqrtHalfWord;
  const uint32_t w = near_one ? ~word : word;
  // Halves of 16 bits convert exactly as signed integers; the only rounding is the last addition.
  const float high = static_cast<float>(static_cast<int32_t>(w >> 16));
  const float low = static_cast<float>(static_cast<int32_t>(w & 0xFFFFu)) + 0.5f;
  const float x = high * 0x1p-16f + low * 0x1p-32f;

  // x = 2^exponent (1 + fraction), the significand in [sqrt(1/2), sqrt(2)).
  const int32_t shift = static_cast<int32_t>(float_bits(x) - kSqrtHalfBits) >> 23;
  const float significand = bits_float(float_bits(x) - (static_cast<uint32_t>(shift) << 23));
  const float exponent = near_one ? 0.0f : static_cast<float>(shift);
  const float f = near_one ? -x : significand - 1.0f;

  // Minimax fit of (log(1 + f) - f + f^2 / 2) / f^3 on [sqrt(1/2) - 1, sqrt(2) - 1], weighted for
  // the relative error of the logarithm (6.4e-9 with these rounded coefficients).
  float p = -0x1.38b5acp-4f;
  p = p * f + 0x1.055b6cp-3f;
  p = p * f - 0x1.0d853ap-3f;
  p = p * f + 0x1.22da1cp-3f;
  p = p * f - 0x1.547246p-3f;
  p = p * f + 0x1.99a008p-3f;
  p = p * f - 0x1.000226p-2f;
  p = p * f + 0x1.555554p-2f;
  const float f2 = f * f;
  constexpr float kLog2High = 0x1.62e4p-1f, kLog2Low = 0x1.7f7d1cp-20f;  // high: 15 bits, exact
  const float tail = (p * f2) * f + (exponent * kLog2Low - 0.5f * f2);
  return -2.0f * (exponent * kLog2High + (f + tail));
}

// cos and sin of 2 pi (word + 1/2) 2^-32. The quadrant is taken from the integer, so the remaining
// angle, within pi / 4 of an axis, is exact before its one rounding.
LAE_HD void cos_sin_turn(uint32_t word, float& cosine, float& sine) {
  const uint32_t quadrant = (word + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(word - (quadrant << 30));  // [-2^29, 2^29)
  const float t = static_cast<float>(2 * rest + 1) * 0x1p-30f;         // angle / (pi / 4)
  const float y = t * t;
  // Minimax fits of sin(pi t / 4) / t and (cos(pi t / 4) - 1) / t^2 in t^2, relative errors
  // 3.4e-8 (the rounding of pi / 4) and 1.1e-8.
  float s = -0x1.2d9302p-15f;
  s = s * y + 0x1.465e92p-9f;
  s = s * y - 0x1.4abbbap-4f;
  s = s * y + 0x1.921fb6p-1f;
  s = s * t;
  float c = 0x1.d9d57ep-19f;
  c = c * y - 0x1.55c5e0p-12f;
  c = c * y + 0x1.03c1dep-6f;
  c = c * y - 0x1.3bd3ccp-2f;
  c = c * y + 1.0f;
  const bool swap = (quadrant & 1u) != 0;
  const uint32_t cos_sign = ((quadrant + 1u) & 2u) << 30;
  const uint32_t sin_sign = (quadrant & 2u) << 30;
  cosine = bits_float(float_bits(swap ? s : c) ^ cos_sign);
  sine = bits_float(float_bits(swap ? c : s) ^ sin_sign);
}

// Of pi x. CUDA's own needs no reduction of large angles, which would take a stack frame.
LAE_HD void cos_sin_pi(double x, double& cosine, double& sine) {
#if defined(__CUDA_ARCH__)
  sincospi(x, &sine, &cosine);
#else
  constexpr double kPi = 3.141592653589793238;
  cosine = cos(kPi * x);
  sine = sin(kPi * x);
#endif
}

LAE_HD void normal_pair(uint32_t radius_word, uint32_t angle_word, float& first, float& second) {
  const float r = sqrtf(minus_two_log(radius_word));
  float c, s;
  cos_sin_turn(angle_word, c, s);
  first = r * c;
  second = r * s;
}

LAE_HD void normal_pair(uint32_t radius_word, uint32_t angle_word, double& first, double& second) {
  const double u = (static_cast<double>(radius_word) + 0.5) * 0x1p-32;  // exact, 1 - u too
  const double r = sqrt(-2.0 * log(u));
  const uint32_t quadrant = (angle_word + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(angle_word - (quadrant << 30));
  double c, s;
  cos_sin_pi((static_cast<double>(rest) + 0.5) * 0x1p-31, c, s);
  const double axis_cos = (quadrant & 1u) ? s : c, axis_sin = (quadrant & 1u) ? c : s;
  first = r * (((quadrant + 1u) & 2u) ? -axis_cos : axis_cos);
  second = r * ((quadrant & 2u) ? -axis_sin : axis_sin);
}

}  // namespace lae
