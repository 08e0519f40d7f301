#include <tuple>

#include "../tensors.h"
#include "kernels.h"

namespace lae::cpu {
namespace {

template <class T>
double propose(const Tensor& phi, const Tensor& grad, const Tensor& proposal, RngKey rng,
               double step_size, double temperature) {
  const ProposeArgs<T> args{read<T>(phi), read<T>(grad), write<T>(proposal), nullptr, nullptr,
                            make_proposal<T>(step_size, temperature), rng};
  return sum_chunks<double>(
      phi.numel(), [&](int64_t begin, int64_t end) { return propose_chunk(args, begin, end); },
      [](double& total, double part) { total += part; });
}

std::tuple<Tensor, Tensor> ald_propose(const Tensor& phi, const Tensor& grad, const Tensor& rng,
                                       double step_size, double temperature) {
  const Call call("ald_propose", phi, aoti_torch_device_type_cpu());
  call.check_propose(grad, rng, step_size, temperature);

  const Tensor phi_in = readable(phi), grad_in = readable(grad);
  const RngKey key = read_rng(rng);
  Tensor proposal = empty_like_phi(call), noise_sq = empty_scalar(call);
  const auto run = call.is_double() ? propose<double> : propose<float>;
  *write<double>(noise_sq) = run(phi_in, grad_in, proposal, key, step_size, temperature);
  return {proposal, noise_sq};
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("ald_propose", TORCH_BOX(&lae::cpu::ald_propose));
}
