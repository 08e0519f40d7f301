#include "kernels.cuh"

namespace lae::cuda {
namespace {

struct Potentials {
  const double* current;
  const double* proposed;
};

template <class T>
__global__ void __launch_bounds__(kOneBlockThreads)
    ratio_kernel(RatioArgs<T> args, Potentials v, double step_size, double temperature,
                 double* log_ratio) {
  const RatioSums sums = block_sum(ratio_share(args));
  if (threadIdx.x == 0) {
    *log_ratio = log_ratio_of(sums, *v.current, *v.proposed, step_size, temperature);
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    ratio_sums_kernel(RatioArgs<T> args, RatioSums* partials) {
  const RatioSums sums = block_sum(ratio_share(args));
  if (threadIdx.x == 0) partials[blockIdx.x] = sums;
}

__global__ void __launch_bounds__(kThreads)
    ratio_finish_kernel(const RatioSums* partials, int count, Potentials v, double step_size,
                        double temperature, double* log_ratio) {
  const RatioSums sums = sum_partials(partials, count);
  if (threadIdx.x == 0) {
    *log_ratio = log_ratio_of(sums, *v.current, *v.proposed, step_size, temperature);
  }
}

template <class T>
void log_ratio_into(const Call& call, const RatioArgs<T>& args, Potentials v, double step_size,
                    double temperature, double* out) {
  const Launch launch(call);
  const Grid grid(args.n);
  if (grid.one_block()) {
    launch.run<ratio_kernel<T>>(1, grid.threads, args, v, step_size, temperature, out);
  } else {
    const Tensor partials = workspace(call, grid.blocks * (sizeof(RatioSums) / sizeof(double)));
    auto* const sums = reinterpret_cast<RatioSums*>(write<double>(partials));
    launch.run<ratio_sums_kernel<T>>(grid.blocks, grid.threads, args, sums);
    launch.run<ratio_finish_kernel>(1, kThreads, sums, grid.blocks, v, step_size, temperature,
                                    out);
  }
}

Tensor ald_log_ratio(const Tensor& phi, const Tensor& grad, const Tensor& potential,
                     const Tensor& proposal, const Tensor& grad_proposal,
                     const Tensor& potential_proposal, double step_size, double temperature) {
  const Call call("ald_log_ratio", phi, device_type());
  call.check_log_ratio(grad, potential, proposal, grad_proposal, potential_proposal, step_size,
                       temperature);
  const Tensor a = readable(phi), b = readable(grad), c = readable(proposal),
               d = readable(grad_proposal);
  const Potentials v{read<double>(potential), read<double>(potential_proposal)};
  Tensor log_ratio = empty_scalar(call);
  double* const out = write<double>(log_ratio);
  const int64_t n = phi.numel();
  if (call.is_double()) {
    const RatioArgs<double> args{read<double>(a), read<double>(b), read<double>(c),
                                 read<double>(d), n};
    log_ratio_into(call, args, v, step_size, temperature, out);
  } else {
    const RatioArgs<float> args{read<float>(a), read<float>(b), read<float>(c), read<float>(d), n};
    log_ratio_into(call, args, v, step_size, temperature, out);
  }
  return log_ratio;
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("ald_log_ratio", TORCH_BOX(&lae::cuda::ald_log_ratio));
}
