// Threads share the rows or, where these are long, the elements of each. One row is one chain on a
// whole matrix.
#include "../ald.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "noise.h"

namespace lae::cpu {
namespace {

constexpr int64_t kShortLanes = 8;  // accumulators of a sum over few elements
constexpr int64_t kLongRow = 256;   // elements from which a sum runs in kLanes accumulators
alignas(64) constexpr double kOnes[kLanes] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

// Every element's step size and noise scale. The tables repeat the step sizes, one per dimension or
// one for all, so that a tile that starts at any dimension reads them in a straight line.
template <class T>
struct Law {
  Law(const Tensor& step_sizes, double temperature)
      : period(step_sizes.numel()), step_size(period > 0 ? period + kTile : 0),
        noise_scale(step_size.size()) {
    const double* const eta = read<double>(step_sizes);
    for (int64_t i = 0; i < period; ++i) {
      const auto law = make_proposal<T>(eta[i], temperature);
      step_size[i] = law.step_size;
      noise_scale[i] = law.noise_scale;
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
struct ProposeArgs {
  const T* x;
  const T* grad;
  T* proposal;
  const Law<T>& law;
  RngKey rng;
  int64_t first_block;  // of the noise of the first four elements
};

// The step's arguments; `rng` is that of the decision.
template <class T>
struct StepArgs {
  T* x;
  T* grad;
  double* potential;
  const T* proposal;
  const T* grad_proposal;
  const double* values;  // their sums are the potentials of the proposals, before the prior
  const T* latents;      // what the prior is on, or null: the proposals themselves
  T* x_trace;            // where the states after the step are also written, or null
  T* grad_trace;
  bool* accepted;
  const double* step_sizes;  // one per dimension, or null:
  double step_size;          // of all dimensions; else 1
  int64_t rows, d, values_per_row, latents_per_row;
  double temperature, prior;
  bool mh;
  RngKey rng;
  int64_t first_row;

  bool prior_on_x() const { return prior != 0 && latents == nullptr; }
};

// Proposals of elements [begin, end); `begin` is a multiple of four.
template <class T>
LAE_INLINE void propose_loop(const ProposeArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) T eps[kTile];
  for (int64_t base = begin; base < end; base += kTile) {
    draw_tile(args.rng, static_cast<uint64_t>(args.first_block + base / 4), eps);
    const int64_t count = end - base < kTile ? end - base : kTile;
    const int64_t first = base % args.law.period;
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

// The sums over elements [begin, end) of a row. kPrior: the gradient of a prior on x itself is yet
// to be added.
template <bool kPrior, int64_t lanes, class T>
LAE_INLINE RatioSums ratio_loop(const StepArgs<T>& args, int64_t row, int64_t begin,
                                int64_t end) {
  alignas(64) double work[lanes] = {}, change[lanes] = {}, poison[lanes] = {};
  const T* const x = args.x + row * args.d;
  const T* const grad = args.grad + row * args.d;
  const T* const proposal = args.proposal + row * args.d;
  const T* const grad_proposal = args.grad_proposal + row * args.d;
  const T prior = static_cast<T>(args.prior);
  const auto add = [&](int64_t k, int64_t l, double weight) __attribute__((always_inline)) {
    const T whole = kPrior ? grad_proposal[k] + prior * proposal[k] : grad_proposal[k];
    add_ratio_terms(x[k], grad[k], proposal[k], whole, weight, work[l], change[l], poison[l]);
  };
  int64_t k = begin;
  for (; k + lanes <= end; k += lanes) {
    const double* const weights = args.step_sizes != nullptr ? args.step_sizes + k : kOnes;
    for (int64_t l = 0; l < lanes; ++l) add(k + l, l, weights[l]);
  }
  const double* const weights = args.step_sizes != nullptr ? args.step_sizes + k : kOnes;
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
  const Decision decision = decide(sums, args.potential[row], proposed, args.step_size,
                                   args.temperature, args.mh, uniform);
  args.accepted[row] = decision.accepted;
  if (decision.accepted) args.potential[row] = proposed;
  total.prob += accept_prob(decision.log_ratio);
  total.accepted += decision.accepted;
  total.potential += args.potential[row];
}

// Moves elements [begin, end), which lie in one row that is accepted.
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

// Moves the accepted of elements [begin, end), traces all and proposes from them, a tile at a time
// while it is in the cache; `begin` is a multiple of four. The next proposals may overwrite the
// pending ones.
template <class T>
LAE_INLINE void move_loop(const StepArgs<T>& args, const ProposeArgs<T>& next,
                          int64_t begin, int64_t end) {
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
    propose_loop(next, base, stop);
  }
}

// The whole step of rows [begin, end); `begin` is a multiple of four.
template <class T>
LAE_INLINE RowSums step_loop(const StepArgs<T>& args, const ProposeArgs<T>& next,
                             int64_t begin, int64_t end) {
  alignas(64) double uniforms[kTile];
  RowSums total;
  for (int64_t base = begin; base < end; base += kTile) {
    const int64_t count = end - base < kTile ? end - base : kTile;
    draw_uniform_tile(args.rng, args.first_row + base, count, uniforms);
    for (int64_t i = 0; i < count; ++i) {
      decide_row(args, base + i, ratio_sums(args, base + i, 0, args.d), uniforms[i], total);
    }
  }
  move_loop(args, next, begin * args.d, end * args.d);
  return total;
}

// Function multiversioning does not reach templates, so each loop has a plain function.
#define LAE_LOOPS(T)                                                                          \
  LAE_CLONES void propose_chunk(const ProposeArgs<T>& args, int64_t begin, int64_t end) {   \
    propose_loop(args, begin, end);                                                           \
  }                                                                                           \
  LAE_CLONES RatioSums ratio_chunk(const StepArgs<T>& args, int64_t row, int64_t begin,     \
                                   int64_t end) {                                             \
    return ratio_sums(args, row, begin, end);                                                 \
  }                                                                                           \
  LAE_CLONES RowSums step_chunk(const StepArgs<T>& args, const ProposeArgs<T>& next,     \
                                int64_t begin, int64_t end) {                                 \
    return step_loop(args, next, begin, end);                                                 \
  }                                                                                           \
  LAE_CLONES void move_chunk(const StepArgs<T>& args, const ProposeArgs<T>& next,        \
                             int64_t begin, int64_t end) {                                    \
    move_loop(args, next, begin, end);                                                        \
  }
LAE_LOOPS(float)
LAE_LOOPS(double)
#undef LAE_LOOPS

template <class T>
RowSums step_rows(const StepArgs<T>& args, const ProposeArgs<T>& next) {
  if (args.d <= kChunk) {
    return sum_chunks<RowSums>(
        args.rows, [&](int64_t begin, int64_t end) { return step_chunk(args, next, begin, end); },
        rows_per_chunk(args.d));
  }
  RowSums total;
  for (int64_t row = 0; row < args.rows; ++row) {
    const RatioSums sums = sum_chunks<RatioSums>(args.d, [&](int64_t begin, int64_t end) {
      return ratio_chunk(args, row, begin, end);
    });
    const auto place = static_cast<uint64_t>(args.first_row + row);
    decide_row(args, row, sums, accept_uniform(args.rng, place), total);
  }
  for_each_chunk(args.rows * args.d, [&](int64_t, int64_t begin, int64_t end) {
    move_chunk(args, next, begin, end);
  });
  return total;
}

void check_step_sizes(const Call& call, const Tensor& step_sizes) {
  for (int64_t i = 0; i < step_sizes.numel(); ++i) {
    call.check_positive("step_sizes", read<double>(step_sizes)[i]);
  }
}

Tensor ald_propose_rows(const Tensor& x, const Tensor& grad, const Tensor& rng,
                        const Tensor& step_sizes, double temperature, int64_t first_row) {
  const Call call("ald_propose_rows", "x", x, aoti_torch_device_type_cpu());
  check_propose_rows(call, grad, rng, step_sizes, temperature, first_row);
  const Tensor x_in = readable(x), grad_in = readable(grad), etas = readable(step_sizes);
  check_step_sizes(call, etas);

  const int64_t* const counter = read<int64_t>(rng);
  const RngKey key{static_cast<uint64_t>(counter[0]),
                   static_cast<uint64_t>(counter[rng.stride(0)])};
  Tensor proposal = empty_like_first(call);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const Law<T> law(etas, temperature);
    const ProposeArgs<T> args{read<T>(x_in), read<T>(grad_in), write<T>(proposal), law, key,
                              first_row / 4 * x.size(1)};
    for_each_chunk(x.numel(), [&](int64_t, int64_t begin, int64_t end) {
      propose_chunk(args, begin, end);
    });
  });
  return proposal;
}

void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row, double prior, std::optional<Tensor> latents,
                    std::optional<Tensor> next_proposal, std::optional<Tensor> x_trace,
                    std::optional<Tensor> grad_trace) {
  const Call call("ald_step_rows_", "x", x, aoti_torch_device_type_cpu());
  check_step_rows(call, grad, potential, proposal, grad_proposal, potential_proposal, rng,
                  accepted, info, step_sizes, temperature, first_row, prior, latents,
                  next_proposal, x_trace, grad_trace);
  StepTensors step(x, grad, potential, proposal, grad_proposal, potential_proposal, rng, accepted,
                   info, step_sizes, latents, next_proposal, x_trace, grad_trace);
  check_step_sizes(call, step.step_sizes);

  int64_t* const counter = write<int64_t>(step.rng.work());
  const RngKey key{static_cast<uint64_t>(counter[0]), static_cast<uint64_t>(counter[1])};
  const double* const etas = read<double>(step.step_sizes);
  const bool one_step_size = step.step_sizes.numel() == 1;
  const RowSums sums = call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const StepArgs<T> args{
        write<T>(step.x.work()), write<T>(step.grad.work()), write<double>(step.potential.work()),
        read<T>(step.proposal), read<T>(step.grad_proposal), read<double>(step.values),
        read_or_null<T>(step.latents), write_or_null<T>(step.x_trace),
        write_or_null<T>(step.grad_trace), write<bool>(step.accepted.work()),
        one_step_size ? nullptr : etas, one_step_size ? *etas : 1.0, step.rows, step.d,
        step.values_per_row(), step.latents_per_row(), temperature, prior, mh, key, first_row};
    const Law<T> law(step.step_sizes, temperature);
    return step_rows(args, {args.x, args.grad, write<T>(step.next_proposal.work()), law,
                            {key.seed, key.step + 1}, first_row / 4 * args.d});
  });

  counter[1] += 1;
  write_info(write<double>(step.info.work()), sums, step.rows);
  step.commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_propose_rows", TORCH_BOX(&lae::cpu::ald_propose_rows));
  m.impl("ald_step_rows_", TORCH_BOX(&lae::cpu::ald_step_rows_));
}
