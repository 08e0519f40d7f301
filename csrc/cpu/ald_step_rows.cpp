#include "row_kernels.h"

namespace lae::cpu {
namespace {

template <class T>
RowSums step_rows(const RowDecideArgs<T>& args, T* proposal, int64_t n) {
  const RowSums sums = sum_chunks<RowSums>(
      n, [&](int64_t begin, int64_t end) { return decide_rows_chunk(args, begin, end); },
      [](RowSums& total, const RowSums& part) {
        total.prob += part.prob;
        total.accepted += part.accepted;
      },
      rows_a_chunk(args.d));
  const RowLaw<T> law(args.step_sizes, args.d, args.temperature);
  const RngKey next{args.rng.seed, args.rng.step + 1};
  propose_rows(RowProposeArgs<T>{args.x, args.grad, proposal, law, next, args.first_row}, n);
  return sums;
}

void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row) {
  const Call call("ald_step_rows_", x, aoti_torch_device_type_cpu(), "x");
  call.check_step_rows(grad, potential, proposal, grad_proposal, potential_proposal, rng,
                       accepted, info, step_sizes, temperature, first_row);
  const Tensor etas = readable(step_sizes);
  call.check_all_positive("step_sizes", read<double>(etas), x.size(1));

  Updated x_work(x), grad_work(grad), potential_work(potential), proposal_work(proposal),
      rng_work(rng), accepted_work(accepted), info_work(info);
  const Tensor grad_in = readable(grad_proposal), potential_in = readable(potential_proposal);
  int64_t* const counter = write<int64_t>(rng_work.work());
  const RngKey key{static_cast<uint64_t>(counter[0]), static_cast<uint64_t>(counter[1])};
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    T* const drawn = write<T>(proposal_work.work());
    const RowDecideArgs<T> args{
        write<T>(x_work.work()), write<T>(grad_work.work()), write<double>(potential_work.work()),
        drawn, read<T>(grad_in), read<double>(potential_in), write<bool>(accepted_work.work()),
        read<double>(etas), x.size(1), temperature, mh, key, first_row};
    return step_rows(args, drawn, x.size(0));
  };
  const RowSums sums = call.is_double() ? run(double{}) : run(float{});

  counter[1] += 1;
  write_row_info(write<double>(info_work.work()), sums, x.size(0));
  for (Updated* updated : {&x_work, &grad_work, &potential_work, &proposal_work, &rng_work,
                           &accepted_work, &info_work}) {
    updated->commit();
  }
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_step_rows_", TORCH_BOX(&lae::cpu::ald_step_rows_));
}
