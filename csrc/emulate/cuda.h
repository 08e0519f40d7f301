// CUDA for the CPU: what csrc/cuda uses of it, for tests on machines without a GPU.
//
// Every CUDA thread is a fiber, every block a set of fibers that the scheduler runs until all have
// ended. What a GPU would not forgive ends the launch with an error: a barrier that not all threads
// reach, a shuffle among lanes that diverged or have ended, memory written past its end, a launch
// beyond the limits. See scheduler.cpp.
#pragma once

#include <torch/csrc/stable/c/shim.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <string_view>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
using cudaStream_t = void*;

namespace emulate {

using Where = std::source_location;

// What a kernel sees of itself.
struct Thread {
  uint3 thread, block;
  dim3 block_dim, grid_dim;
};
const Thread& self();
int lane();

void sync_block(Where where);
// Waits for the lanes in `mask`. A shuffle does not order memory, and a barrier does.
void sync_warp(unsigned mask, bool orders_memory, Where where);
// Gives `bits` to the warp and takes those of lane `source`.
uint64_t exchange(unsigned mask, uint64_t bits, int source, Where where);
// The block's array of this `key`, the same for all its threads.
void* shared_memory(const void* key, size_t bytes);

using Body = void (*)(void*);
void run(std::string_view kernel, dim3 grid, dim3 block, Body body, void* data);

// A kernel's name in what the compiler calls this function.
template <auto kernel>
constexpr std::string_view name_of() {
  const std::string_view text = __PRETTY_FUNCTION__, before = "kernel = ";
  const size_t begin = text.find(before) + before.size();
  return text.substr(begin, text.find_first_of(";]", begin) - begin);
}

template <auto kernel, class... Parameters, class... Arguments>
void enqueue_as(void (*)(Parameters...), dim3 grid, int threads, const Arguments&... arguments) {
  // Copied once for the launch, and for every thread again, as a device does it.
  auto call = [... copied = static_cast<Parameters>(arguments)] { kernel(copied...); };
  using Call = decltype(call);
  run(name_of<kernel>(), grid, dim3(threads), [](void* data) { (*static_cast<Call*>(data))(); },
      &call);
}

template <class T>
uint64_t to_bits(T value) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T, class Tag>
T& shared() {
  static const char key = 0;
  return *static_cast<T*>(shared_memory(&key, sizeof(T)));
}

}  // namespace emulate

#define threadIdx (::emulate::self().thread)
#define blockIdx (::emulate::self().block)
#define blockDim (::emulate::self().block_dim)
#define gridDim (::emulate::self().grid_dim)

inline void __syncthreads(emulate::Where at = emulate::Where::current()) {
  emulate::sync_block(at);
}

inline void __syncwarp(unsigned mask = 0xFFFFFFFFu, emulate::Where at = emulate::Where::current()) {
  emulate::sync_warp(mask, true, at);
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, int offset, int width = 32,
                   emulate::Where at = emulate::Where::current()) {
  const int lane = emulate::lane();
  const int from = lane % width + offset < width ? lane + offset : lane;
  return emulate::from_bits<T>(emulate::exchange(mask, emulate::to_bits(value), from, at));
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                  emulate::Where at = emulate::Where::current()) {
  const int lane = emulate::lane(), other = lane ^ bits;
  const int from = other / width <= lane / width ? other : lane;
  return emulate::from_bits<T>(emulate::exchange(mask, emulate::to_bits(value), from, at));
}

// What csrc/cuda/launch.cuh takes from CUDA and PyTorch where there is a GPU.
#define LAE_DEVICE PrivateUse1
#define LAE_SHARED(type, name, extent) \
  auto& name = ::emulate::shared<type extent, decltype([] {})>()

namespace lae::cuda {

inline int32_t device_type() { return aoti_torch_device_type_privateuse1(); }

struct DeviceGuard {
  explicit DeviceGuard(int32_t) {}
};

inline cudaStream_t current_stream(int32_t) { return nullptr; }

// The error of the launch, or null; the emulator throws its own.
template <auto kernel, class... Arguments>
const char* enqueue(dim3 grid, int threads, cudaStream_t, const Arguments&... arguments) {
  ::emulate::enqueue_as<kernel>(kernel, grid, threads, arguments...);
  return nullptr;
}

}  // namespace lae::cuda
