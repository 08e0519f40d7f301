// All blocks share the elements of a single row, which is one chain on a whole matrix. Of many
// rows, each has a team of threads within one block.
#include "../ald.h"

#include "../normal.h"
#include "blocks.cuh"

namespace lae::cuda {
namespace {

// Calls body(i, eps) for this thread's share of n elements, with the noise of each. Four elements
// share a Philox block, and a thread takes all four.
template <class T, class Body>
__device__ void for_each_noise(int64_t n, int64_t first_block, RngKey rng, const Body& body) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t group = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; 4 * group < n;
       group += stride) {
    const Words4 w = draw_words(rng, static_cast<uint64_t>(first_block + group), kNoise);
    T eps[4];
    normal_pair(w.w0, w.w1, eps[0], eps[1]);
    normal_pair(w.w2, w.w3, eps[2], eps[3]);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (4 * group + k < n) body(4 * group + k, eps[k]);
    }
  }
}

// This thread's share of the proposals.
template <class T>
__device__ void propose_share(const ProposeArgs<T>& a, RngKey rng) {
  const Proposal<T> shared = a.law.shared();
  for_each_noise<T>(a.n, a.first_block, rng, [&](int64_t i, T eps) {
    a.proposal[i] = propose_element(a.x[i], a.grad[i], eps, a.law.of(i, shared));
  });
}

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads)
    propose_kernel(ProposeArgs<T> args, const int64_t* rng, int64_t rng_stride) {
  propose_share(args, load_rng(rng, rng_stride));
}

// The share of one of the `width` threads of a row in its sums.
template <class T>
__device__ RowProposal row_share(const StepArgs<T>& a, int64_t row, int lane, int width) {
  RowProposal sums;
  const bool prior_on_x = a.prior_on_x();
  const int64_t first = row * a.d;
  double squares = 0;
  for (int64_t k = lane; k < a.d; k += width) {
    const int64_t i = first + k;
    const T proposed = a.proposal[i];
    add_ratio_terms(a.x[i], a.grad[i], proposed, a.whole_grad(i), a.law.weight(k),
                    sums.ratio.work, sums.ratio.grad_change, sums.ratio.poison);
    if (prior_on_x) squares += static_cast<double>(proposed) * static_cast<double>(proposed);
  }
  if (a.prior != 0 && !prior_on_x) {
    for (int64_t k = lane; k < a.latents_per_row; k += width) {
      const double z = static_cast<double>(a.latents[row * a.latents_per_row + k]);
      squares += z * z;
    }
  }
  sums.potential = 0.5 * a.prior * squares;
  for (int64_t k = lane; k < a.values_per_row; k += width) {
    sums.potential += a.values[row * a.values_per_row + k];
  }
  return sums;
}

template <class T>
__device__ Decision decide_row(const StepArgs<T>& a, int64_t row, const RowProposal& proposed,
                               double potential, RngKey rng) {
  const double uniform = accept_uniform(rng, static_cast<uint64_t>(a.first_row + row));
  return decide(a, proposed.ratio, potential, proposed.potential, uniform);
}

template <class T>
struct Point {
  T x, grad;
};

// Moves an element if its row is accepted, and traces it.
template <class T>
__device__ Point<T> move_element(const StepArgs<T>& a, int64_t i, bool accepted) {
  const Point<T> now = accepted ? Point<T>{a.proposal[i], a.whole_grad(i)}
                                : Point<T>{a.x[i], a.grad[i]};
  if (accepted) {
    a.x[i] = now.x;
    a.grad[i] = now.grad;
  }
  if (a.x_trace != nullptr) a.x_trace[i] = now.x;
  if (a.grad_trace != nullptr) a.grad_trace[i] = now.grad;
  return now;
}

// One row. Every block adds the same partial sums and so takes the same decision; each thread
// proposes from the elements that it moved itself.

// What the first of two launches leaves for the second, followed by one RowProposal per block. The
// second launch overwrites the originals while its other blocks still run.
struct RowSnapshot {
  RngKey rng;
  double potential;
};
static_assert(sizeof(RowSnapshot) == 3 * sizeof(double));

template <class T>
__device__ RowProposal grid_share(const StepArgs<T>& a) {
  const int threads = static_cast<int>(gridDim.x * blockDim.x);
  return row_share(a, 0, static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), threads);
}

// The whole block calls this with the same sums and snapshot.
template <class T>
__device__ void move_one_row(const StepArgs<T>& a, const RowProposal& proposed,
                             const RowSnapshot& before) {
  const Decision decision = decide_row(a, 0, proposed, before.potential, before.rng);
  const RngKey next = before.rng.next();
  const Proposal<T> shared = a.law.shared();
  for_each_noise<T>(a.d, a.next().first_block, next, [&](int64_t i, T eps) {
    const Point<T> now = move_element(a, i, decision.accepted);
    a.next_proposal[i] = propose_element(now.x, now.grad, eps, a.law.of(i, shared));
  });
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    const double potential = decision.accepted ? proposed.potential : before.potential;
    a.accepted[0] = decision.accepted;
    a.potential[0] = potential;
    a.rng[1] = static_cast<int64_t>(next.step);
    write_info(a.info, row_sums(decision, potential), 1);
  }
}

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads) one_row_step_kernel(StepArgs<T> a) {
  // All threads read these before block_sum's barrier, and thread 0 overwrites them after it.
  const RowSnapshot before{load_rng(a.rng, 1), a.potential[0]};
  const RowProposal proposed = block_sum(grid_share(a));
  move_one_row(a, proposed, before);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    one_row_sums_kernel(StepArgs<T> a, RowSnapshot* snapshot, RowProposal* partials) {
  const RowProposal proposed = block_sum(grid_share(a));
  if (threadIdx.x == 0) partials[blockIdx.x] = proposed;
  if (blockIdx.x == 0 && threadIdx.x == 0) *snapshot = {load_rng(a.rng, 1), a.potential[0]};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    one_row_move_kernel(StepArgs<T> a, const RowSnapshot* snapshot,
                        const RowProposal* partials) {
  const RowProposal proposed = sum_partials(partials, gridDim.x);
  move_one_row(a, proposed, *snapshot);
}

template <class T>
void step_one_row(const Call& call, const StepArgs<T>& args) {
  const Launch launch(call);
  const Grid grid(args.d);
  if (grid.one_block()) {
    launch.run<one_row_step_kernel<T>>(1, grid.threads, args);
    return;
  }
  const Tensor space = workspace(
      call, (sizeof(RowSnapshot) + grid.blocks * sizeof(RowProposal)) / sizeof(double));
  auto* const snapshot = reinterpret_cast<RowSnapshot*>(write<double>(space));
  auto* const partials = reinterpret_cast<RowProposal*>(snapshot + 1);
  launch.run<one_row_sums_kernel<T>>(grid.blocks, grid.threads, args, snapshot, partials);
  launch.run<one_row_move_kernel<T>>(grid.blocks, grid.threads, args, snapshot, partials);
}

// Many rows.

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
  __device__ RowProposal sum(const RowProposal& s) const { return block_sum(s); }
  __device__ int size() const { return blockDim.x; }
  __device__ void sync() const { __syncthreads(); }
};

// Decides and moves this block's rows; returns this thread's share of the statistics.
template <class T, class Team>
__device__ RowSums decide_rows(const StepArgs<T>& a, RngKey rng, Team team) {
  const int width = team.size(), lane = threadIdx.x % width;
  const int64_t rows_per_pass = static_cast<int64_t>(gridDim.x) * (blockDim.x / width);
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * (blockDim.x / width) +
                       threadIdx.x / width;
  const int64_t passes = ceil_div(a.rows, rows_per_pass);
  RowSums sums;
  // Every thread takes every pass, because a team's sum needs all its threads. A row past the end
  // is not read: its memory belongs to another tensor.
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t row = mine + pass * rows_per_pass;
    const bool real = row < a.rows;
    const RowProposal proposed =
        team.sum(real ? row_share(a, row, lane, width) : RowProposal{});
    const double current = real ? a.potential[row] : 0.0;
    const Decision decision = decide_row(a, row, proposed, current, rng);
    // All threads of a row have read its potential before one of them overwrites it.
    team.sync();
    if (!real) continue;
    const int64_t first = row * a.d;
    for (int64_t i = first + lane; i < first + a.d; i += width) {
      move_element(a, i, decision.accepted);
    }
    if (lane == 0) {
      a.accepted[row] = decision.accepted;
      if (decision.accepted) a.potential[row] = proposed.potential;
      add(sums, row_sums(decision, decision.accepted ? proposed.potential : current));
    }
  }
  return sums;
}

// One block does everything. With 1,024 threads a thread would have too few registers. No second
// block is launched, so this one may take all registers of a multiprocessor.
constexpr int kOneLaunchThreads = 512;

template <class T, class Team>
__global__ void __launch_bounds__(kOneLaunchThreads, 1)
    rows_step_kernel(StepArgs<T> a, Team team) {
  const RngKey rng = load_rng(a.rng, 1);
  // After the barriers of this sum every thread sees every row moved, and the counter was read.
  const RowSums sums = block_sum(decide_rows(a, rng, team));
  const RngKey next = rng.next();
  propose_share(a.next(), next);
  if (threadIdx.x == 0) {
    a.rng[1] = static_cast<int64_t>(next.step);
    write_info(a.info, sums, a.rows);
  }
}

// The first of two launches leaves the counter and one RowSums per block for the second, of which
// one block advances the original counter while the others still run.
static_assert(sizeof(RngKey) == 2 * sizeof(double));
static_assert(sizeof(RowSums) == 3 * sizeof(double));

template <class T, class Team>
__global__ void __launch_bounds__(kThreads)
    rows_decide_kernel(StepArgs<T> a, Team team, RngKey* before, RowSums* partials) {
  const RngKey rng = load_rng(a.rng, 1);
  const RowSums sums = block_sum(decide_rows(a, rng, team));
  if (threadIdx.x == 0) partials[blockIdx.x] = sums;
  if (blockIdx.x == 0 && threadIdx.x == 0) *before = rng;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    rows_next_kernel(StepArgs<T> a, int deciders, const RngKey* before,
                     const RowSums* partials) {
  const RngKey next = before->next();
  propose_share(a.next(), next);
  if (blockIdx.x != 0) return;
  const RowSums sums = sum_partials(partials, deciders);
  if (threadIdx.x == 0) {
    a.rng[1] = static_cast<int64_t>(next.step);
    write_info(a.info, sums, a.rows);
  }
}

constexpr int64_t kLongRow = 256;  // a row of this many elements or more has a block of its own

int threads_per_row(int64_t d) {
  int width = 1;
  while (width < 32 && width < d) width *= 2;
  return width;
}

template <class T, class Team>
void step_rows(const Call& call, const StepArgs<T>& args, Team team, int64_t threads) {
  const Launch launch(call);
  if (args.rows * args.d <= kOneBlockLimit) {
    launch.run<rows_step_kernel<T, Team>>(1, whole_warps(threads, kOneLaunchThreads), args, team);
    return;
  }
  const int deciders = blocks_of(threads);
  const Tensor space =
      workspace(call, (sizeof(RngKey) + deciders * sizeof(RowSums)) / sizeof(double));
  auto* const before = reinterpret_cast<RngKey*>(write<double>(space));
  auto* const partials = reinterpret_cast<RowSums*>(before + 1);
  launch.run<rows_decide_kernel<T, Team>>(deciders, kThreads, args, team, before, partials);
  const Grid grid(args.rows * args.d);
  launch.run<rows_next_kernel<T>>(grid.blocks, grid.threads, args, deciders, before, partials);
}

template <class T>
void step_rows(const Call& call, const StepArgs<T>& args) {
  if (args.rows == 1) {
    step_one_row(call, args);
  } else if (args.d >= kLongRow) {
    // In one launch, one block takes the rows in turn: it has the threads that one row can use.
    const bool one = args.rows * args.d <= kOneBlockLimit;
    step_rows(call, args, BlockTeam{}, one ? (args.d + 1) / 2 : args.rows * kThreads);
  } else {
    const int width = threads_per_row(args.d);
    step_rows(call, args, WarpTeam{width}, args.rows * width);
  }
}

struct AldKernels : OnCuda {
  template <class T>
  static void propose(const Call& call, const ProposeArgs<T>& args, const int64_t* rng,
                      int64_t rng_stride) {
    const Grid grid(args.n);
    Launch(call).run<propose_kernel<T>>(grid.blocks, grid.threads, args, rng, rng_stride);
  }

  template <class T>
  static void step(const Call& call, const StepArgs<T>& args) {
    step_rows(call, args);
  }
};

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  lae::register_ald<lae::cuda::AldKernels>(m);
}
