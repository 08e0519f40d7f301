#include "kernels.cuh"

namespace lae::cuda {
namespace {

constexpr int kColumns = 32;  // a warp's threads read neighbouring columns
constexpr int kDeep = 16;     // threads that share a column's rows
constexpr int64_t kRowsPerBlock = 512;
constexpr int64_t kMaxParts = 64;

template <class T>
struct Target {
  T* into;
  const T* grad;
  const T* factor;  // or null
};

// blockIdx.y chooses the target, blockIdx.z the part of the rows. Where there are several parts,
// their sums go to `partials`, (targets, parts, d), and a second launch adds them in order.
template <class T>
struct Targets {
  Target<T> all[3];
  int64_t n, d, rows_per_part;
  double weight;
  double* partials;  // or null
};

// The arguments are indexed where they lie, in constant memory.
template <class T>
__global__ void __launch_bounds__(kColumns * kDeep)
    column_sums_kernel(const __grid_constant__ Targets<T> a) {
  LAE_SHARED(double, parts, [kDeep][kColumns]);
  const Target<T>& target = a.all[blockIdx.y];
  const int column = threadIdx.x % kColumns, lane = threadIdx.x / kColumns;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kColumns + column;
  const int64_t first = blockIdx.z * a.rows_per_part, end = first + a.rows_per_part;
  double sum = 0;
  if (j < a.d) {
    for (int64_t i = first + lane; i < end && i < a.n; i += kDeep) {
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
  if (a.partials == nullptr) {
    target.into[j] += static_cast<T>(a.weight * total);
  } else {
    a.partials[(blockIdx.y * static_cast<int64_t>(gridDim.z) + blockIdx.z) * a.d + j] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    column_parts_kernel(const __grid_constant__ Targets<T> a, int parts) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= a.d) return;
  const double* const mine = a.partials + blockIdx.y * static_cast<int64_t>(parts) * a.d + j;
  double total = 0;
  for (int part = 0; part < parts; ++part) total += mine[part * a.d];
  a.all[blockIdx.y].into[j] += static_cast<T>(a.weight * total);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
void add_sums(const Call& call, Targets<T> targets, unsigned count) {
  if (targets.d == 0) return;
  const Launch launch(call);
  const int64_t wanted = ceil_div(targets.n, kRowsPerBlock);
  const int64_t parts = wanted < 1 ? 1 : wanted < kMaxParts ? wanted : kMaxParts;
  targets.rows_per_part = ceil_div(targets.n, parts);
  const auto columns = static_cast<unsigned>(ceil_div(targets.d, kColumns));
  if (parts == 1) {
    launch.run<column_sums_kernel<T>>(dim3(columns, count), kColumns * kDeep, targets);
    return;
  }
  const Tensor space = workspace(call, count * parts * targets.d);
  targets.partials = write<double>(space);
  launch.run<column_sums_kernel<T>>(dim3(columns, count, static_cast<unsigned>(parts)),
                                    kColumns * kDeep, targets);
  launch.run<column_parts_kernel<T>>(
      dim3(static_cast<unsigned>(ceil_div(targets.d, kThreads)), count), kThreads, targets,
      static_cast<int>(parts));
}

void add_column_sums_(Tensor into, const Tensor& grad, double weight) {
  const Call call("add_column_sums_", grad, device_type(), "grad");
  call.check_column_sums(into);
  Updated work(into);
  const Tensor grad_in = readable(grad);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    add_sums(call, Targets<T>{{{write<T>(work.work()), read<T>(grad_in), nullptr}},
                              grad.size(0), grad.size(1), 0, weight, nullptr}, 1);
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
                              grad.size(0), grad.size(1), 0, weight, nullptr}, 3);
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
