#include "row_kernels.h"

namespace lae::cpu {
namespace {

Tensor ald_propose_rows(const Tensor& x, const Tensor& grad, const Tensor& rng,
                        const Tensor& step_sizes, double temperature, int64_t first_row) {
  const Call call("ald_propose_rows", x, aoti_torch_device_type_cpu(), "x");
  call.check_propose_rows(grad, rng, step_sizes, temperature, first_row);

  const Tensor x_in = readable(x), grad_in = readable(grad), etas = readable(step_sizes);
  call.check_all_positive("step_sizes", read<double>(etas), x.size(1));
  const RngKey key = read_rng(rng);
  Tensor proposal = empty_like_phi(call);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const RowLaw<T> law(read<double>(etas), x.size(1), temperature);
    propose_rows(RowProposeArgs<T>{read<T>(x_in), read<T>(grad_in), write<T>(proposal), law, key,
                                   first_row},
                 x.size(0));
  };
  if (call.is_double()) run(double{});
  else run(float{});
  return proposal;
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_propose_rows", TORCH_BOX(&lae::cpu::ald_propose_rows));
}
