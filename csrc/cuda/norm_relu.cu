#include "../norm_relu.h"

#include "blocks.cuh"

namespace lae::cuda {
namespace {

template <class T>
struct ForwardArgs {
  T* u;  // becomes the normalised values
  const T* bias;
  const T* gain;
  const T* shift;
  T* y;
  T* rstd;
  int64_t n, d;
  double eps;
};

template <class T>
struct BackwardArgs {
  T* grad;  // masked in place
  const T* normed;
  const T* y;
  const T* rstd;
  const T* gain;
  T* grad_u;
  const T* weight;  // (d, inputs), or null: the gradient of the input is not wanted
  const T* added;   // or null
  T* grad_input;
  int64_t n, d, inputs;
};

// A block takes a row at a time; a thread reads back only what it wrote itself. Sums are in the
// tensors' own precision, as PyTorch's: cards for desktops have few units for double.
template <class T>
__global__ void __launch_bounds__(kRowThreads) norm_relu_kernel(ForwardArgs<T> a) {
  const T width = static_cast<T>(a.d);
  for (int64_t i = blockIdx.x; i < a.n; i += gridDim.x) {
    T* const u = a.u + i * a.d;
    T* const y = a.y + i * a.d;
    T sum = 0;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      u[j] += a.bias[j];
      sum += u[j];
    }
    const T mean = block_sum(sum) / width;
    T square = 0;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      u[j] -= mean;
      square += u[j] * u[j];
    }
    const T rstd = T(1) / sqrt(block_sum(square) / width + static_cast<T>(a.eps));
    if (threadIdx.x == 0) a.rstd[i] = rstd;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      u[j] *= rstd;
      const T z = u[j] * a.gain[j] + a.shift[j];
      y[j] = z < T(0) ? T(0) : z;
    }
  }
}

// A row of the input's gradient, `grad_u weight + added`, a warp per element: inputs are few.
template <class T>
__device__ void input_row(const BackwardArgs<T>& a, int64_t i) {
  const T* const grad_u = a.grad_u + i * a.d;
  const int lane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (int64_t k = threadIdx.x / 32; k < a.inputs; k += warps) {
    T sum = 0;
    for (int64_t j = lane; j < a.d; j += 32) sum += grad_u[j] * a.weight[j * a.inputs + k];
    for (int offset = 16; offset > 0; offset /= 2) sum += shuffle_down(sum, offset);
    const int64_t at = i * a.inputs + k;
    if (lane == 0) a.grad_input[at] = a.added == nullptr ? sum : sum + a.added[at];
  }
}

template <class T>
__global__ void __launch_bounds__(kRowThreads) norm_relu_backward_kernel(BackwardArgs<T> a) {
  const T width = static_cast<T>(a.d);
  for (int64_t i = blockIdx.x; i < a.n; i += gridDim.x) {
    T* const grad = a.grad + i * a.d;
    T* const grad_u = a.grad_u + i * a.d;
    const T* const normed = a.normed + i * a.d;
    const T* const y = a.y + i * a.d;
    Pair<T> sums;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      grad[j] = y[j] > T(0) ? grad[j] : T(0);
      grad_u[j] = grad[j] * a.gain[j];
      sums.first += grad_u[j];
      sums.second += grad_u[j] * normed[j];
    }
    sums = block_sum(sums);
    const T mean = sums.first / width, slope = sums.second / width;
    for (int64_t j = threadIdx.x; j < a.d; j += blockDim.x) {
      grad_u[j] = a.rstd[i] * (grad_u[j] - mean - normed[j] * slope);
    }
    if (a.weight != nullptr) {
      __syncthreads();  // the row is complete
      input_row(a, i);
    }
  }
}

constexpr int kColumns = 32;  // a warp's threads read neighbouring columns
constexpr int kDeep = 16;     // threads that share a column's rows
constexpr int64_t kRowsPerBlock = 512;
constexpr int64_t kMaxParts = 64;

// into += weight * (grad * factor).sum(0)
template <class T>
struct ColumnSums {
  T* into;
  const T* grad;
  const T* factor;  // or null
};

// blockIdx.y chooses the target, blockIdx.z the part of the rows. Where there are several parts,
// their sums go to `partials`, (targets, parts, d), and a second launch adds them in order.
constexpr unsigned kTargets = 3;

template <class T>
struct Targets {
  ColumnSums<T> all[kTargets];
  int64_t n, d, rows_per_part;
  double weight;
  double* partials;  // or null
};

// The arguments are indexed where they lie, in constant memory.
template <class T>
__global__ void __launch_bounds__(kColumns * kDeep)
    column_sums_kernel(const __grid_constant__ Targets<T> a) {
  LAE_SHARED(double, parts, [kDeep][kColumns]);
  const ColumnSums<T>& target = a.all[blockIdx.y];
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
void add_column_sums(const Call& call, Targets<T> targets) {
  if (targets.d == 0) return;
  const Launch launch(call);
  const int64_t wanted = ceil_div(targets.n, kRowsPerBlock);
  const int64_t parts = wanted < 1 ? 1 : wanted < kMaxParts ? wanted : kMaxParts;
  targets.rows_per_part = ceil_div(targets.n, parts);
  const auto columns = static_cast<unsigned>(ceil_div(targets.d, kColumns));
  if (parts == 1) {
    launch.run<column_sums_kernel<T>>(dim3(columns, kTargets), kColumns * kDeep, targets);
    return;
  }
  const Tensor space = workspace(call, kTargets * parts * targets.d);
  targets.partials = write<double>(space);
  launch.run<column_sums_kernel<T>>(dim3(columns, kTargets, static_cast<unsigned>(parts)),
                                    kColumns * kDeep, targets);
  launch.run<column_parts_kernel<T>>(
      dim3(static_cast<unsigned>(ceil_div(targets.d, kThreads)), kTargets), kThreads, targets,
      static_cast<int>(parts));
}

void norm_relu_(Tensor u, const Tensor& bias, const Tensor& gain, const Tensor& shift, Tensor y,
                Tensor rstd, double eps) {
  const Call call("norm_relu_", "u", u, device_type());
  check_norm_relu(call, bias, gain, shift, y, rstd, eps);
  Updated u_work(u), y_work(y), rstd_work(rstd);
  const Tensor bias_in = readable(bias), gain_in = readable(gain), shift_in = readable(shift);
  const Launch launch(call);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const ForwardArgs<T> args{write<T>(u_work.work()), read<T>(bias_in), read<T>(gain_in),
                              read<T>(shift_in), write<T>(y_work.work()),
                              write<T>(rstd_work.work()), u.size(0), u.size(1), eps};
    launch.run<norm_relu_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  });
  for (Updated* updated : {&u_work, &y_work, &rstd_work}) updated->commit();
}

void norm_relu_backward_(Tensor grad, const Tensor& normed, const Tensor& y, const Tensor& rstd,
                         const Tensor& gain, Tensor grad_u, std::optional<Tensor> weight,
                         std::optional<Tensor> added, std::optional<Tensor> grad_input) {
  const Call call("norm_relu_backward_", "grad", grad, device_type());
  check_norm_relu_backward(call, normed, y, rstd, gain, grad_u, weight, added, grad_input);
  Updated grad_work(grad), grad_u_work(grad_u);
  InputGrad input(weight, added, grad_input);
  const Tensor normed_in = readable(normed), y_in = readable(y), rstd_in = readable(rstd),
               gain_in = readable(gain);
  const Launch launch(call);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const BackwardArgs<T> args{write<T>(grad_work.work()), read<T>(normed_in), read<T>(y_in),
                               read<T>(rstd_in), read<T>(gain_in),
                               write<T>(grad_u_work.work()), read_or_null<T>(input.weight),
                               read_or_null<T>(input.added), write_or_null<T>(input.grad),
                               grad.size(0), grad.size(1), input.inputs()};
    launch.run<norm_relu_backward_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  });
  for (Updated* updated : {&grad_work, &grad_u_work}) updated->commit();
  input.commit();
}

void add_norm_grads_(Tensor gain_grad, Tensor shift_grad, Tensor bias_grad, const Tensor& grad,
                     const Tensor& normed, const Tensor& grad_u, double weight) {
  const Call call("add_norm_grads_", "grad", grad, device_type());
  check_norm_grads(call, gain_grad, shift_grad, bias_grad, normed, grad_u);
  Updated gain(gain_grad), shift(shift_grad), bias(bias_grad);
  const Tensor grad_in = readable(grad), normed_in = readable(normed), u_in = readable(grad_u);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const Targets<T> targets{{{write<T>(gain.work()), read<T>(grad_in), read<T>(normed_in)},
                              {write<T>(shift.work()), read<T>(grad_in), nullptr},
                              {write<T>(bias.work()), read<T>(u_in), nullptr}},
                             grad.size(0), grad.size(1), 0, weight, nullptr};
    add_column_sums(call, targets);
  });
  for (Updated* updated : {&gain, &shift, &bias}) updated->commit();
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("norm_relu_", TORCH_BOX(&lae::cuda::norm_relu_));
  m.impl("norm_relu_backward_", TORCH_BOX(&lae::cuda::norm_relu_backward_));
  m.impl("add_norm_grads_", TORCH_BOX(&lae::cuda::add_norm_grads_));
}
