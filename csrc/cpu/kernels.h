// Loops over one chunk of elements, and how chunks are shared among threads.
//
// Sums are taken a chunk at a time in a fixed order of lanes, and the chunks' sums are added in
// order, so results do not depend on the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <vector>

#include "../ald.h"
#include "../normal.h"
#include "../philox.h"

// One build serves every x86-64: the loader picks AVX-512, AVX2 or the baseline at run time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define LAE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define LAE_CLONES
#endif
#define LAE_INLINE inline __attribute__((always_inline))

namespace lae::cpu {

constexpr int64_t kChunk = 4096;          // elements a partial sum covers
constexpr int64_t kSerialChunks = 8;      // under which threads cost more than they save
constexpr int64_t kTile = 256;            // elements of noise drawn at a time
constexpr int64_t kLanes = 16;            // accumulators a sum runs in

// A multiple of four rows that hold about kChunk elements.
inline int64_t rows_a_chunk(int64_t d) {
  const int64_t rows = kChunk / (d > 0 ? d : 1) / 4 * 4;
  return rows > 4 ? rows : 4;
}

// Calls body(chunk, begin, end) for every chunk of n items; `size` items hold about kChunk elements.
template <class Body>
void for_each_chunk(int64_t n, const Body& body, int64_t size = kChunk) {
  const auto range = [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      const int64_t begin = chunk * size;
      body(chunk, begin, begin + size < n ? begin + size : n);
    }
  };
  const int64_t chunks = (n + size - 1) / size;
  if (n < kSerialChunks * size) range(0, chunks);
  else torch::stable::parallel_for(0, chunks, kSerialChunks / 2, range);
}

// Adds partial(chunk) over the chunks, in order.
template <class Sums, class Partial, class Add>
Sums sum_chunks(int64_t n, const Partial& partial, const Add& add, int64_t size = kChunk) {
  Sums few[kSerialChunks];
  std::vector<Sums> many;
  Sums* parts = few;
  const int64_t chunks = (n + size - 1) / size;
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

// The chunk [begin, end) of the noise, of proposals and of the ratio's sums; `begin` is a multiple
// of kTile. `target` may be `phi` itself. Defined in kernels.cpp for float and double.
template <class T>
struct ProposeArgs {
  const T* phi;
  const T* grad;
  T* proposal;
  T* phi_copy;   // where phi is also written, or null
  T* grad_copy;  // where grad is also written, or null
  Proposal<T> law;
  RngKey rng;
};

template <class T>
struct RatioArgs {
  const T* phi;
  const T* grad;
  const T* proposal;
  const T* grad_proposal;
};

// Writes the chunk's proposals; returns the squared norm of its noise.
double propose_chunk(const ProposeArgs<float>& args, int64_t begin, int64_t end);
double propose_chunk(const ProposeArgs<double>& args, int64_t begin, int64_t end);

RatioSums ratio_chunk(const RatioArgs<float>& args, int64_t begin, int64_t end);
RatioSums ratio_chunk(const RatioArgs<double>& args, int64_t begin, int64_t end);

template <class T>
RatioSums ratio_sums(const RatioArgs<T>& args, int64_t n) {
  return sum_chunks<RatioSums>(
      n, [&](int64_t begin, int64_t end) { return ratio_chunk(args, begin, end); },
      [](RatioSums& total, const RatioSums& part) {
        total.work += part.work;
        total.grad_change += part.grad_change;
        total.poison += part.poison;
      });
}

// Which of the compiled instruction sets this processor runs.
const char* instruction_set();

}  // namespace lae::cpu
