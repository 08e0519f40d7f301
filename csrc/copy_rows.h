// `copy_rows_`: its arguments, which both backends check and prepare alike, and its registration.
#pragma once

#include <vector>

#include "host_device.h"
#include "tensors.h"

namespace lae {

// Two tensors of equal shape, in words of 32 bits.
struct RowPair {
  uint32_t* into;
  const uint32_t* source;
  int64_t words;  // per row
};

// Which of n rows to copy.
struct RowChoice {
  const bool* flags;
  bool one_flag;  // for all rows
  bool where;
  int64_t n;

  LAE_HD bool has(int64_t row) const { return flags[one_flag ? 0 : row] == where; }
};

inline void check_copy_rows(const std::vector<Tensor>& into, const std::vector<Tensor>& source,
                            const Tensor& rows, int32_t backend) {
  constexpr const char* op = "copy_rows_";
  if (into.size() != source.size()) {
    fail(op, ": into has ", into.size(), " tensors but source has ", source.size(),
         "; both must have the same number.");
  }
  for (size_t t = 0; t < into.size(); ++t) {
    const Call call(op, "into", into[t], backend);
    call.check_like_first("source", source[t]);
    const int64_t n = into[t].dim() > 0 ? into[t].size(0) : -1;
    // One flag may stand for all rows; then every tensor has as many rows as the first.
    const bool one_flag = rows.numel() == 1 && n >= 0;
    const int64_t wanted = one_flag ? into[0].size(0) : rows.numel();
    if (n != wanted) {
      fail(op, ": into has shape ", shape_text(into[t]), "; its first size must be that of rows, ",
           wanted, ".");
    }
    call.check_vector("rows", rows, ScalarType::Bool, one_flag ? 1 : n, "one flag per row");
  }
}

inline int64_t words_per_row(const Tensor& t) {
  return t.numel() / t.size(0) * (t.scalar_type() == ScalarType::Double ? 2 : 1);
}

// `Kernels::copy` copies the chosen rows of all pairs.
template <class Kernels>
void copy_rows_(std::vector<Tensor> into, std::vector<Tensor> source, const Tensor& rows,
                bool where) {
  check_copy_rows(into, source, rows, Kernels::device_type());
  if (into.empty() || into[0].size(0) == 0) return;
  const Tensor flags = readable(rows);
  std::vector<Updated> targets;
  targets.reserve(into.size());
  std::vector<Tensor> sources;
  std::vector<RowPair> pairs;
  for (size_t t = 0; t < into.size(); ++t) {
    targets.emplace_back(into[t]);
    sources.push_back(readable(source[t]));
    pairs.push_back({write<uint32_t>(targets[t]), read<uint32_t>(sources[t]),
                     words_per_row(into[t])});
  }
  const Call call("copy_rows_", "into", into[0], Kernels::device_type());
  Kernels::copy(call, pairs,
                RowChoice{read<bool>(flags), flags.numel() == 1, where, into[0].size(0)});
  for (Updated& target : targets) target.commit();
}

template <class Kernels, class Library>
void register_copy_rows(Library& m) {
  m.impl("copy_rows_", TORCH_BOX(&copy_rows_<Kernels>));
}

}  // namespace lae
