// Loops of the operators whose chains are the rows of an n x d matrix.
#pragma once

#include <vector>

#include "../tensors.h"
#include "kernels.h"

namespace lae::cpu {

// Every element's step size and noise scale: the tables repeat the dimensions so that a tile that
// starts at any dimension reads them in a straight line.
template <class T>
struct RowLaw {
  RowLaw(const double* step_sizes, int64_t d, double temperature)
      : d(d), step_size(d > 0 ? d + kTile : 0), noise_scale(step_size.size()) {
    for (size_t i = 0; i < step_size.size(); ++i) {
      const auto law = make_proposal<T>(step_sizes[i % d], temperature);
      step_size[i] = law.step_size;
      noise_scale[i] = law.noise_scale;
    }
  }
  int64_t d;
  std::vector<T> step_size, noise_scale;
};

template <class T>
struct RowProposeArgs {
  const T* x;
  const T* grad;
  T* proposal;
  const RowLaw<T>& law;
  RngKey rng;
  int64_t first_row;  // whose noise row 0 draws; a multiple of four
};

template <class T>
struct RowDecideArgs {
  T* x;
  T* grad;
  double* potential;
  const T* proposal;
  const T* grad_proposal;
  const double* values;  // whose sums are the potentials of the proposals, before the prior
  const T* latents;      // of which the prior is taken, or null: of the proposals themselves
  T* x_trace;            // where the states after the step are also written, or null
  T* grad_trace;
  bool* accepted;
  const double* step_sizes;
  int64_t d, values_per_row, latents_per_row;
  double temperature, prior;
  bool mh;
  RngKey rng;
  int64_t first_row;
};

// Proposals of elements [begin, end); `begin` is a multiple of kTile.
void propose_rows_chunk(const RowProposeArgs<float>& args, int64_t begin, int64_t end);
void propose_rows_chunk(const RowProposeArgs<double>& args, int64_t begin, int64_t end);

// Decides and selects rows [begin, end); `begin` is a multiple of four.
RowSums decide_rows_chunk(const RowDecideArgs<float>& args, int64_t begin, int64_t end);
RowSums decide_rows_chunk(const RowDecideArgs<double>& args, int64_t begin, int64_t end);

template <class T>
void propose_rows(const RowProposeArgs<T>& args, int64_t n) {
  for_each_chunk(n * args.law.d, [&](int64_t, int64_t begin, int64_t end) {
    propose_rows_chunk(args, begin, end);
  });
}

}  // namespace lae::cpu
