// The Python module `lae_fast._C`. Importing it registers the operators; its own functions serve
// `lae doctor` and the generator's known-answer tests.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>

#include "cpu/parallel.h"
#include "philox.h"

namespace py = pybind11;

namespace {

// Which of the compiled instruction sets this processor runs.
const char* instruction_set() {
#if LAE_HAS_CLONES
  __builtin_cpu_init();
  if (__builtin_cpu_supports("x86-64-v4")) return "x86-64-v4 (AVX-512)";
  if (__builtin_cpu_supports("x86-64-v3")) return "x86-64-v3 (AVX2)";
  return "x86-64 baseline";
#else
  return "compiler default";
#endif
}

py::dict build_info() {
  py::dict info;
  info["torch"] = LAE_BUILT_WITH_TORCH;
  info["stable_abi"] = LAE_STABLE_ABI;
#if defined(__clang__)
  info["compiler"] = __VERSION__;
#else
  info["compiler"] = "GCC " __VERSION__;
#endif
  info["instruction_set"] = instruction_set();
  info["cuda"] = LAE_CUDA_VERSION[0] ? py::object(py::str(LAE_CUDA_VERSION)) : py::none();
  info["cuda_architectures"] = py::str(LAE_CUDA_ARCHITECTURES).attr("split")();
  return info;
}

std::array<uint32_t, 4> philox4x32_10(std::array<uint32_t, 4> counter,
                                      std::array<uint32_t, 2> key) {
  const lae::Words4 w = lae::philox4x32_10({counter[0], counter[1], counter[2], counter[3]},
                                           key[0], key[1]);
  return {w.w0, w.w1, w.w2, w.w3};
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Operators of lae_fast on the CPU; see lae_fast.ops.";
  m.def("build_info", &build_info, "What this file was built with and what it runs.");
  m.def("philox4x32_10", &philox4x32_10, py::arg("counter"), py::arg("key"),
        "One block of the generator: four 32-bit words.");
}
