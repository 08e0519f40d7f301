#include <tuple>

#include "kernels.cuh"

namespace lae::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads)
    propose_kernel(ProposeArgs<T> args, const int64_t* rng, int64_t rng_stride, double* sums) {
  const double sum = block_sum(propose_share(args, load_rng(rng, rng_stride)));
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    noise_sum_kernel(const double* partials, int count, double* total) {
  const double sum = sum_partials(partials, count);
  if (threadIdx.x == 0) *total = sum;
}

template <class T>
void propose(const Call& call, const Tensor& phi, const Tensor& grad, const Tensor& rng,
             const Tensor& proposal, const Tensor& noise_sq, double step_size,
             double temperature) {
  const Launch launch(call);
  const Grid grid(phi.numel());
  const ProposeArgs<T> args{read<T>(phi), read<T>(grad), write<T>(proposal), nullptr, nullptr,
                            make_proposal<T>(step_size, temperature), phi.numel()};
  const Tensor partials = grid.one_block() ? noise_sq : workspace(call, grid.blocks);
  launch.run<propose_kernel<T>>(grid.blocks, grid.threads, args, read<int64_t>(rng),
                                rng.stride(0), write<double>(partials));
  if (!grid.one_block()) {
    launch.run<noise_sum_kernel>(1, kThreads, read<double>(partials), grid.blocks,
                                 write<double>(noise_sq));
  }
}

std::tuple<Tensor, Tensor> ald_propose(const Tensor& phi, const Tensor& grad, const Tensor& rng,
                                       double step_size, double temperature) {
  const Call call("ald_propose", phi, device_type());
  call.check_propose(grad, rng, step_size, temperature);
  Tensor proposal = empty_like_phi(call), noise_sq = empty_scalar(call);
  const auto run = call.is_double() ? propose<double> : propose<float>;
  run(call, readable(phi), readable(grad), rng, proposal, noise_sq, step_size, temperature);
  return {proposal, noise_sq};
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_propose", TORCH_BOX(&lae::cuda::ald_propose));
}
