#include "kernels.cuh"

namespace lae::cuda {
namespace {

constexpr int kColumns = 32;  // a warp's threads read neighbouring columns
constexpr int kDeep = 16;     // threads that share a column's rows

template <class T>
struct Target {
  T* into;
  const T* grad;
  const T* factor;  // or null
};

// blockIdx.y chooses the target.
template <class T>
struct Targets {
  Target<T> all[3];
  int64_t n, d;
  double weight;
};

template <class T>
__global__ void column_sums_kernel(Targets<T> a) {
  LAE_SHARED(double, parts, [kDeep][kColumns]);
  const Target<T> target = a.all[blockIdx.y];
  const int column = threadIdx.x % kColumns, lane = threadIdx.x / kColumns;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kColumns + column;
  double sum = 0;
  if (j < a.d) {
    for (int64_t i = lane; i < a.n; i += kDeep) {
      const double grad = static_cast<double>(target.grad[i * a.d + j]);
      sum += target.factor == nullptr
                 ? grad
                 : grad * static_cast<double>(target.factor[i * a.d + j]);
    }
  }
  parts[lane][column] = sum;
  __syncthreads();
  if (lane != 0 || j >= a.d) return;
  double total = 0;
  for (int part = 0; part < kDeep; ++part) total += parts[part][column];
  target.into[j] += static_cast<T>(a.weight * total);
}

template <class T>
void add_sums(const Call& call, const Targets<T>& targets, int count) {
  if (targets.d == 0) return;
  const Launch launch(call);
  const dim3 grid(static_cast<unsigned>((targets.d + kColumns - 1) / kColumns), count);
  launch.run<column_sums_kernel<T>>(grid, kColumns * kDeep, targets);
}

void add_column_sums_(Tensor into, const Tensor& grad, double weight) {
  const Call call("add_column_sums_", grad, device_type(), "grad");
  call.check_column_sums(into);
  Updated work(into);
  const Tensor grad_in = readable(grad);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    add_sums(call, Targets<T>{{{write<T>(work.work()), read<T>(grad_in), nullptr}},
                              grad.size(0), grad.size(1), weight}, 1);
  };
  if (call.is_double()) run(double{});
  else run(float{});
  work.commit();
}

void add_norm_grads_(Tensor gain_grad, Tensor shift_grad, Tensor bias_grad, const Tensor& grad,
                     const Tensor& normed, const Tensor& grad_u, double weight) {
  const Call call("add_norm_grads_", grad, device_type(), "grad");
  call.check_norm_grads(gain_grad, shift_grad, bias_grad, normed, grad_u);
  Updated gain(gain_grad), shift(shift_grad), bias(bias_grad);
  const Tensor grad_in = readable(grad), normed_in = readable(normed), u_in = readable(grad_u);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    add_sums(call, Targets<T>{{{write<T>(gain.work()), read<T>(grad_in), read<T>(normed_in)},
                               {write<T>(shift.work()), read<T>(grad_in), nullptr},
                               {write<T>(bias.work()), read<T>(u_in), nullptr}},
                              grad.size(0), grad.size(1), weight}, 3);
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&gain, &shift, &bias}) updated->commit();
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("add_column_sums_", TORCH_BOX(&lae::cuda::add_column_sums_));
  m.impl("add_norm_grads_", TORCH_BOX(&lae::cuda::add_norm_grads_));
}
