#include "row_kernels.h"

#include "tile.h"

namespace lae::cpu {
namespace {

constexpr int64_t kRowLanes = 8;  // dimensions of z are few

template <class T>
LAE_INLINE void propose_rows_loop(const RowProposeArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) T eps[kTile];
  // Four elements share a Philox block, so four rows fill whole blocks.
  const auto first_block = static_cast<uint64_t>(args.first_row / 4 * args.law.d);
  for (int64_t base = begin; base < end; base += kTile) {
    draw_tile(args.rng, first_block + static_cast<uint64_t>(base) / 4, eps);
    const int64_t count = end - base < kTile ? end - base : kTile;
    const int64_t first = base % args.law.d;
    const T* const x = args.x + base;
    const T* const grad = args.grad + base;
    const T* const step_size = args.law.step_size.data() + first;
    const T* const noise_scale = args.law.noise_scale.data() + first;
    T* const proposal = args.proposal + base;
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      proposal[i] = propose_element(x[i], grad[i], eps[i], {step_size[i], noise_scale[i]});
    }
  }
}

template <class T>
LAE_INLINE RatioSums row_sums(const RowDecideArgs<T>& args, int64_t row) {
  alignas(64) double work[kRowLanes] = {}, change[kRowLanes] = {}, poison[kRowLanes] = {};
  const T* const x = args.x + row * args.d;
  const T* const grad = args.grad + row * args.d;
  const T* const proposal = args.proposal + row * args.d;
  const T* const grad_proposal = args.grad_proposal + row * args.d;
  const double* const eta = args.step_sizes;
  int64_t k = 0;
  for (; k + kRowLanes <= args.d; k += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) {
      add_ratio_terms(x[k + l], grad[k + l], proposal[k + l], grad_proposal[k + l], eta[k + l],
                      work[l], change[l], poison[l]);
    }
  }
  for (int64_t l = 0; k + l < args.d; ++l) {
    add_ratio_terms(x[k + l], grad[k + l], proposal[k + l], grad_proposal[k + l], eta[k + l],
                    work[l], change[l], poison[l]);
  }
  return {add_lanes(work), add_lanes(change), add_lanes(poison)};
}

template <class T>
LAE_INLINE void move_row(const RowDecideArgs<T>& args, int64_t row) {
  const int64_t first = row * args.d;
  for (int64_t i = first; i < first + args.d; ++i) args.x[i] = args.proposal[i];
  for (int64_t i = first; i < first + args.d; ++i) args.grad[i] = args.grad_proposal[i];
  args.potential[row] = args.potential_proposal[row];
}

template <class T>
LAE_INLINE RowSums decide_rows_loop(const RowDecideArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) double uniforms[kTile];
  RowSums total;
  for (int64_t base = begin; base < end; base += kTile) {
    const int64_t count = end - base < kTile ? end - base : kTile;
    draw_uniform_tile(args.rng, args.first_row + base, count, uniforms);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = base + i;
      const Decision decision =
          decide(row_sums(args, row), args.potential[row], args.potential_proposal[row], 1.0,
                 args.temperature, args.mh, uniforms[i]);
      args.accepted[row] = decision.accepted;
      total.prob += accept_prob(decision.log_ratio);
      total.accepted += decision.accepted;
      if (decision.accepted) move_row(args, row);
    }
  }
  return total;
}

}  // namespace

LAE_CLONES void propose_rows_chunk(const RowProposeArgs<float>& args, int64_t begin, int64_t end) {
  propose_rows_loop(args, begin, end);
}

LAE_CLONES void propose_rows_chunk(const RowProposeArgs<double>& args, int64_t begin,
                                   int64_t end) {
  propose_rows_loop(args, begin, end);
}

LAE_CLONES RowSums decide_rows_chunk(const RowDecideArgs<float>& args, int64_t begin,
                                     int64_t end) {
  return decide_rows_loop(args, begin, end);
}

LAE_CLONES RowSums decide_rows_chunk(const RowDecideArgs<double>& args, int64_t begin,
                                     int64_t end) {
  return decide_rows_loop(args, begin, end);
}

}  // namespace lae::cpu
