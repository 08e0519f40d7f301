#include <optional>

#include "rows.cuh"

namespace lae::cuda {
namespace {

// What the first of two launches leaves for the second, followed by one RowSums per block. The
// counter is copied because the second launch advances it while its other blocks still run.
struct RowsSnapshot {
  RngKey rng;
};
static_assert(sizeof(RowsSnapshot) == 2 * sizeof(double));
static_assert(sizeof(RowSums) == 3 * sizeof(double));

template <class T>
struct RowsArgs {
  T* x;
  T* grad;
  double* potential;
  const T* proposal;
  T* next_proposal;
  T* x_trace;     // or null
  T* grad_trace;  // or null
  const T* grad_proposal;
  const double* values;
  const T* latents;  // or null
  int64_t* rng;
  bool* accepted;
  double* info;
  const double* step_sizes;
  int64_t rows, d, values_per_row, latents_per_row;
  double temperature, prior;
  bool mh;
  int64_t first_row;

  // The proposal's whole gradient: the prior on x itself is added here, one on latents is not.
  __device__ T proposed_grad(int64_t i) const {
    return latents == nullptr && prior != 0 ? grad_proposal[i] + static_cast<T>(prior) * proposal[i]
                                            : grad_proposal[i];
  }
};

struct RowProposal {
  RatioSums ratio;
  double potential = 0;
};

// The share of one of the `width` threads of a row in its sums.
template <class T>
__device__ RowProposal row_share(const RowsArgs<T>& a, int64_t row, int lane, int width) {
  RowProposal sums;
  const int64_t first = row * a.d;
  double squares = 0;
  for (int64_t k = lane; k < a.d; k += width) {
    const int64_t i = first + k;
    const T proposed = a.proposal[i];
    add_ratio_terms(a.x[i], a.grad[i], proposed, a.proposed_grad(i), a.step_sizes[k],
                    sums.ratio.work, sums.ratio.grad_change, sums.ratio.poison);
    squares += static_cast<double>(proposed) * static_cast<double>(proposed);
  }
  if (a.latents != nullptr) {
    squares = 0;
    for (int64_t k = lane; k < a.latents_per_row; k += width) {
      const double z = static_cast<double>(a.latents[row * a.latents_per_row + k]);
      squares += z * z;
    }
  }
  if (a.prior != 0) sums.potential = 0.5 * a.prior * squares;
  for (int64_t k = lane; k < a.values_per_row; k += width) {
    sums.potential += a.values[row * a.values_per_row + k];
  }
  return sums;
}

// The threads that share a row: `width` neighbours in a warp, a power of two of them.
struct WarpTeam {
  int width;

  // Adding with xor is commutative at every stage, so all threads get the same bits.
  __device__ RowProposal sum(RowProposal s) const {
    for (int offset = width / 2; offset > 0; offset /= 2) {
      s.ratio.work += __shfl_xor_sync(0xFFFFFFFFu, s.ratio.work, offset);
      s.ratio.grad_change += __shfl_xor_sync(0xFFFFFFFFu, s.ratio.grad_change, offset);
      s.ratio.poison += __shfl_xor_sync(0xFFFFFFFFu, s.ratio.poison, offset);
      s.potential += __shfl_xor_sync(0xFFFFFFFFu, s.potential, offset);
    }
    return s;
  }
  __device__ int size() const { return width; }
  __device__ void sync() const { __syncwarp(); }
};

// A whole block, where rows are long.
struct BlockTeam {
  __device__ RowProposal sum(RowProposal s) const {
    const RatioSums ratio = block_sum(s.ratio);
    return {ratio, block_sum(s.potential)};
  }
  __device__ int size() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};

template <class T>
__device__ void move_row(const RowsArgs<T>& a, int64_t row, int lane, int width, bool accepted) {
  const int64_t first = row * a.d;
  for (int64_t i = first + lane; i < first + a.d; i += width) {
    const T x = accepted ? a.proposal[i] : a.x[i];
    const T grad = accepted ? a.proposed_grad(i) : a.grad[i];
    if (accepted) {
      a.x[i] = x;
      a.grad[i] = grad;
    }
    if (a.x_trace != nullptr) a.x_trace[i] = x;
    if (a.grad_trace != nullptr) a.grad_trace[i] = grad;
  }
}

// Decides and moves this block's rows; returns this thread's share of the statistics.
template <class T, class Team>
__device__ RowSums decide_rows(const RowsArgs<T>& a, RngKey rng, Team team) {
  const int width = team.size(), lane = threadIdx.x % width;
  const int64_t rows_per_pass = static_cast<int64_t>(gridDim.x) * (blockDim.x / width);
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * (blockDim.x / width) +
                       threadIdx.x / width;
  const int64_t passes = (a.rows + rows_per_pass - 1) / rows_per_pass;
  RowSums sums;
  // Every thread takes every pass, because whole teams meet in the sums; a row that is not there
  // is not read, for its memory is another's.
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t row = mine + pass * rows_per_pass;
    const bool real = row < a.rows;
    const RowProposal proposed =
        team.sum(real ? row_share(a, row, lane, width) : RowProposal{});
    const double current = real ? a.potential[row] : 0.0;
    const Decision decision =
        decide(proposed.ratio, current, proposed.potential, 1.0, a.temperature, a.mh,
               accept_uniform(rng, static_cast<uint64_t>(a.first_row + row)));
    // All threads of a row have read its potential before one of them overwrites it.
    team.sync();
    if (!real) continue;
    move_row(a, row, lane, width, decision.accepted);
    if (lane == 0) {
      a.accepted[row] = decision.accepted;
      if (decision.accepted) a.potential[row] = proposed.potential;
      sums.prob += accept_prob(decision.log_ratio);
      sums.accepted += decision.accepted ? 1.0 : 0.0;
      sums.potential += decision.accepted ? proposed.potential : current;
    }
  }
  return sums;
}

template <class T>
__device__ void propose_next(const RowsArgs<T>& a, RngKey next) {
  propose_rows_share(RowProposeArgs<T>{a.x, a.grad, a.next_proposal, a.step_sizes, a.d,
                                       a.rows * a.d, a.temperature, a.first_row},
                     next);
}

// One block does everything. With 1,024 threads a thread would have too few registers.
constexpr int kOneLaunchThreads = 512;

template <class T, class Team>
__global__ void __launch_bounds__(kOneLaunchThreads) rows_step_kernel(RowsArgs<T> a, Team team) {
  const RngKey rng = load_rng(a.rng, 1);
  // After the barriers of this sum every thread sees every row moved, and the counter was read.
  const RowSums sums = block_sum(decide_rows(a, rng, team));
  propose_next(a, {rng.seed, rng.step + 1});
  if (threadIdx.x == 0) {
    a.rng[1] = static_cast<int64_t>(rng.step + 1);
    write_row_info(a.info, sums, a.rows);
  }
}

template <class T, class Team>
__global__ void __launch_bounds__(kThreads)
    rows_decide_kernel(RowsArgs<T> a, Team team, RowsSnapshot* snapshot, RowSums* partials) {
  const RngKey rng = load_rng(a.rng, 1);
  const RowSums sums = block_sum(decide_rows(a, rng, team));
  if (threadIdx.x == 0) partials[blockIdx.x] = sums;
  if (blockIdx.x == 0 && threadIdx.x == 0) *snapshot = {rng};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    rows_next_kernel(RowsArgs<T> a, int deciders, const RowsSnapshot* snapshot,
                     const RowSums* partials) {
  const RngKey next{snapshot->rng.seed, snapshot->rng.step + 1};
  propose_next(a, next);
  if (blockIdx.x != 0) return;
  const RowSums sums = sum_partials(partials, deciders);
  if (threadIdx.x == 0) {
    a.rng[1] = static_cast<int64_t>(next.step);
    write_row_info(a.info, sums, a.rows);
  }
}

constexpr int64_t kLongRow = 256;  // elements from which a row has a block of its own

int threads_per_row(int64_t d) {
  int width = 1;
  while (width < 32 && width < d) width *= 2;
  return width;
}

int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

template <class T, class Team>
void step_rows(const Call& call, const RowsArgs<T>& args, Team team, int64_t threads) {
  const Launch launch(call);
  if (args.rows * args.d <= kOneBlockLimit) {
    const int64_t whole_warps = (threads + 31) / 32 * 32;
    launch.run<rows_step_kernel<T, Team>>(
        1, static_cast<int>(clamp(whole_warps, 32, kOneLaunchThreads)), args, team);
    return;
  }
  const int64_t wanted = (threads + kThreads - 1) / kThreads;
  const int deciders = static_cast<int>(clamp(wanted, 1, kMaxBlocks));
  const Tensor space =
      workspace(call, (sizeof(RowsSnapshot) + deciders * sizeof(RowSums)) / sizeof(double));
  auto* const snapshot = reinterpret_cast<RowsSnapshot*>(write<double>(space));
  auto* const partials = reinterpret_cast<RowSums*>(snapshot + 1);
  launch.run<rows_decide_kernel<T, Team>>(deciders, kThreads, args, team, snapshot, partials);
  const Grid grid(args.rows * args.d);
  launch.run<rows_next_kernel<T>>(grid.blocks, grid.threads, args, deciders, snapshot, partials);
}

template <class T>
void step_rows(const Call& call, const RowsArgs<T>& args) {
  if (args.d >= kLongRow) {
    // In one launch a block takes the rows in turn, so that threads are as many as a row feeds.
    const bool one = args.rows * args.d <= kOneBlockLimit;
    step_rows(call, args, BlockTeam{}, one ? (args.d + 1) / 2 : args.rows * kThreads);
  } else {
    const int width = threads_per_row(args.d);
    step_rows(call, args, WarpTeam{width}, args.rows * width);
  }
}

void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row, double prior, std::optional<Tensor> latents,
                    std::optional<Tensor> next_proposal, std::optional<Tensor> x_trace,
                    std::optional<Tensor> grad_trace) {
  const Call call("ald_step_rows_", x, device_type(), "x");
  call.check_step_rows(grad, potential, proposal, grad_proposal, potential_proposal, rng,
                       accepted, info, step_sizes, temperature, first_row, prior, latents,
                       next_proposal, x_trace, grad_trace);

  RowStep step(x, grad, potential, proposal, grad_proposal, potential_proposal, rng, accepted,
               info, step_sizes, latents, next_proposal, x_trace, grad_trace);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    step_rows(call, RowsArgs<T>{
        write<T>(step.x.work()), write<T>(step.grad.work()), write<double>(step.potential.work()),
        read<T>(step.proposal), write<T>(step.next_proposal.work()), step.x_trace_or_null<T>(),
        step.grad_trace_or_null<T>(), read<T>(step.grad_proposal), read<double>(step.values),
        step.latents_or_null<T>(), write<int64_t>(step.rng.work()),
        write<bool>(step.accepted.work()), write<double>(step.info.work()),
        read<double>(step.etas), x.size(0), x.size(1), step.values_per_row(),
        step.latents_per_row(), temperature, prior, mh, first_row});
  };
  if (call.is_double()) run(double{});
  else run(float{});
  step.commit();
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_step_rows_", TORCH_BOX(&lae::cuda::ald_step_rows_));
}
