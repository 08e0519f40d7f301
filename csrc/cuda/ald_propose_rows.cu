#include "rows.cuh"

namespace lae::cuda {
namespace {

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads)
    rows_propose_kernel(RowProposeArgs<T> args, const int64_t* rng, int64_t rng_stride) {
  propose_rows_share(args, load_rng(rng, rng_stride));
}

Tensor ald_propose_rows(const Tensor& x, const Tensor& grad, const Tensor& rng,
                        const Tensor& step_sizes, double temperature, int64_t first_row) {
  const Call call("ald_propose_rows", x, device_type(), "x");
  call.check_propose_rows(grad, rng, step_sizes, temperature, first_row);
  const Tensor x_in = readable(x), grad_in = readable(grad), etas = readable(step_sizes);
  Tensor proposal = empty_like_phi(call);
  const Launch launch(call);
  const Grid grid(x.numel());
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const RowProposeArgs<T> args{read<T>(x_in), read<T>(grad_in), write<T>(proposal),
                                 read<double>(etas), x.size(1), x.numel(), temperature, first_row};
    launch.run<rows_propose_kernel<T>>(grid.blocks, grid.threads, args, read<int64_t>(rng),
                                       rng.stride(0));
  };
  if (call.is_double()) run(double{});
  else run(float{});
  return proposal;
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_propose_rows", TORCH_BOX(&lae::cuda::ald_propose_rows));
}
