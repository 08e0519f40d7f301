#include "../copy_rows.h"

#include <cstring>

#include "parallel.h"

namespace lae::cpu {
namespace {

void copy_rows_(std::vector<Tensor> into, std::vector<Tensor> source, const Tensor& rows,
                bool where) {
  check_copy_rows(into, source, rows, aoti_torch_device_type_cpu());
  const Tensor mask = readable(rows);
  const bool* const chosen = read<bool>(mask);
  const bool one_flag = rows.numel() == 1;
  std::vector<Updated> targets;
  targets.reserve(into.size());
  std::vector<Tensor> sources;
  for (size_t t = 0; t < into.size(); ++t) {
    targets.emplace_back(into[t]);
    sources.push_back(readable(source[t]));
  }
  for (size_t t = 0; t < into.size(); ++t) {
    const int64_t n = into[t].size(0);
    const int64_t width = row_bytes(into[t]);
    char* const to = static_cast<char*>(targets[t].work().mutable_data_ptr());
    const char* const from = static_cast<const char*>(sources[t].const_data_ptr());
    const auto copy = [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (chosen[one_flag ? 0 : i] == where) std::memcpy(to + i * width, from + i * width, width);
      }
    };
    for_each_chunk(n, copy, rows_per_chunk(width / 4));
  }
  for (Updated& target : targets) target.commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("copy_rows_", TORCH_BOX(&lae::cpu::copy_rows_));
}
