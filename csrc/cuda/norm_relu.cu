#include <optional>

#include "kernels.cuh"

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

void norm_relu_(Tensor u, const Tensor& bias, const Tensor& gain, const Tensor& shift, Tensor y,
                Tensor rstd, double eps) {
  const Call call("norm_relu_", u, device_type(), "u");
  call.check_norm_relu(bias, gain, shift, y, rstd, eps);
  Updated u_work(u), y_work(y), rstd_work(rstd);
  const Tensor bias_in = readable(bias), gain_in = readable(gain), shift_in = readable(shift);
  const Launch launch(call);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const ForwardArgs<T> args{write<T>(u_work.work()), read<T>(bias_in), read<T>(gain_in),
                              read<T>(shift_in), write<T>(y_work.work()),
                              write<T>(rstd_work.work()), u.size(0), u.size(1), eps};
    launch.run<norm_relu_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&u_work, &y_work, &rstd_work}) updated->commit();
}

void norm_relu_backward_(Tensor grad, const Tensor& normed, const Tensor& y, const Tensor& rstd,
                         const Tensor& gain, Tensor grad_u, std::optional<Tensor> weight,
                         std::optional<Tensor> added, std::optional<Tensor> grad_input) {
  const Call call("norm_relu_backward_", grad, device_type(), "grad");
  call.check_norm_relu_backward(normed, y, rstd, gain, grad_u, weight, added, grad_input);
  Updated grad_work(grad), grad_u_work(grad_u);
  InputGrad input(weight, added, grad_input);
  const Tensor normed_in = readable(normed), y_in = readable(y), rstd_in = readable(rstd),
               gain_in = readable(gain);
  const Launch launch(call);
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    const BackwardArgs<T> args{write<T>(grad_work.work()), read<T>(normed_in), read<T>(y_in),
                               read<T>(rstd_in), read<T>(gain_in),
                               write<T>(grad_u_work.work()), input.weight_or_null<T>(),
                               input.added_or_null<T>(), input.grad_or_null<T>(), grad.size(0),
                               grad.size(1), input.inputs()};
    launch.run<norm_relu_backward_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  };
  if (call.is_double()) run(double{});
  else run(float{});
  for (Updated* updated : {&grad_work, &grad_u_work}) updated->commit();
  input.commit();
}

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  m.impl("norm_relu_", TORCH_BOX(&lae::cuda::norm_relu_));
  m.impl("norm_relu_backward_", TORCH_BOX(&lae::cuda::norm_relu_backward_));
}
