#include "../copy_rows.h"

#include "blocks.cuh"

namespace lae::cuda {
namespace {

constexpr int kMaxPairs = 32;  // tensors that a launch copies

struct Pairs {
  uint32_t* into[kMaxPairs];
  const uint32_t* source[kMaxPairs];
  int64_t words[kMaxPairs];  // of a row
};

// blockIdx.y chooses the tensor; a block takes a row at a time.
__global__ void __launch_bounds__(kRowThreads)
    copy_rows_kernel(const __grid_constant__ Pairs pairs, const bool* rows, bool one_flag,
                     int64_t n, bool where) {
  const int64_t words = pairs.words[blockIdx.y];
  for (int64_t i = blockIdx.x; i < n; i += gridDim.x) {
    if (rows[one_flag ? 0 : i] != where) continue;
    uint32_t* const into = pairs.into[blockIdx.y] + i * words;
    const uint32_t* const source = pairs.source[blockIdx.y] + i * words;
    for (int64_t j = threadIdx.x; j < words; j += blockDim.x) into[j] = source[j];
  }
}

void copy_rows_(std::vector<Tensor> into, std::vector<Tensor> source, const Tensor& rows,
                bool where) {
  check_copy_rows(into, source, rows, device_type());
  if (into.empty() || into[0].size(0) == 0) return;
  const Tensor mask = readable(rows);
  const Call call("copy_rows_", "into", into[0], device_type());
  const Launch launch(call);
  const int64_t n = into[0].size(0);
  std::vector<Updated> targets;
  targets.reserve(into.size());
  std::vector<Tensor> sources;
  for (size_t first = 0; first < into.size(); first += kMaxPairs) {
    Pairs pairs{};
    unsigned count = 0;
    for (size_t t = first; t < into.size() && count < kMaxPairs; ++t, ++count) {
      targets.emplace_back(into[t]);
      sources.push_back(readable(source[t]));
      pairs.into[count] = static_cast<uint32_t*>(targets.back().work().mutable_data_ptr());
      pairs.source[count] = static_cast<const uint32_t*>(sources.back().const_data_ptr());
      pairs.words[count] = row_bytes(into[t]) / 4;
    }
    const dim3 grid(row_blocks(n), count);
    launch.run<copy_rows_kernel>(grid, kRowThreads, pairs, read<bool>(mask), mask.numel() == 1, n,
                                 where);
  }
  for (Updated& target : targets) target.commit();
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("copy_rows_", TORCH_BOX(&lae::cuda::copy_rows_));
}
