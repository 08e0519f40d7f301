// One step of Langevin dynamics, for chains that are the rows of an n x d matrix: the scalar
// mathematics; and the operators' arguments, which both backends check and prepare alike, and their
// registration.
//
//   x'    = x - eta g + sqrt(2 eta tau) eps
//   log a = (V - V') / tau + <x' - x, g + g'> / (2 tau) - eta (||g'||^2 - ||g||^2) / (4 tau)
//
// This is the Metropolis-Hastings ratio of the Langevin proposal with its squares multiplied out:
// the two Gaussian exponents cancel but for the terms above. The textbook's form with
// -||x - x' + eta g'||^2 / (4 eta tau) + ||eps||^2 / 2 subtracts two numbers of size N / 2, and
// takes the ROUNDED x' for the exact one, a bias of about N ulp(x)^2 / eta.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>

#include "philox.h"
#include "tensors.h"

namespace lae {

template <class T>
struct Proposal {
  T step_size;
  T noise_scale;  // sqrt(2 eta tau)
};

template <class T>
LAE_HD Proposal<T> make_proposal(double step_size, double temperature) {
  return {static_cast<T>(step_size), static_cast<T>(sqrt(2.0 * step_size * temperature))};
}

// Step sizes: one per dimension, or one for all.
template <class T>
struct Law {
  const double* step_sizes;
  int64_t count, d;
  double temperature;

  // What `of` returns for every element where there is one step size; worked out once per thread.
  LAE_HD Proposal<T> shared() const {
    return count == 1 ? make_proposal<T>(step_sizes[0], temperature) : Proposal<T>{};
  }
  LAE_HD Proposal<T> of(int64_t i, Proposal<T> shared) const {
    return count == 1 ? shared : make_proposal<T>(step_sizes[i % d], temperature);
  }
  // The step sizes are weights in the ratio's sums, or multiply them afterwards where one holds for
  // all.
  LAE_HD double weight(int64_t k) const { return count == 1 ? 1.0 : step_sizes[k]; }
  LAE_HD double factor() const { return count == 1 ? step_sizes[0] : 1.0; }
};

template <class T>
struct ProposeArgs {
  const T* x;
  const T* grad;
  T* proposal;
  Law<T> law;
  int64_t n;            // elements
  int64_t first_block;  // of the noise of the first four elements
};

template <class T>
struct StepArgs {
  T* x;
  T* grad;
  double* potential;
  const T* proposal;
  T* next_proposal;
  T* x_trace;     // where the states after the step are also written, or null
  T* grad_trace;  // or null
  const T* grad_proposal;
  const double* values;  // their sums are the potentials of the proposals, before the prior
  const T* latents;      // what the prior is on, or null: the proposals themselves
  int64_t* rng;
  bool* accepted;
  double* info;
  Law<T> law;
  int64_t rows, d, values_per_row, latents_per_row;
  double prior;
  bool mh;
  int64_t first_row;

  LAE_HD bool prior_on_x() const { return prior != 0 && latents == nullptr; }

  // Of the proposal: a prior on x itself is added here, one on latents is the caller's to add.
  LAE_HD T whole_grad(int64_t i) const {
    return prior_on_x() ? grad_proposal[i] + static_cast<T>(prior) * proposal[i]
                        : grad_proposal[i];
  }

  LAE_HD ProposeArgs<T> next() const {
    return {x, grad, next_proposal, law, rows * d, first_row / 4 * d};
  }
};

template <class T>
LAE_HD T propose_element(T x, T grad, T eps, Proposal<T> law) {
  return x - law.step_size * grad + law.noise_scale * eps;
}

// Sums over the elements of a row, in double.
struct RatioSums {
  double work = 0;         // <x' - x, g + g'>
  double grad_change = 0;  // ||g'||^2 - ||g||^2, each element times its weight
  double poison = 0;       // 0, or NaN where x' or g' holds an infinity or a NaN
};

LAE_HD void add(RatioSums& total, const RatioSums& part) {
  total.work += part.work;
  total.grad_change += part.grad_change;
  total.poison += part.poison;
}

// `weight` is `Law::weight` of the element's dimension.
template <class T>
LAE_HD void add_ratio_terms(T x, T grad, T proposal, T grad_proposal, double weight,
                            double& work, double& grad_change, double& poison) {
  const double p0 = static_cast<double>(x), p1 = static_cast<double>(proposal);
  const double g0 = static_cast<double>(grad), g1 = static_cast<double>(grad_proposal);
  const double both = g0 + g1;
  work += (p1 - p0) * both;
  grad_change += weight * ((g1 - g0) * both);
  poison += p1 * 0.0 + g1 * 0.0;
}

LAE_HD bool is_finite(double x) { return x - x == 0.0; }

struct Decision {
  double log_ratio;  // -infinity where V', g' or x' is not finite, and in place of any NaN
  bool accepted;
};

// Decides a row by the sums over its elements.
template <class T>
LAE_HD Decision decide(const StepArgs<T>& a, const RatioSums& sums, double potential,
                       double potential_proposal, double uniform) {
  const double tau = a.law.temperature;
  const double ratio = (potential - potential_proposal) / tau + sums.work / (2.0 * tau) -
                       a.law.factor() * sums.grad_change / (4.0 * tau);
  const bool finite = is_finite(potential_proposal) && sums.poison == 0.0;
  const double log_ratio = finite && ratio == ratio ? ratio : -INFINITY;
  return {log_ratio, a.mh ? log(uniform) < (log_ratio < 0.0 ? log_ratio : 0.0) : finite};
}

// Sums over rows.
struct RowSums {
  double prob = 0;       // of min(1, a)
  double accepted = 0;   // number of rows that moved
  double potential = 0;  // of the states after the step
};

LAE_HD void add(RowSums& total, const RowSums& part) {
  total.prob += part.prob;
  total.accepted += part.accepted;
  total.potential += part.potential;
}

// What a decided row adds; `potential` is that of its state after the step.
LAE_HD RowSums row_sums(const Decision& decision, double potential) {
  return {decision.log_ratio < 0.0 ? exp(decision.log_ratio) : 1.0,
          decision.accepted ? 1.0 : 0.0, potential};
}

LAE_HD void write_info(double* info, RowSums sums, int64_t rows) {
  const double count = rows > 0 ? static_cast<double>(rows) : 1.0;
  info[0] = sums.prob / count;
  info[1] = sums.accepted / count;
  info[2] += info[0];
  info[3] += info[1];
  info[4] += sums.potential;
}

inline void check_propose_rows(const Call& call, const Tensor& grad, const Tensor& rng,
                               const Tensor& step_sizes, double temperature, int64_t first_row) {
  call.check_is_matrix();
  if (first_row < 0 || first_row % 4 != 0) {
    fail(call.op, ": first_row must be a multiple of four, 0 or more, not ", first_row, ".");
  }
  call.check_like_first("grad", grad);
  call.check_vector("rng", rng, ScalarType::Long, 2, "(seed, step)");
  call.check_type("step_sizes", step_sizes, ScalarType::Double);
  const int64_t d = call.first.size(1);
  if (step_sizes.dim() != 1 || (step_sizes.size(0) != d && step_sizes.size(0) != 1)) {
    fail(call.op, ": step_sizes has shape ", shape_text(step_sizes), "; it must be [", d,
         "], one per dimension, or [1], one for all.");
  }
  call.check_positive("temperature", temperature);
}

// Whether a tensor has the same number of elements for every row.
inline bool divides_among(const Tensor& t, int64_t rows) {
  return rows == 0 ? t.numel() == 0 : t.numel() % rows == 0;
}

inline void check_step_rows(const Call& call, const Tensor& grad, const Tensor& potential,
                            const Tensor& proposal, const Tensor& grad_proposal,
                            const Tensor& potential_proposal, const Tensor& rng,
                            const Tensor& accepted, const Tensor& info, const Tensor& step_sizes,
                            double temperature, int64_t first_row, double prior,
                            const std::optional<Tensor>& latents,
                            const std::optional<Tensor>& next_proposal,
                            const std::optional<Tensor>& x_trace,
                            const std::optional<Tensor>& grad_trace) {
  check_propose_rows(call, grad, rng, step_sizes, temperature, first_row);
  const int64_t rows = call.first.size(0);
  call.check_vector("potential", potential, ScalarType::Double, rows, "one potential per row");
  call.check_like_first("proposal", proposal);
  call.check_like_first("grad_proposal", grad_proposal);
  call.check_type("potential_proposal", potential_proposal, ScalarType::Double);
  if (potential_proposal.dim() != 1 || !divides_among(potential_proposal, rows) ||
      potential_proposal.numel() < rows) {
    fail(call.op, ": potential_proposal has shape ", shape_text(potential_proposal),
         "; it must be [", rows, "], or a multiple of that: the same number of terms per row.");
  }
  call.check_vector("accepted", accepted, ScalarType::Bool, rows, "one decision per row");
  call.check_vector("info", info, ScalarType::Double, 5,
                    "(mean probability, share accepted, sums of both and of the potential)");
  if (!(prior >= 0) || !std::isfinite(prior)) {
    fail(call.op, ": prior must be 0 or more and finite, not ", prior, ".");
  }
  if (latents.has_value()) {
    call.check_type_like_first("latents", *latents);
    if (!divides_among(*latents, rows)) {
      fail(call.op, ": latents has shape ", shape_text(*latents),
           "; its elements must divide evenly among ", rows, " rows.");
    }
  }
  if (next_proposal.has_value()) call.check_like_first("next_proposal", *next_proposal);
  if (x_trace.has_value()) call.check_like_first("x_trace", *x_trace);
  if (grad_trace.has_value()) call.check_like_first("grad_trace", *grad_trace);
}

inline void check_step_sizes(const Call& call, const Tensor& step_sizes) {
  for (int64_t i = 0; i < step_sizes.numel(); ++i) {
    call.check_positive("step_sizes", read<double>(step_sizes)[i]);
  }
}

// `Kernels::propose` and `step` run on contiguous memory.
template <class Kernels>
Tensor ald_propose_rows(const Tensor& x, const Tensor& grad, const Tensor& rng,
                        const Tensor& step_sizes, double temperature, int64_t first_row) {
  const Call call("ald_propose_rows", "x", x, Kernels::device_type());
  check_propose_rows(call, grad, rng, step_sizes, temperature, first_row);
  const Tensor x_in = readable(x), grad_in = readable(grad), etas = readable(step_sizes);
  if constexpr (Kernels::kHostReads) check_step_sizes(call, etas);
  Tensor proposal = empty_like_first(call);
  const int64_t d = x.size(1);
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    const Law<T> law{read<double>(etas), etas.numel(), d, temperature};
    const ProposeArgs<T> args{read<T>(x_in), read<T>(grad_in), write<T>(proposal),
                              law,           x.numel(),        first_row / 4 * d};
    Kernels::propose(call, args, read<int64_t>(rng), rng.stride(0));
  });
  return proposal;
}

template <class Kernels>
void ald_step_rows_(Tensor x, Tensor grad, Tensor potential, Tensor proposal,
                    const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor rng,
                    Tensor accepted, Tensor info, const Tensor& step_sizes, double temperature,
                    bool mh, int64_t first_row, double prior, std::optional<Tensor> latents,
                    std::optional<Tensor> next_proposal, std::optional<Tensor> x_trace,
                    std::optional<Tensor> grad_trace) {
  const Call call("ald_step_rows_", "x", x, Kernels::device_type());
  check_step_rows(call, grad, potential, proposal, grad_proposal, potential_proposal, rng,
                  accepted, info, step_sizes, temperature, first_row, prior, latents,
                  next_proposal, x_trace, grad_trace);
  const Tensor etas = readable(step_sizes);
  if constexpr (Kernels::kHostReads) check_step_sizes(call, etas);

  Updated x_out(x), grad_out(grad), potential_out(potential), rng_out(rng),
      accepted_out(accepted), info_out(info);
  Updated next_out(next_proposal ? *next_proposal : proposal);
  OptionalUpdated x_trace_out = updated(x_trace), grad_trace_out = updated(grad_trace);
  const Tensor pending = next_proposal ? readable(proposal) : next_out.work();
  const Tensor grad_in = readable(grad_proposal), values = readable(potential_proposal);
  const std::optional<Tensor> latents_in = readable(latents);
  const int64_t rows = x.size(0), d = x.size(1);
  const auto per_row = [&](const Tensor& t) { return rows > 0 ? t.numel() / rows : 0; };
  call.with_dtype([&](auto zero) {
    using T = decltype(zero);
    Kernels::step(call, StepArgs<T>{.x = write<T>(x_out),
                                    .grad = write<T>(grad_out),
                                    .potential = write<double>(potential_out),
                                    .proposal = read<T>(pending),
                                    .next_proposal = write<T>(next_out),
                                    .x_trace = write_or_null<T>(x_trace_out),
                                    .grad_trace = write_or_null<T>(grad_trace_out),
                                    .grad_proposal = read<T>(grad_in),
                                    .values = read<double>(values),
                                    .latents = read_or_null<T>(latents_in),
                                    .rng = write<int64_t>(rng_out),
                                    .accepted = write<bool>(accepted_out),
                                    .info = write<double>(info_out),
                                    .law = {read<double>(etas), etas.numel(), d, temperature},
                                    .rows = rows,
                                    .d = d,
                                    .values_per_row = per_row(values),
                                    .latents_per_row = latents ? per_row(*latents) : 0,
                                    .prior = prior,
                                    .mh = mh,
                                    .first_row = first_row});
  });
  commit_all(x_out, grad_out, potential_out, rng_out, accepted_out, info_out, next_out,
             x_trace_out, grad_trace_out);
}

template <class Kernels, class Library>
void register_ald(Library& m) {
  m.impl("ald_propose_rows", TORCH_BOX(&ald_propose_rows<Kernels>));
  m.impl("ald_step_rows_", TORCH_BOX(&ald_step_rows_<Kernels>));
}

}  // namespace lae
