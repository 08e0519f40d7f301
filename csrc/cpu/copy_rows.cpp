#include "../copy_rows.h"

#include <cstring>

#include "parallel.h"

namespace lae::cpu {
namespace {

struct CopyRowsKernels : OnCpu {
  static void copy(const Call&, const std::vector<RowPair>& pairs, const RowChoice& rows) {
    for (const RowPair& pair : pairs) {
      const auto copy_chunk = [&](int64_t, int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const int64_t first = i * pair.words;
          if (!rows.has(i)) continue;
          std::memcpy(pair.into + first, pair.source + first, pair.words * sizeof(uint32_t));
        }
      };
      for_each_chunk(rows.n, copy_chunk, rows_per_chunk(pair.words));
    }
  }
};

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  lae::register_copy_rows<lae::cpu::CopyRowsKernels>(m);
}
