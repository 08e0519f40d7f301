// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011), and this library's layout of its counter.
//
// Noise is a function of (seed, step, element) alone, and a step advances nothing but `step`: every
// backend, thread and process draws the same numbers.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace lae {

struct Words4 {
  uint32_t w0, w1, w2, w3;
};

// The two integers that an `rng` tensor holds.
struct RngKey {
  uint64_t seed;
  uint64_t step;

  LAE_HD RngKey next() const { return {seed, step + 1}; }
};

LAE_HD RngKey load_rng(const int64_t* rng, int64_t stride) {
  return {static_cast<uint64_t>(rng[0]), static_cast<uint64_t>(rng[stride])};
}

enum Stream : uint32_t { kNoise = 0, kAccept = 1 };

LAE_HD Words4 philox4x32_10(Words4 c, uint32_t k0, uint32_t k1) {
  constexpr uint32_t kMultiply0 = 0xD2511F53u, kMultiply1 = 0xCD9E8D57u;
  constexpr uint32_t kWeyl0 = 0x9E3779B9u, kWeyl1 = 0xBB67AE85u;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kMultiply0) * c.w0;
    const uint64_t p1 = static_cast<uint64_t>(kMultiply1) * c.w2;
    c = Words4{static_cast<uint32_t>(p1 >> 32) ^ c.w1 ^ k0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ c.w3 ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

// Four words for elements 4 * block .. 4 * block + 3 at (seed, step).
LAE_HD Words4 draw_words(RngKey rng, uint64_t block, Stream stream) {
  const uint32_t step_high = static_cast<uint32_t>(rng.step >> 32) & 0x7FFFFFFFu;
  const Words4 counter{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32),
                       static_cast<uint32_t>(rng.step),
                       step_high | (static_cast<uint32_t>(stream) << 31)};
  return philox4x32_10(counter, static_cast<uint32_t>(rng.seed),
                       static_cast<uint32_t>(rng.seed >> 32));
}

LAE_HD double uniform_of(uint32_t word) { return (static_cast<double>(word) + 1.0) * 0x1p-32; }

// The uniform in (0, 1] that decides whether a row accepts at (seed, step).
LAE_HD double accept_uniform(RngKey rng, uint64_t row) {
  const Words4 w = draw_words(rng, row / 4, kAccept);
  const uint32_t low = row & 1 ? w.w1 : w.w0, high = row & 1 ? w.w3 : w.w2;
  return uniform_of(row & 2 ? high : low);
}

}  // namespace lae
