#include "../norm_relu.h"

#include "blocks.cuh"

namespace lae::cuda {
namespace {

// A block takes one row at a time, and a thread reads back only what it wrote itself. Sums are in
// the tensors' own precision, as in PyTorch: desktop cards have few units for double.
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

// One row of the input's gradient, `grad_u weight + added`, with one warp per element: inputs are
// few.
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

// How the rows are cut into parts. Where there are several, their sums go to `partials`,
// (sums, parts, d), and a second launch adds them in order.
struct Parts {
  int64_t rows;      // per part
  double* partials;  // or null
};

// blockIdx.y chooses the sum, blockIdx.z the part of the rows. The arguments are indexed where they
// lie, in constant memory.
template <class T>
__global__ void __launch_bounds__(kColumns * kDeep)
    column_sums_kernel(const __grid_constant__ ColumnSums<T> a, Parts by) {
  LAE_SHARED(double, shares, [kDeep][kColumns]);
  const ColumnSum<T>& target = a.all[blockIdx.y];
  const int column = threadIdx.x % kColumns, lane = threadIdx.x / kColumns;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * kColumns + column;
  const int64_t first = blockIdx.z * by.rows, end = first + by.rows;
  double sum = 0;
  if (j < a.d) {
    for (int64_t i = first + lane; i < end && i < a.n; i += kDeep) {
      const double grad = static_cast<double>(target.grad[i * a.d + j]);
      sum += target.factor == nullptr
                 ? grad
                 : grad * static_cast<double>(target.factor[i * a.d + j]);
    }
  }
  shares[lane][column] = sum;
  __syncthreads();
  if (lane != 0 || j >= a.d) return;
  double total = 0;
  for (int share = 0; share < kDeep; ++share) total += shares[share][column];
  if (by.partials == nullptr) {
    target.into[j] += static_cast<T>(a.weight * total);
  } else {
    by.partials[(blockIdx.y * static_cast<int64_t>(gridDim.z) + blockIdx.z) * a.d + j] = total;
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    column_parts_kernel(const __grid_constant__ ColumnSums<T> a, Parts by, int parts) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= a.d) return;
  const double* const mine = by.partials + blockIdx.y * static_cast<int64_t>(parts) * a.d + j;
  double total = 0;
  for (int part = 0; part < parts; ++part) total += mine[part * a.d];
  a.all[blockIdx.y].into[j] += static_cast<T>(a.weight * total);
}

struct NormReluKernels : OnCuda {
  template <class T>
  static void forward(const Call& call, const ForwardArgs<T>& args) {
    Launch(call).run<norm_relu_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  }

  template <class T>
  static void backward(const Call& call, const BackwardArgs<T>& args) {
    Launch(call).run<norm_relu_backward_kernel<T>>(row_blocks(args.n), kRowThreads, args);
  }

  template <class T>
  static void add_column_sums(const Call& call, const ColumnSums<T>& sums) {
    if (sums.d == 0) return;
    const Launch launch(call);
    const int64_t parts = clamp(ceil_div(sums.n, kRowsPerBlock), 1, kMaxParts);
    const auto columns = static_cast<unsigned>(ceil_div(sums.d, kColumns));
    Parts by{ceil_div(sums.n, parts), nullptr};
    if (parts == 1) {
      launch.run<column_sums_kernel<T>>(dim3(columns, kColumnSums), kColumns * kDeep, sums, by);
      return;
    }
    const Tensor space = workspace(call, kColumnSums * parts * sums.d);
    by.partials = write<double>(space);
    launch.run<column_sums_kernel<T>>(dim3(columns, kColumnSums, static_cast<unsigned>(parts)),
                                      kColumns * kDeep, sums, by);
    launch.run<column_parts_kernel<T>>(
        dim3(static_cast<unsigned>(ceil_div(sums.d, kThreads)), kColumnSums), kThreads, sums, by,
        static_cast<int>(parts));
  }
};

}  // namespace
}  // namespace lae::cuda

STABLE_TORCH_LIBRARY_IMPL(lae_fast, LAE_DEVICE, m) {
  lae::register_norm_relu<lae::cuda::NormReluKernels>(m);
}
