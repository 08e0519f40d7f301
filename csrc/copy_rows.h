// The arguments of `copy_rows_`, which both backends check alike.
#pragma once

#include <vector>

#include "tensors.h"

namespace lae {

inline void check_copy_rows(const std::vector<Tensor>& into, const std::vector<Tensor>& source,
                            const Tensor& rows, int32_t backend) {
  constexpr const char* op = "copy_rows_";
  if (into.size() != source.size()) {
    fail(op, ": into has ", into.size(), " tensors but source has ", source.size(),
         "; they must be as many.");
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

// Bytes of a row.
inline int64_t row_bytes(const Tensor& t) {
  const int64_t element = t.scalar_type() == ScalarType::Double ? 8 : 4;
  return t.size(0) > 0 ? t.numel() / t.size(0) * element : 0;
}

}  // namespace lae
