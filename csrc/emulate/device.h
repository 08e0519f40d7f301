// What the emulated device and the scheduler of its kernels know of each other.
#pragma once

#include <cstddef>
#include <string>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emulate {

// Which buffer a kernel wrote beyond, or nothing; mends its guard zones.
std::string check_guards();

// How often the host read a value from the device, for which a GPU would have to be waited for.
extern long reads;

// Under AddressSanitizer, nothing may read or write a guard zone.
inline void mark_unreadable([[maybe_unused]] void* zone, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(zone, bytes);
#endif
}

inline void mark_readable([[maybe_unused]] void* zone, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(zone, bytes);
#endif
}

}  // namespace emulate
