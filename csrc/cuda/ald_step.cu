#include "kernels.cuh"

namespace lae::cuda {
namespace {

// What the first launch leaves for the second, followed by one RatioSums a block. The scalars are
// copied because the second launch overwrites their originals while its other blocks still run.
struct Snapshot {
  RngKey rng;
  double potential;
  double potential_proposal;
};
static_assert(sizeof(Snapshot) == 4 * sizeof(double));

template <class T>
struct StepArgs {
  T* phi;
  T* grad;
  double* potential;
  T* proposal;
  const T* grad_proposal;
  const double* potential_proposal;
  int64_t* rng;
  double* info;
  int64_t n;
  double step_size;
  double temperature;
  bool mh;

  __device__ RatioArgs<T> ratio() const { return {phi, grad, proposal, grad_proposal, n}; }
  __device__ Snapshot snapshot() const {
    return {load_rng(rng, 1), *potential, *potential_proposal};
  }
};

// Decides, selects this thread's share of the state and proposes from it. The whole block calls
// this with the same sums and snapshot.
template <class T>
__device__ void apply(const StepArgs<T>& a, const RatioSums& sums, const Snapshot& s) {
  const Decision decision =
      decide(sums, s.potential, s.potential_proposal, a.step_size, a.temperature, a.mh,
             accept_uniform(s.rng));
  const auto law = make_proposal<T>(a.step_size, a.temperature);
  const ProposeArgs<T> next =
      decision.accepted
          ? ProposeArgs<T>{a.proposal, a.grad_proposal, a.proposal, a.phi, a.grad, law, a.n}
          : ProposeArgs<T>{a.phi, a.grad, a.proposal, nullptr, nullptr, law, a.n};
  propose_share(next, {s.rng.seed, s.rng.step + 1});
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    if (decision.accepted) *a.potential = s.potential_proposal;
    a.rng[1] = static_cast<int64_t>(s.rng.step + 1);
    write_info(a.info, decision);
  }
}

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads) step_kernel(StepArgs<T> args) {
  // All threads read the scalars before block_sum's barrier, and thread 0 writes them after it.
  const Snapshot snapshot = args.snapshot();
  const RatioSums sums = block_sum(ratio_share(args.ratio()));
  apply(args, sums, snapshot);
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    step_sums_kernel(StepArgs<T> args, Snapshot* snapshot, RatioSums* partials) {
  const RatioSums sums = block_sum(ratio_share(args.ratio()));
  if (threadIdx.x == 0) partials[blockIdx.x] = sums;
  if (blockIdx.x == 0 && threadIdx.x == 0) *snapshot = args.snapshot();
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    step_apply_kernel(StepArgs<T> args, const Snapshot* snapshot, const RatioSums* partials) {
  const RatioSums sums = sum_partials(partials, gridDim.x);
  apply(args, sums, *snapshot);
}

template <class T>
void step(const Call& call, const StepArgs<T>& args) {
  const Launch launch(call);
  const Grid grid(args.n);
  if (grid.one_block()) {
    launch.run<step_kernel<T>>(1, grid.threads, args);
  } else {
    const int64_t doubles =
        (sizeof(Snapshot) + grid.blocks * sizeof(RatioSums)) / sizeof(double);
    const Tensor space = workspace(call, doubles);
    auto* const snapshot = reinterpret_cast<Snapshot*>(write<double>(space));
    auto* const partials = reinterpret_cast<RatioSums*>(snapshot + 1);
    launch.run<step_sums_kernel<T>>(grid.blocks, grid.threads, args, snapshot, partials);
    launch.run<step_apply_kernel<T>>(grid.blocks, grid.threads, args, snapshot, partials);
  }
}

void ald_step_(Tensor phi, Tensor grad, Tensor potential, Tensor proposal,
               const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
               Tensor info, double step_size, double temperature, bool mh) {
  const Call call("ald_step_", phi, device_type());
  call.check_step(grad, potential, proposal, grad_proposal, potential_proposal, rng, info,
                  step_size, temperature);

  Updated phi_work(phi), grad_work(grad), proposal_work(proposal), rng_work(rng), info_work(info);
  const Tensor grad_proposal_in = readable(grad_proposal);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    step(call, StepArgs<T>{write<T>(phi_work.work()), write<T>(grad_work.work()),
                           write<double>(potential), write<T>(proposal_work.work()),
                           read<T>(grad_proposal_in), read<double>(potential_proposal),
                           write<int64_t>(rng_work.work()), write<double>(info_work.work()),
                           phi.numel(), step_size, temperature, mh});
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&phi_work, &grad_work, &proposal_work, &rng_work, &info_work}) {
    updated->commit();
  }
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_step_", TORCH_BOX(&lae::cuda::ald_step_));
}
