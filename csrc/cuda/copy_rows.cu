#include "../copy_rows.h"

#include <algorithm>

#include "blocks.cuh"

namespace lae::cuda {
namespace {

constexpr size_t kMaxPairs = 32;  // that one launch copies

struct Pairs {
  RowPair all[kMaxPairs];
};

// blockIdx.y chooses the pair; a block takes one row at a time.
__global__ void __launch_bounds__(kRowThreads)
    copy_rows_kernel(const __grid_constant__ Pairs pairs, RowChoice rows) {
  const RowPair& pair = pairs.all[blockIdx.y];
  for (int64_t i = blockIdx.x; i < rows.n; i += gridDim.x) {
    if (!rows.has(i)) continue;
    uint32_t* const into = pair.into + i * pair.words;
    const uint32_t* const source = pair.source + i * pair.words;
    for (int64_t j = threadIdx.x; j < pair.words; j += blockDim.x) into[j] = source[j];
  }
}

struct CopyRowsKernels : OnCuda {
  static void copy(const Call& call, const std::vector<RowPair>& pairs, const RowChoice& rows) {
    const Launch launch(call);
    for (size_t first = 0; first < pairs.size(); first += kMaxPairs) {
      const size_t count = std::min(kMaxPairs, pairs.size() - first);
      Pairs some{};
      std::copy_n(pairs.begin() + first, count, some.all);
      const dim3 grid(row_blocks(rows.n), static_cast<unsigned>(count));
      launch.run<copy_rows_kernel>(grid, kRowThreads, some, rows);
    }
  }
};

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  lae::register_copy_rows<lae::cuda::CopyRowsKernels>(m);
}
