// How many blocks and threads a kernel has, and sums over a block.
//
// Sums over several blocks take two launches: the first writes one partial sum per block to a
// workspace, and the second adds them in a fixed order. For one long row, every block of the second
// launch adds all of them: that costs less than a third launch, and gives every block the same bits
// and so the same decision. Up to kOneBlockLimit elements, one block does everything in one launch.
// There are no floating-point atomics, so results do not depend on scheduling. The grid depends on
// the tensors' shapes alone, so results do not depend on the GPU either.
#pragma once

#include <cstdint>

#include "../ald.h"
#include "launch.cuh"

namespace lae::cuda {

constexpr int kThreads = 256;
constexpr int kOneBlockThreads = 1024;
constexpr int64_t kOneBlockLimit = 16384;
constexpr int64_t kMaxBlocks = 1024;

// For kernels whose blocks take one row at a time; a row is some hundred elements.
constexpr int kRowThreads = 128;
inline int row_blocks(int64_t rows) { return static_cast<int>(clamp(rows, 1, 65535)); }

// `threads`, rounded up to whole warps, of which there is at least one.
inline int whole_warps(int64_t threads, int most) {
  return static_cast<int>(clamp(ceil_div(threads, 32) * 32, 32, most));
}

// Blocks of kThreads that have this many threads together, or kMaxBlocks.
inline int blocks_of(int64_t threads) {
  return static_cast<int>(clamp(ceil_div(threads, kThreads), 1, kMaxBlocks));
}

// For kernels whose threads take groups of four elements, the four that one Philox block serves.
struct Grid {
  int blocks = 1;
  int threads;

  explicit Grid(int64_t n) {
    const int64_t groups = ceil_div(n, 4);
    if (n <= kOneBlockLimit) {
      threads = whole_warps(groups, kOneBlockThreads);
    } else {
      blocks = blocks_of(groups);
      threads = kThreads;
    }
  }

  bool one_block() const { return blocks == 1; }
};

// Two sums that a block takes at once.
template <class T>
struct Pair {
  T first = 0, second = 0;
};

// What a row's decision is made of.
struct RowProposal {
  RatioSums ratio;
  double potential = 0;
};

// The value of the lane `offset` further on.
__device__ __forceinline__ float shuffle_down(float s, int offset) {
  return __shfl_down_sync(0xFFFFFFFFu, s, offset);
}

__device__ __forceinline__ double shuffle_down(double s, int offset) {
  return __shfl_down_sync(0xFFFFFFFFu, s, offset);
}

template <class T>
__device__ __forceinline__ Pair<T> shuffle_down(const Pair<T>& s, int offset) {
  return {shuffle_down(s.first, offset), shuffle_down(s.second, offset)};
}

__device__ __forceinline__ RatioSums shuffle_down(const RatioSums& s, int offset) {
  return {shuffle_down(s.work, offset), shuffle_down(s.grad_change, offset),
          shuffle_down(s.poison, offset)};
}

__device__ __forceinline__ RowProposal shuffle_down(const RowProposal& s, int offset) {
  return {shuffle_down(s.ratio, offset), shuffle_down(s.potential, offset)};
}

__device__ __forceinline__ RowSums shuffle_down(const RowSums& s, int offset) {
  return {shuffle_down(s.prob, offset), shuffle_down(s.accepted, offset),
          shuffle_down(s.potential, offset)};
}

__device__ __forceinline__ void add(float& total, float part) { total += part; }
__device__ __forceinline__ void add(double& total, double part) { total += part; }

template <class T>
__device__ __forceinline__ void add(Pair<T>& total, const Pair<T>& part) {
  total.first += part.first;
  total.second += part.second;
}

__device__ __forceinline__ void add(RowProposal& total, const RowProposal& part) {
  add(total.ratio, part.ratio);
  add(total.potential, part.potential);
}

// The sum over the block, known to all its threads. blockDim.x is a multiple of 32.
template <class Sums>
__device__ Sums block_sum(Sums mine) {
  LAE_SHARED(double, storage, [32 * sizeof(Sums) / sizeof(double)]);
  Sums* const warps = reinterpret_cast<Sums*>(storage);
  for (int offset = 16; offset > 0; offset /= 2) add(mine, shuffle_down(mine, offset));
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  __syncthreads();
  if (lane == 0) warps[warp] = mine;
  __syncthreads();
  Sums total{};
  const int count = blockDim.x / 32;
  for (int w = 0; w < count; ++w) add(total, warps[w]);
  return total;
}

// The sum of `count` partial sums, in an order that depends on blockDim.x only.
template <class Sums>
__device__ Sums sum_partials(const Sums* partials, int count) {
  Sums mine{};
  for (int i = threadIdx.x; i < count; i += blockDim.x) add(mine, partials[i]);
  return block_sum(mine);
}

}  // namespace lae::cuda
