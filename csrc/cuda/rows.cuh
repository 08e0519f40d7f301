// Device-side pieces of the operators whose chains are the rows of an n x d matrix.
#pragma once

#include "kernels.cuh"

namespace lae::cuda {

template <class T>
struct RowProposeArgs {
  const T* x;
  const T* grad;
  T* proposal;
  const double* step_sizes;
  int64_t d;
  int64_t n;  // elements
  double temperature;
  int64_t first_row;  // whose noise row 0 draws; a multiple of four
};

// This thread's share of the proposals; four elements share a Philox block, not a row.
template <class T>
__device__ void propose_rows_share(const RowProposeArgs<T>& a, RngKey rng) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  // Four elements share a Philox block, so four rows fill whole blocks.
  const int64_t first_block = a.first_row / 4 * a.d;
  for (int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       4 * group < a.n; group += stride) {
    const Words4 w = draw_words(rng, static_cast<uint64_t>(first_block + group), kNoise);
    T eps[4];
    normal_pair(w.w0, w.w1, eps[0], eps[1]);
    normal_pair(w.w2, w.w3, eps[2], eps[3]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const int64_t i = 4 * group + k;
      if (i < a.n) {
        const auto law = make_proposal<T>(a.step_sizes[i % a.d], a.temperature);
        a.proposal[i] = propose_element(a.x[i], a.grad[i], eps[k], law);
      }
    }
  }
}

}  // namespace lae::cuda
