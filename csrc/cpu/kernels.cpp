#include "kernels.h"

#include "tile.h"

namespace lae::cpu {
namespace {

template <class T>
LAE_INLINE double propose_loop(const ProposeArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) T eps[kTile];
  alignas(64) double lanes[kLanes] = {};
  const Proposal<T> law = args.law;
  const RngKey rng = args.rng;
  const T* const phi = args.phi;
  const T* const grad = args.grad;
  T* const proposal = args.proposal;
  for (int64_t base = begin; base < end; base += kTile) {
    draw_tile(rng, static_cast<uint64_t>(base) / 4, eps);
    const int64_t count = end - base < kTile ? end - base : kTile;
    for (int64_t i = count; i < kTile; ++i) eps[i] = 0;
    for (int64_t i = 0; i < kTile; i += kLanes) {
      for (int64_t l = 0; l < kLanes; ++l) {
        const double e = static_cast<double>(eps[i + l]);
        lanes[l] += e * e;
      }
    }
    if (args.phi_copy != nullptr) {
      T* const phi_copy = args.phi_copy;
      T* const grad_copy = args.grad_copy;
#pragma GCC ivdep
      for (int64_t i = 0; i < count; ++i) {
        const T p = phi[base + i], g = grad[base + i];
        phi_copy[base + i] = p;
        grad_copy[base + i] = g;
        proposal[base + i] = propose_element(p, g, eps[i], law);
      }
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < count; ++i) {
        proposal[base + i] = propose_element(phi[base + i], grad[base + i], eps[i], law);
      }
    }
  }
  return add_lanes(lanes);
}

template <class T>
LAE_INLINE RatioSums ratio_loop(const RatioArgs<T>& args, int64_t begin, int64_t end) {
  alignas(64) double work[kLanes] = {}, change[kLanes] = {}, poison[kLanes] = {};
  const T* __restrict phi = args.phi;
  const T* __restrict grad = args.grad;
  const T* __restrict proposal = args.proposal;
  const T* __restrict grad_proposal = args.grad_proposal;
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) {
      add_ratio_terms(phi[i + l], grad[i + l], proposal[i + l], grad_proposal[i + l], 1.0, work[l],
                      change[l], poison[l]);
    }
  }
  for (int64_t l = 0; i + l < end; ++l) {
    add_ratio_terms(phi[i + l], grad[i + l], proposal[i + l], grad_proposal[i + l], 1.0, work[l],
                    change[l], poison[l]);
  }
  return {add_lanes(work), add_lanes(change), add_lanes(poison)};
}

}  // namespace

LAE_CLONES double propose_chunk(const ProposeArgs<float>& args, int64_t begin, int64_t end) {
  return propose_loop(args, begin, end);
}

LAE_CLONES double propose_chunk(const ProposeArgs<double>& args, int64_t begin, int64_t end) {
  return propose_loop(args, begin, end);
}

LAE_CLONES RatioSums ratio_chunk(const RatioArgs<float>& args, int64_t begin, int64_t end) {
  return ratio_loop(args, begin, end);
}

LAE_CLONES RatioSums ratio_chunk(const RatioArgs<double>& args, int64_t begin, int64_t end) {
  return ratio_loop(args, begin, end);
}

const char* instruction_set() {
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2)";
  return "x86-64 baseline";
#else
  return "compiler default";
#endif
}

}  // namespace lae::cpu
