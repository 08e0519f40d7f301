// Device-side pieces that the operators' kernels share.
//
// Up to kOneBlockLimit elements one block does everything in one launch. Above, a first launch
// writes each block's sums to a workspace and a second reads them: EVERY block adds them up again
// in the same order, which costs less than another launch and gives every block the same bits.
// No floating-point atomics: results do not depend on scheduling. The grid depends on the number
// of elements alone, so they do not depend on the GPU either.
#pragma once

#include <cstdint>

#include "../ald.h"
#include "../normal.h"
#include "../philox.h"
#include "launch.cuh"

namespace lae::cuda {

constexpr int kThreads = 256;
constexpr int kOneBlockThreads = 1024;
constexpr int64_t kOneBlockLimit = 16384;
constexpr int64_t kMaxBlocks = 1024;

// Where a block takes a row at a time; a row is some hundred elements.
constexpr int kRowThreads = 128;
inline int row_blocks(int64_t rows) {
  return static_cast<int>(rows < 1 ? 1 : rows < 65535 ? rows : 65535);
}

// Each thread takes groups of four elements, the four that one Philox block serves.
struct Grid {
  int blocks;
  int threads;

  explicit Grid(int64_t n) {
    const int64_t groups = (n + 3) / 4;
    if (n <= kOneBlockLimit) {
      blocks = 1;
      threads = groups >= kOneBlockThreads ? kOneBlockThreads
                                           : static_cast<int>((groups + 31) / 32 * 32);
      if (threads == 0) threads = 32;
    } else {
      const int64_t wanted = (groups + kThreads - 1) / kThreads;
      blocks = static_cast<int>(wanted < kMaxBlocks ? wanted : kMaxBlocks);
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
static_assert(sizeof(RowProposal) == 4 * sizeof(double));

// What the lane `offset` further holds.
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

__device__ __forceinline__ void add(RatioSums& total, const RatioSums& part) {
  total.work += part.work;
  total.grad_change += part.grad_change;
  total.poison += part.poison;
}

__device__ __forceinline__ void add(RowProposal& total, const RowProposal& part) {
  add(total.ratio, part.ratio);
  add(total.potential, part.potential);
}

__device__ __forceinline__ void add(RowSums& total, const RowSums& part) {
  total.prob += part.prob;
  total.accepted += part.accepted;
  total.potential += part.potential;
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

template <class T>
struct ProposeArgs {
  const T* phi;
  const T* grad;
  T* proposal;
  T* phi_copy;   // where phi is also written, or null
  T* grad_copy;  // where grad is also written, or null
  Proposal<T> law;
  int64_t n;
};

// This thread's share of the proposals; returns its share of the noise's squared norm. The source
// may be the target: an element is read before it is written, by the same thread.
template <class T>
__device__ double propose_share(const ProposeArgs<T>& a, RngKey rng) {
  double noise_sq = 0;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       4 * group < a.n; group += stride) {
    const Words4 w = draw_words(rng, static_cast<uint64_t>(group), kNoise);
    T eps[4];
    normal_pair(w.w0, w.w1, eps[0], eps[1]);
    normal_pair(w.w2, w.w3, eps[2], eps[3]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t i = 4 * group + k;
      if (i < a.n) {
        const T p = a.phi[i], g = a.grad[i];
        if (a.phi_copy != nullptr) {
          a.phi_copy[i] = p;
          a.grad_copy[i] = g;
        }
        a.proposal[i] = propose_element(p, g, eps[k], a.law);
        noise_sq += static_cast<double>(eps[k]) * static_cast<double>(eps[k]);
      }
    }
  }
  return noise_sq;
}

template <class T>
struct RatioArgs {
  const T* phi;
  const T* grad;
  const T* proposal;
  const T* grad_proposal;
  int64_t n;
};

template <class T>
__device__ RatioSums ratio_share(const RatioArgs<T>& a) {
  RatioSums sums;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < a.n;
       i += stride) {
    add_ratio_terms(a.phi[i], a.grad[i], a.proposal[i], a.grad_proposal[i], 1.0,
                    sums.work, sums.grad_change, sums.poison);
  }
  return sums;
}

__device__ __forceinline__ RngKey load_rng(const int64_t* rng, int64_t stride) {
  return {static_cast<uint64_t>(rng[0]), static_cast<uint64_t>(rng[stride])};
}

}  // namespace lae::cuda
