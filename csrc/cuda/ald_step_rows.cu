#include "rows.cuh"

namespace lae::cuda {
namespace {

// What the first launch leaves for the second, followed by one RowSums a block. The counter is
// copied because the second launch advances it while its other blocks still run.
struct Snapshot {
  RngKey rng;
};
static_assert(sizeof(Snapshot) == 2 * sizeof(double));
static_assert(sizeof(RowSums) == 2 * sizeof(double));

template <class T>
struct StepArgs {
  T* x;
  T* grad;
  double* potential;
  T* proposal;
  const T* grad_proposal;
  const double* potential_proposal;
  int64_t* rng;
  bool* accepted;
  double* info;
  const double* step_sizes;
  int64_t rows, d;
  double temperature;
  bool mh;
  int64_t first_row;
};

// Decides and selects a row with the `width` threads that share it (a power of two, at most a
// warp): each takes every `width`-th dimension, and shuffles give all of them the same sums.
template <class T>
__device__ Decision decide_row(const StepArgs<T>& a, RngKey rng, int64_t row, int lane,
                               int width) {
  RatioSums sums;
  const int64_t first = row * a.d;
  for (int64_t k = lane; k < a.d; k += width) {
    const int64_t i = first + k;
    add_ratio_terms(a.x[i], a.grad[i], a.proposal[i], a.grad_proposal[i], a.step_sizes[k],
                    sums.work, sums.grad_change, sums.poison);
  }
  // Adding with xor is commutative at every stage, so all threads get the same bits.
  for (int offset = width / 2; offset > 0; offset /= 2) {
    sums.work += __shfl_xor_sync(0xFFFFFFFFu, sums.work, offset);
    sums.grad_change += __shfl_xor_sync(0xFFFFFFFFu, sums.grad_change, offset);
    sums.poison += __shfl_xor_sync(0xFFFFFFFFu, sums.poison, offset);
  }
  return decide(sums, a.potential[row], a.potential_proposal[row], 1.0, a.temperature, a.mh,
                accept_uniform(rng, static_cast<uint64_t>(a.first_row + row)));
}

template <class T>
__device__ void move_row(const StepArgs<T>& a, int64_t row, int lane, int width) {
  const int64_t first = row * a.d;
  for (int64_t i = first + lane; i < first + a.d; i += width) {
    a.x[i] = a.proposal[i];
    a.grad[i] = a.grad_proposal[i];
  }
}

template <class T>
__global__ void decide_kernel(StepArgs<T> a, int width, Snapshot* snapshot, RowSums* partials) {
  const RngKey rng = load_rng(a.rng, 1);
  const int lane = threadIdx.x % width;
  const int64_t rows_a_pass = static_cast<int64_t>(gridDim.x) * blockDim.x / width;
  const int64_t mine = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / width;
  const int64_t passes = (a.rows + rows_a_pass - 1) / rows_a_pass;
  RowSums sums;
  // Every thread takes every pass, because whole warps must meet in the shuffles.
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t row = mine + pass * rows_a_pass;
    const bool real = row < a.rows;
    const Decision decision = decide_row(a, rng, real ? row : a.rows - 1, lane, width);
    // All threads of a row have read its potential before one of them overwrites it.
    __syncwarp();
    if (real && decision.accepted) move_row(a, row, lane, width);
    if (real && lane == 0) {
      a.accepted[row] = decision.accepted;
      if (decision.accepted) a.potential[row] = a.potential_proposal[row];
      sums.prob += accept_prob(decision.log_ratio);
      sums.accepted += decision.accepted ? 1.0 : 0.0;
    }
  }
  sums = block_sum(sums);
  if (threadIdx.x == 0) partials[blockIdx.x] = sums;
  if (blockIdx.x == 0 && threadIdx.x == 0) *snapshot = {rng};
}

template <class T>
__global__ void propose_kernel(StepArgs<T> a, int deciders, const Snapshot* snapshot,
                               const RowSums* partials) {
  const RngKey next{snapshot->rng.seed, snapshot->rng.step + 1};
  propose_rows_share(RowProposeArgs<T>{a.x, a.grad, a.proposal, a.step_sizes, a.d, a.rows * a.d,
                                       a.temperature, a.first_row},
                     next);
  if (blockIdx.x != 0) return;
  const RowSums sums = sum_partials(partials, deciders);
  if (threadIdx.x == 0) {
    a.rng[1] = static_cast<int64_t>(next.step);
    write_row_info(a.info, sums, a.rows);
  }
}

int threads_a_row(int64_t d) {
  int width = 1;
  while (width < 32 && width < d) width *= 2;
  return width;
}

template <class T>
void step_rows(const Call& call, const StepArgs<T>& args) {
  const Launch launch(call);
  const int width = threads_a_row(args.d);
  const int64_t wanted = (args.rows * width + kThreads - 1) / kThreads;
  const int deciders = static_cast<int>(wanted < 1 ? 1 : wanted < kMaxBlocks ? wanted : kMaxBlocks);
  const Tensor space =
      workspace(call, (sizeof(Snapshot) + deciders * sizeof(RowSums)) / sizeof(double));
  auto* const snapshot = reinterpret_cast<Snapshot*>(write<double>(space));
  auto* const partials = reinterpret_cast<RowSums*>(snapshot + 1);
  launch.run<decide_kernel<T>>(deciders, kThreads, args, width, snapshot, partials);
  const Grid grid(args.rows * args.d);
  launch.run<propose_kernel<T>>(grid.blocks, grid.threads, args, deciders, snapshot,
                                                                       partials);
}

void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row) {
  const Call call("ald_step_rows_", x, device_type(), "x");
  call.check_step_rows(grad, potential, proposal, grad_proposal, potential_proposal, rng,
                       accepted, info, step_sizes, temperature, first_row);

  Updated x_work(x), grad_work(grad), potential_work(potential), proposal_work(proposal),
      rng_work(rng), accepted_work(accepted), info_work(info);
  const Tensor grad_in = readable(grad_proposal), potential_in = readable(potential_proposal),
               etas = readable(step_sizes);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    step_rows(call, StepArgs<T>{write<T>(x_work.work()), write<T>(grad_work.work()),
                                write<double>(potential_work.work()),
                                write<T>(proposal_work.work()), read<T>(grad_in),
                                read<double>(potential_in), write<int64_t>(rng_work.work()),
                                write<bool>(accepted_work.work()),
                                write<double>(info_work.work()), read<double>(etas), x.size(0),
                                x.size(1), temperature, mh, first_row});
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&x_work, &grad_work, &potential_work, &proposal_work, &rng_work,
                           &accepted_work, &info_work}) {
    updated->commit();
  }
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_step_rows_", TORCH_BOX(&lae::cuda::ald_step_rows_));
}
