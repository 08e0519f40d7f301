#include "row_kernels.h"

#include <cstring>

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

// kPrior: whether the gradient of a prior on x itself is to be added.
template <bool kPrior, class T>
LAE_INLINE RatioSums row_sums(const RowDecideArgs<T>& args, int64_t row) {
  alignas(64) double work[kRowLanes] = {}, change[kRowLanes] = {}, poison[kRowLanes] = {};
  const T* const x = args.x + row * args.d;
  const T* const grad = args.grad + row * args.d;
  const T* const proposal = args.proposal + row * args.d;
  const T* const grad_proposal = args.grad_proposal + row * args.d;
  const double* const eta = args.step_sizes;
  const T prior = static_cast<T>(args.prior);
  const auto add = [&](int64_t k, int64_t l) __attribute__((always_inline)) {
    const T whole = kPrior ? grad_proposal[k] + prior * proposal[k] : grad_proposal[k];
    add_ratio_terms(x[k], grad[k], proposal[k], whole, eta[k], work[l], change[l], poison[l]);
  };
  int64_t k = 0;
  for (; k + kRowLanes <= args.d; k += kRowLanes) {
    for (int64_t l = 0; l < kRowLanes; ++l) add(k + l, l);
  }
  for (int64_t l = 0; k + l < args.d; ++l) add(k + l, l);
  return {add_lanes(work), add_lanes(change), add_lanes(poison)};
}

template <class T>
LAE_INLINE double row_potential(const RowDecideArgs<T>& args, int64_t row) {
  double potential = 0;
  if (args.prior != 0) {
    const T* z = args.latents != nullptr ? args.latents : args.proposal;
    const int64_t count = args.latents != nullptr ? args.latents_per_row : args.d;
    z += row * count;
    double squares = 0;
    for (int64_t k = 0; k < count; ++k) {
      squares += static_cast<double>(z[k]) * static_cast<double>(z[k]);
    }
    potential = 0.5 * args.prior * squares;
  }
  const double* const values = args.values + row * args.values_per_row;
  for (int64_t k = 0; k < args.values_per_row; ++k) potential += values[k];
  return potential;
}

template <bool kPrior, class T>
LAE_INLINE void move_row(const RowDecideArgs<T>& args, int64_t row) {
  const int64_t first = row * args.d;
  const T prior = static_cast<T>(args.prior);
  for (int64_t i = first; i < first + args.d; ++i) args.x[i] = args.proposal[i];
  for (int64_t i = first; i < first + args.d; ++i) {
    args.grad[i] = kPrior ? args.grad_proposal[i] + prior * args.proposal[i]
                          : args.grad_proposal[i];
  }
}

template <class T>
LAE_INLINE void trace_row(const RowDecideArgs<T>& args, int64_t row) {
  const int64_t first = row * args.d;
  const size_t bytes = static_cast<size_t>(args.d) * sizeof(T);
  if (args.x_trace != nullptr) std::memcpy(args.x_trace + first, args.x + first, bytes);
  if (args.grad_trace != nullptr) std::memcpy(args.grad_trace + first, args.grad + first, bytes);
}

template <bool kPrior, class T>
LAE_INLINE RowSums decide_rows_loop(const RowDecideArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) double uniforms[kTile];
  RowSums total;
  for (int64_t base = begin; base < end; base += kTile) {
    const int64_t count = end - base < kTile ? end - base : kTile;
    draw_uniform_tile(args.rng, args.first_row + base, count, uniforms);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t row = base + i;
      const double proposed = row_potential(args, row);
      const Decision decision =
          decide(row_sums<kPrior>(args, row), args.potential[row], proposed, 1.0,
                 args.temperature, args.mh, uniforms[i]);
      args.accepted[row] = decision.accepted;
      if (decision.accepted) {
        move_row<kPrior>(args, row);
        args.potential[row] = proposed;
      }
      trace_row(args, row);
      total.prob += accept_prob(decision.log_ratio);
      total.accepted += decision.accepted;
      total.potential += args.potential[row];
    }
  }
  return total;
}

// A prior on x itself is part of the gradient; one on latents is in it already.
template <class T>
LAE_INLINE RowSums decide_rows(const RowDecideArgs<T>& args, int64_t begin, int64_t end) {
  if (args.prior != 0 && args.latents == nullptr) return decide_rows_loop<true>(args, begin, end);
  return decide_rows_loop<false>(args, begin, end);
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
  return decide_rows(args, begin, end);
}

LAE_CLONES RowSums decide_rows_chunk(const RowDecideArgs<double>& args, int64_t begin,
                                     int64_t end) {
  return decide_rows(args, begin, end);
}

}  // namespace lae::cpu
