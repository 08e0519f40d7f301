// How loops are compiled for several instruction sets, cut into chunks and shared among threads.
//
// Every chunk is summed in a fixed order of lanes, and the sums of the chunks are added in order:
// results do not depend on the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <vector>

#include "../host_device.h"

// One build serves every x86-64: the loader picks AVX-512, AVX2 or the baseline at run time.
// Functions with LAE_CLONES exist once per instruction set. They cannot be templates, and what they
// call is compiled for the baseline unless it is inlined: LAE_INLINE.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define LAE_HAS_CLONES 1
#define LAE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LAE_HAS_CLONES 0
#define LAE_CLONES
#endif
#define LAE_INLINE inline __attribute__((always_inline))

namespace lae::cpu {

// What the operators' bodies ask of the backend that runs their kernels.
struct OnCpu {
  static int32_t device_type() { return aoti_torch_device_type_cpu(); }
  static constexpr bool kHostReads = true;  // the values of tensors
};

constexpr int64_t kChunk = 4096;      // elements per partial sum
constexpr int64_t kSerialChunks = 8;  // with fewer, threads cost more than they save
constexpr int64_t kLanes = 16;        // accumulators of a sum

// Rows that hold about kChunk elements, in a multiple of four.
inline int64_t rows_per_chunk(int64_t d) {
  const int64_t rows = kChunk / (d > 0 ? d : 1) / 4 * 4;
  return rows > 4 ? rows : 4;
}

// Calls body(chunk, begin, end) for every chunk of n items; `size` items hold about kChunk
// elements.
template <class Body>
void for_each_chunk(int64_t n, const Body& body, int64_t size = kChunk) {
  const auto range = [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      const int64_t begin = chunk * size;
      body(chunk, begin, begin + size < n ? begin + size : n);
    }
  };
  const int64_t chunks = ceil_div(n, size);
  if (n < kSerialChunks * size) range(0, chunks);
  else torch::stable::parallel_for(0, chunks, kSerialChunks / 2, range);
}

// Adds partial(begin, end) over the chunks, in order.
template <class Sums, class Partial>
Sums sum_chunks(int64_t n, const Partial& partial, int64_t size = kChunk) {
  Sums few[kSerialChunks];
  std::vector<Sums> many;
  Sums* parts = few;
  const int64_t chunks = ceil_div(n, size);
  if (chunks > kSerialChunks) {
    many.resize(chunks);
    parts = many.data();
  }
  const auto keep = [&](int64_t chunk, int64_t begin, int64_t end) {
    parts[chunk] = partial(begin, end);
  };
  for_each_chunk(n, keep, size);
  Sums total{};
  for (int64_t chunk = 0; chunk < chunks; ++chunk) add(total, parts[chunk]);
  return total;
}

template <int64_t lanes>
LAE_INLINE double add_lanes(const double (&values)[lanes]) {
  double sum = 0;
  for (int64_t l = 0; l < lanes; ++l) sum += values[l];
  return sum;
}

}  // namespace lae::cpu
