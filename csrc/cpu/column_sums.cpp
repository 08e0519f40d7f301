#include <vector>

#include "../tensors.h"
#include "kernels.h"

namespace lae::cpu {
namespace {

constexpr int64_t kRowsDeep = 32;  // rows added in the tensors' own precision, then in double

// Adds rows [begin, end) of `grad`, times those of `factor` where there is one, to `totals`.
template <class T>
struct RowsIn {
  const T* grad;
  const T* factor;  // or null
  int64_t d;
};

template <class T>
LAE_INLINE void add_rows_loop(const RowsIn<T>& a, int64_t begin, int64_t end, T* __restrict sums,
                              double* __restrict totals) {
  for (int64_t base = begin; base < end; base += kRowsDeep) {
    for (int64_t j = 0; j < a.d; ++j) sums[j] = 0;
    for (int64_t i = base; i < end && i < base + kRowsDeep; ++i) {
      const T* __restrict grad = a.grad + i * a.d;
      if (a.factor != nullptr) {
        const T* __restrict factor = a.factor + i * a.d;
        for (int64_t j = 0; j < a.d; ++j) sums[j] += grad[j] * factor[j];
      } else {
        for (int64_t j = 0; j < a.d; ++j) sums[j] += grad[j];
      }
    }
    for (int64_t j = 0; j < a.d; ++j) totals[j] += static_cast<double>(sums[j]);
  }
}

LAE_CLONES void add_rows(const RowsIn<float>& a, int64_t begin, int64_t end, float* sums,
                         double* totals) {
  add_rows_loop(a, begin, end, sums, totals);
}
LAE_CLONES void add_rows(const RowsIn<double>& a, int64_t begin, int64_t end, double* sums,
                         double* totals) {
  add_rows_loop(a, begin, end, sums, totals);
}

struct Target {
  const Tensor& into;
  const Tensor& grad;
  const Tensor* factor;
};

// For each target, into += weight * (grad * factor).sum(0). Chunks of rows are summed apart, and
// their sums added in order, so that results do not depend on the number of threads.
template <class T, size_t count>
void add_sums(const Target (&targets)[count], double weight) {
  const int64_t n = targets[0].grad.size(0), d = targets[0].grad.size(1);
  const int64_t size = (rows_a_chunk(d) + kRowsDeep - 1) / kRowsDeep * kRowsDeep;
  const int64_t chunks = (n + size - 1) / size;
  std::vector<double> totals(chunks * count * d);
  const auto chunk_sums = [&](int64_t chunk, int64_t begin, int64_t end) {
    std::vector<T> sums(d);
    for (size_t k = 0; k < count; ++k) {
      const RowsIn<T> rows{read<T>(targets[k].grad),
                           targets[k].factor ? read<T>(*targets[k].factor) : nullptr, d};
      add_rows(rows, begin, end, sums.data(), totals.data() + (chunk * count + k) * d);
    }
  };
  for_each_chunk(n, chunk_sums, size);
  for (size_t k = 0; k < count; ++k) {
    T* const into = write<T>(targets[k].into);
    for (int64_t j = 0; j < d; ++j) {
      double total = 0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) total += totals[(chunk * count + k) * d + j];
      into[j] += static_cast<T>(weight * total);
    }
  }
}

void add_column_sums_(Tensor into, const Tensor& grad, double weight) {
  const Call call("add_column_sums_", grad, aoti_torch_device_type_cpu(), "grad");
  call.check_column_sums(into);
  Updated work(into);
  const Tensor grad_in = readable(grad);
  const Target targets[] = {{work.work(), grad_in, nullptr}};
  if (call.is_double()) add_sums<double>(targets, weight);
  else add_sums<float>(targets, weight);
  work.commit();
}

void add_norm_grads_(Tensor gain_grad, Tensor shift_grad, Tensor bias_grad, const Tensor& grad,
                     const Tensor& normed, const Tensor& grad_u, double weight) {
  const Call call("add_norm_grads_", grad, aoti_torch_device_type_cpu(), "grad");
  call.check_norm_grads(gain_grad, shift_grad, bias_grad, normed, grad_u);
  Updated gain(gain_grad), shift(shift_grad), bias(bias_grad);
  const Tensor grad_in = readable(grad), normed_in = readable(normed), u_in = readable(grad_u);
  const Target targets[] = {{gain.work(), grad_in, &normed_in},
                            {shift.work(), grad_in, nullptr},
                            {bias.work(), u_in, nullptr}};
  if (call.is_double()) add_sums<double>(targets, weight);
  else add_sums<float>(targets, weight);
  for (Updated* updated : {&gain, &shift, &bias}) updated->commit();
}

}  // namespace
}  // namespace lae::cpu

STABLE_TORCH_LIBRARY_IMPL(lae_fast, CPU, m) {
  m.impl("add_column_sums_", TORCH_BOX(&lae::cpu::add_column_sums_));
  m.impl("add_norm_grads_", TORCH_BOX(&lae::cpu::add_norm_grads_));
}
