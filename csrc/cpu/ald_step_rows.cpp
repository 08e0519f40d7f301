#include "row_kernels.h"

namespace lae::cpu {
namespace {

template <class T>
RowSums step_rows(const RowDecideArgs<T>& args, T* next_proposal, int64_t n) {
  const RowSums sums = sum_chunks<RowSums>(
      n, [&](int64_t begin, int64_t end) { return decide_rows_chunk(args, begin, end); },
      [](RowSums& total, const RowSums& part) {
        total.prob += part.prob;
        total.accepted += part.accepted;
        total.potential += part.potential;
      },
      rows_a_chunk(args.d));
  const RowLaw<T> law(args.step_sizes, args.d, args.temperature);
  const RngKey next{args.rng.seed, args.rng.step + 1};
  propose_rows(RowProposeArgs<T>{args.x, args.grad, next_proposal, law, next, args.first_row}, n);
  return sums;
}

void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row, double prior, std::optional<Tensor> latents,
                    std::optional<Tensor> next_proposal, std::optional<Tensor> x_trace,
                    std::optional<Tensor> grad_trace) {
  const Call call("ald_step_rows_", x, aoti_torch_device_type_cpu(), "x");
  call.check_step_rows(grad, potential, proposal, grad_proposal, potential_proposal, rng,
                       accepted, info, step_sizes, temperature, first_row, prior, latents,
                       next_proposal, x_trace, grad_trace);
  RowStep step(x, grad, potential, proposal, grad_proposal, potential_proposal, rng, accepted,
               info, step_sizes, latents, next_proposal, x_trace, grad_trace);
  call.check_all_positive("step_sizes", read<double>(step.etas), x.size(1));

  int64_t* const counter = write<int64_t>(step.rng.work());
  const RngKey key{static_cast<uint64_t>(counter[0]), static_cast<uint64_t>(counter[1])};
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const RowDecideArgs<T> args{
        write<T>(step.x.work()), write<T>(step.grad.work()), write<double>(step.potential.work()),
        read<T>(step.proposal), read<T>(step.grad_proposal), read<double>(step.values),
        step.latents_or_null<T>(), step.x_trace_or_null<T>(), step.grad_trace_or_null<T>(),
        write<bool>(step.accepted.work()), read<double>(step.etas), x.size(1),
        step.values_per_row(), step.latents_per_row(), temperature, prior, mh, key, first_row};
    return step_rows(args, write<T>(step.next_proposal.work()), x.size(0));
  };
  const RowSums sums = call.is_double() ? run(double{}) : run(float{});

  counter[1] += 1;
  write_row_info(write<double>(step.info.work()), sums, x.size(0));
  step.commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_step_rows_", TORCH_BOX(&lae::cpu::ald_step_rows_));
}
