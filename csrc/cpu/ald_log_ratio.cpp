#include "../tensors.h"
#include "kernels.h"

namespace lae::cpu {
namespace {

template <class T>
RatioSums sums_of(const Tensor& phi, const Tensor& grad, const Tensor& proposal,
                  const Tensor& grad_proposal) {
  return ratio_sums(RatioArgs<T>{read<T>(phi), read<T>(grad), read<T>(proposal),
                                 read<T>(grad_proposal)},
                    phi.numel());
}

Tensor ald_log_ratio(const Tensor& phi, const Tensor& grad, const Tensor& potential,
                     const Tensor& proposal, const Tensor& grad_proposal,
                     const Tensor& potential_proposal, double step_size, double temperature) {
  const Call call("ald_log_ratio", phi, aoti_torch_device_type_cpu());
  call.check_log_ratio(grad, potential, proposal, grad_proposal, potential_proposal, step_size,
                       temperature);

  const auto sums = call.is_double() ? sums_of<double> : sums_of<float>;
  Tensor log_ratio = empty_scalar(call);
  *write<double>(log_ratio) = log_ratio_of(
      sums(readable(phi), readable(grad), readable(proposal), readable(grad_proposal)),
      *read<double>(potential), *read<double>(potential_proposal), step_size, temperature);
  return log_ratio;
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_log_ratio", TORCH_BOX(&lae::cpu::ald_log_ratio));
}
