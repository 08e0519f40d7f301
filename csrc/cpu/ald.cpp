// CPU threads share the rows. Where rows are long, they share the elements of one row at a time.
#include "../ald.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "noise.h"

namespace lae::cpu {
namespace {

constexpr int64_t kShortLanes = 8;  // accumulators of a sum over few elements
constexpr int64_t kLongRow = 256;   // sums over this many elements or more run in kLanes
alignas(64) constexpr double kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Every element's step size and noise scale. The tables repeat the step sizes, one per dimension or
// one for all, so that a tile that starts at any dimension reads them in a straight line.
template <class T>
struct LawTables {
  explicit LawTables(const Law<T>& law)
      : period(law.count), step_size(period > 0 ? period + kTile : 0),
        noise_scale(step_size.size()) {
    for (int64_t i = 0; i < period; ++i) {
      const auto mine = make_proposal<T>(law.step_sizes[i], law.temperature);
      step_size[i] = mine.step_size;
      noise_scale[i] = mine.noise_scale;
    }
    repeat(step_size);
    repeat(noise_scale);
  }
  void repeat(std::vector<T>& values) const {
    if (period == 1) std::fill(values.begin(), values.end(), values[0]);
    for (size_t i = period; period > 1 && i < values.size(); ++i) values[i] = values[i - period];
  }
  int64_t period;
  std::vector<T> step_size, noise_scale;
};

template <class T>
struct Draw {
  Draw(const ProposeArgs<T>& args, RngKey rng) : args(args), tables(args.law), rng(rng) {}
  ProposeArgs<T> args;
  LawTables<T> tables;
  RngKey rng;
};

template <class T>
struct Step {
  explicit Step(const StepArgs<T>& args)
      : args(args), rng(load_rng(args.rng, 1)), next(args.next(), rng.next()) {}
  StepArgs<T> args;
  RngKey rng;  // of the decisions
  Draw<T> next;
};

// Proposals of elements [begin, end); `begin` is a multiple of four.
template <class T>
LAE_INLINE void propose_loop(const Draw<T>& draw, int64_t begin, int64_t end) {
  const ProposeArgs<T>& args = draw.args;
  alignas(64) T eps[kTile];
  for (int64_t base = begin; base < end; base += kTile) {
    draw_tile(draw.rng, static_cast<uint64_t>(args.first_block + base / 4), eps);
    const int64_t count = end - base < kTile ? end - base : kTile;
    const int64_t first = base % draw.tables.period;
    const T* const x = args.x + base;
    const T* const grad = args.grad + base;
    const T* const step_size = draw.tables.step_size.data() + first;
    const T* const noise_scale = draw.tables.noise_scale.data() + first;
    T* const proposal = args.proposal + base;
#pragma GCC ivdep
    for (int64_t i = 0; i < count; ++i) {
      proposal[i] = propose_element(x[i], grad[i], eps[i], {step_size[i], noise_scale[i]});
    }
  }
}

// The sums over elements [begin, end) of a row. With kPrior, adds the gradient of a prior on x.
template <bool kPrior, int64_t lanes, class T>
LAE_INLINE RatioSums ratio_loop(const StepArgs<T>& args, int64_t row, int64_t begin,
                                int64_t end) {
  alignas(64) double work[lanes] = {}, change[lanes] = {}, poison[lanes] = {};
  const T* const x = args.x + row * args.d;
  const T* const grad = args.grad + row * args.d;
  const T* const proposal = args.proposal + row * args.d;
  const T* const grad_proposal = args.grad_proposal + row * args.d;
  const double* const step_sizes = args.law.count == 1 ? nullptr : args.law.step_sizes;
  const T prior = static_cast<T>(args.prior);
  const auto add = [&](int64_t k, int64_t l, double weight) __attribute__((always_inline)) {
    const T whole = kPrior ? grad_proposal[k] + prior * proposal[k] : grad_proposal[k];
    add_ratio_terms(x[k], grad[k], proposal[k], whole, weight, work[l], change[l], poison[l]);
  };
  int64_t k = begin;
  for (; k + lanes <= end; k += lanes) {
    const double* const weights = step_sizes != nullptr ? step_sizes + k : kOnes;
    for (int64_t l = 0; l < lanes; ++l) add(k + l, l, weights[l]);
  }
  const double* const weights = step_sizes != nullptr ? step_sizes + k : kOnes;
  for (int64_t l = 0; k + l < end; ++l) add(k + l, l, weights[l]);
  return {add_lanes(work), add_lanes(change), add_lanes(poison)};
}

template <class T>
LAE_INLINE RatioSums ratio_sums(const StepArgs<T>& args, int64_t row, int64_t begin,
                                int64_t end) {
  if (args.prior_on_x()) {
    return args.d < kLongRow ? ratio_loop<true, kShortLanes>(args, row, begin, end)
                             : ratio_loop<true, kLanes>(args, row, begin, end);
  }
  return args.d < kLongRow ? ratio_loop<false, kShortLanes>(args, row, begin, end)
                           : ratio_loop<false, kLanes>(args, row, begin, end);
}

// Adds term(k) over 0 <= k < count; many terms run in lanes, so that the loop is vector arithmetic.
template <class Term>
LAE_INLINE double sum_terms(int64_t count, const Term& term) {
  double sum = 0;
  int64_t k = 0;
  if (count >= kLongRow) {
    alignas(64) double lanes[kLanes] = {};
    for (; k + kLanes <= count; k += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) lanes[l] += term(k + l);
    }
    sum = add_lanes(lanes);
  }
  for (; k < count; ++k) sum += term(k);
  return sum;
}

template <class T>
LAE_INLINE double row_potential(const StepArgs<T>& args, int64_t row) {
  double potential = 0;
  if (args.prior != 0) {
    const bool on_x = args.latents == nullptr;
    const int64_t count = on_x ? args.d : args.latents_per_row;
    const T* const z = (on_x ? args.proposal : args.latents) + row * count;
    const auto square = [&](int64_t k) __attribute__((always_inline)) {
      return static_cast<double>(z[k]) * static_cast<double>(z[k]);
    };
    potential = 0.5 * args.prior * sum_terms(count, square);
  }
  const double* const values = args.values + row * args.values_per_row;
  const auto value = [&](int64_t k) __attribute__((always_inline)) { return values[k]; };
  return potential + sum_terms(args.values_per_row, value);
}

// Decides a row by the sums over its elements.
template <class T>
LAE_INLINE void decide_row(const StepArgs<T>& args, int64_t row, const RatioSums& sums,
                           double uniform, RowSums& total) {
  const double proposed = row_potential(args, row);
  const Decision decision = decide(args, sums, args.potential[row], proposed, uniform);
  args.accepted[row] = decision.accepted;
  if (decision.accepted) args.potential[row] = proposed;
  add(total, row_sums(decision, args.potential[row]));
}

// Moves elements [begin, end) of one row, which is accepted.
template <class T>
LAE_INLINE void move_elements(const StepArgs<T>& args, int64_t begin, int64_t end) {
#pragma GCC ivdep
  for (int64_t i = begin; i < end; ++i) args.x[i] = args.proposal[i];
  if (args.prior_on_x()) {
    const T prior = static_cast<T>(args.prior);
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) {
      args.grad[i] = args.grad_proposal[i] + prior * args.proposal[i];
    }
  } else {
#pragma GCC ivdep
    for (int64_t i = begin; i < end; ++i) args.grad[i] = args.grad_proposal[i];
  }
}

// Moves those of elements [begin, end) whose row is accepted, then traces all of them and draws
// their next proposals, one tile at a time while it is in the cache. `begin` is a multiple of four.
// The next proposals may overwrite the pending ones.
template <class T>
LAE_INLINE void move_loop(const Step<T>& step, int64_t begin, int64_t end) {
  const StepArgs<T>& args = step.args;
  if (begin == end) return;  // where rows have no elements
  int64_t row = begin / args.d, row_end = (row + 1) * args.d;
  for (int64_t base = begin; base < end; base += kTile) {
    const int64_t stop = end - base < kTile ? end : base + kTile;
    for (int64_t first = base; first < stop;) {
      const int64_t last = row_end < stop ? row_end : stop;
      if (args.accepted[row]) move_elements(args, first, last);
      if (last == row_end) {
        ++row;
        row_end += args.d;
      }
      first = last;
    }
    const size_t bytes = static_cast<size_t>(stop - base) * sizeof(T);
    if (args.x_trace != nullptr) std::memcpy(args.x_trace + base, args.x + base, bytes);
    if (args.grad_trace != nullptr) std::memcpy(args.grad_trace + base, args.grad + base, bytes);
    propose_loop(step.next, base, stop);
  }
}

// The whole step of rows [begin, end); `begin` is a multiple of four.
template <class T>
LAE_INLINE RowSums step_loop(const Step<T>& step, int64_t begin, int64_t end) {
  const StepArgs<T>& args = step.args;
  alignas(64) double uniforms[kTile];
  RowSums total;
  for (int64_t base = begin; base < end; base += kTile) {
    const int64_t count = end - base < kTile ? end - base : kTile;
    draw_uniform_tile(step.rng, args.first_row + base, count, uniforms);
    for (int64_t i = 0; i < count; ++i) {
      decide_row(args, base + i, ratio_sums(args, base + i, 0, args.d), uniforms[i], total);
    }
  }
  move_loop(step, begin * args.d, end * args.d);
  return total;
}

// Function multiversioning does not reach templates, so each loop has a plain function.
#define LAE_LOOPS(T)                                                                         \
  LAE_CLONES void propose_chunk(const Draw<T>& draw, int64_t begin, int64_t end) {           \
    propose_loop(draw, begin, end);                                                          \
  }                                                                                          \
  LAE_CLONES RatioSums ratio_chunk(const StepArgs<T>& args, int64_t row, int64_t begin,      \
                                   int64_t end) {                                            \
    return ratio_sums(args, row, begin, end);                                                \
  }                                                                                          \
  LAE_CLONES RowSums step_chunk(const Step<T>& step, int64_t begin, int64_t end) {           \
    return step_loop(step, begin, end);                                                      \
  }                                                                                          \
  LAE_CLONES void move_chunk(const Step<T>& step, int64_t begin, int64_t end) {              \
    move_loop(step, begin, end);                                                             \
  }
LAE_LOOPS(float)
LAE_LOOPS(double)
#undef LAE_LOOPS

template <class T>
RowSums step_rows(const Step<T>& step) {
  const StepArgs<T>& args = step.args;
  if (args.d <= kChunk) {
    return sum_chunks<RowSums>(
        args.rows, [&](int64_t begin, int64_t end) { return step_chunk(step, begin, end); },
        rows_per_chunk(args.d));
  }
  RowSums total;
  for (int64_t row = 0; row < args.rows; ++row) {
    const RatioSums sums = sum_chunks<RatioSums>(args.d, [&](int64_t begin, int64_t end) {
      return ratio_chunk(args, row, begin, end);
    });
    const auto place = static_cast<uint64_t>(args.first_row + row);
    decide_row(args, row, sums, accept_uniform(step.rng, place), total);
  }
  for_each_chunk(args.rows * args.d, [&](int64_t, int64_t begin, int64_t end) {
    move_chunk(step, begin, end);
  });
  return total;
}

struct AldKernels : OnCpu {
  template <class T>
  static void propose(const Call&, const ProposeArgs<T>& args, const int64_t* rng,
                      int64_t rng_stride) {
    const Draw<T> draw(args, load_rng(rng, rng_stride));
    for_each_chunk(args.n, [&](int64_t, int64_t begin, int64_t end) {
      propose_chunk(draw, begin, end);
    });
  }

  template <class T>
  static void step(const Call&, const StepArgs<T>& args) {
    const Step<T> step(args);
    write_info(args.info, step_rows(step), args.rows);
    args.rng[1] = static_cast<int64_t>(step.next.rng.step);
  }
};

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  lae::register_ald<lae::cpu::AldKernels>(m);
}
