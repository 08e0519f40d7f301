// What host and device code share: how their functions are marked, and arithmetic of whole numbers.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LAE_HD __host__ __device__ __forceinline__
#else
#define LAE_HD inline __attribute__((always_inline))
#endif

namespace lae {

// a / b, rounded up.
LAE_HD int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

LAE_HD int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

}  // namespace lae
