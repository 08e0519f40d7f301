#include "../tensors.h"
#include "kernels.h"

namespace lae::cpu {
namespace {

struct Options {
  double step_size, temperature;
  bool mh;
};

// The state as contiguous tensors, and its pending proposal evaluated.
struct Work {
  const Tensor &phi, &grad, &proposal, &grad_proposal;
  double potential, potential_proposal;
};

template <class T>
Decision step(const Work& state, RngKey rng, const Options& options) {
  T* const phi = write<T>(state.phi);
  T* const grad = write<T>(state.grad);
  T* const proposal = write<T>(state.proposal);
  const T* const grad_proposal = read<T>(state.grad_proposal);
  const int64_t n = state.phi.numel();

  const RatioSums sums = ratio_sums(RatioArgs<T>{phi, grad, proposal, grad_proposal}, n);
  const Decision decision = decide(sums, state.potential, state.potential_proposal,
                                   options.step_size, options.temperature, options.mh,
                                   accept_uniform(rng));

  const auto law = make_proposal<T>(options.step_size, options.temperature);
  const RngKey next{rng.seed, rng.step + 1};
  const ProposeArgs<T> args =
      decision.accepted ? ProposeArgs<T>{proposal, grad_proposal, proposal, phi, grad, law, next}
                        : ProposeArgs<T>{phi, grad, proposal, nullptr, nullptr, law, next};
  for_each_chunk(n, [&](int64_t, int64_t begin, int64_t end) { propose_chunk(args, begin, end); });
  return decision;
}

void ald_step_(Tensor phi, Tensor grad, Tensor potential, Tensor proposal,
               const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
               Tensor info, double step_size, double temperature, bool mh) {
  const Call call("ald_step_", phi, aoti_torch_device_type_cpu());
  call.check_step(grad, potential, proposal, grad_proposal, potential_proposal, rng, info,
                  step_size, temperature);

  Updated phi_work(phi), grad_work(grad), proposal_work(proposal), rng_work(rng), info_work(info);
  const Tensor grad_proposal_in = readable(grad_proposal);
  double* const v = write<double>(potential);
  int64_t* const counter = write<int64_t>(rng_work.work());
  const Work state{phi_work.work(), grad_work.work(), proposal_work.work(), grad_proposal_in,
                   *v, *read<double>(potential_proposal)};
  const RngKey key{static_cast<uint64_t>(counter[0]), static_cast<uint64_t>(counter[1])};
  const auto run = call.is_double() ? step<double> : step<float>;
  const Decision decision = run(state, key, {step_size, temperature, mh});

  if (decision.accepted) *v = state.potential_proposal;
  counter[1] += 1;
  write_info(write<double>(info_work.work()), decision);
  for (Updated* updated : {&phi_work, &grad_work, &proposal_work, &rng_work, &info_work}) {
    updated->commit();
  }
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_step_", TORCH_BOX(&lae::cpu::ald_step_));
}
