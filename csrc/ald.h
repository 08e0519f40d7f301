// One step of Langevin dynamics, for chains that are the rows of an n x d matrix: the scalar
// mathematics and the operators' arguments, which both backends share.
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

// `weight` is the step size of the element's dimension. Where one step size holds for all, it is 1
// here and `log_ratio_of` multiplies the sum.
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
  double log_ratio;  // never NaN
  bool accepted;
};

// -infinity where V', g' or x' is not finite, and in place of any NaN.
LAE_HD double log_ratio_of(RatioSums sums, double potential, double potential_proposal,
                           double step_size, double temperature) {
  if (!is_finite(potential_proposal) || sums.poison != 0.0) return -INFINITY;
  const double r = (potential - potential_proposal) / temperature +
                   sums.work / (2.0 * temperature) -
                   step_size * sums.grad_change / (4.0 * temperature);
  return r == r ? r : -INFINITY;
}

LAE_HD Decision decide(RatioSums sums, double potential, double potential_proposal,
                       double step_size, double temperature, bool mh, double uniform) {
  const double r = log_ratio_of(sums, potential, potential_proposal, step_size, temperature);
  const bool finite = is_finite(potential_proposal) && sums.poison == 0.0;
  return {r, mh ? log(uniform) < (r < 0.0 ? r : 0.0) : finite};
}

LAE_HD double accept_prob(double log_ratio) { return log_ratio < 0.0 ? exp(log_ratio) : 1.0; }

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

// Whether an argument has as many elements for every row.
inline bool shared_by_rows(const Tensor& t, int64_t rows) {
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
  if (potential_proposal.dim() != 1 || !shared_by_rows(potential_proposal, rows) ||
      potential_proposal.numel() < rows) {
    fail(call.op, ": potential_proposal has shape ", shape_text(potential_proposal),
         "; it must be [", rows, "], or a multiple of that: as many terms for every row.");
  }
  call.check_vector("accepted", accepted, ScalarType::Bool, rows, "one decision per row");
  call.check_vector("info", info, ScalarType::Double, 5,
                    "(mean probability, share accepted, sums of both and of the potential)");
  if (!(prior >= 0) || !std::isfinite(prior)) {
    fail(call.op, ": prior must be 0 or more and finite, not ", prior, ".");
  }
  if (latents.has_value()) {
    call.check_type_like_first("latents", *latents);
    if (!shared_by_rows(*latents, rows)) {
      fail(call.op, ": latents has shape ", shape_text(*latents),
           "; it must have as many elements for each of ", rows, " rows.");
    }
  }
  if (next_proposal.has_value()) call.check_like_first("next_proposal", *next_proposal);
  if (x_trace.has_value()) call.check_like_first("x_trace", *x_trace);
  if (grad_trace.has_value()) call.check_like_first("grad_trace", *grad_trace);
}

// The contiguous arguments of `ald_step_rows_`.
struct StepTensors {
  StepTensors(Tensor& x, Tensor& grad, Tensor& potential, Tensor& proposal,
              const Tensor& grad_proposal, const Tensor& potential_proposal, Tensor& rng,
              Tensor& accepted, Tensor& info, const Tensor& step_sizes,
              std::optional<Tensor>& latents, std::optional<Tensor>& next_proposal,
              std::optional<Tensor>& x_trace, std::optional<Tensor>& grad_trace)
      : rows(x.size(0)), d(x.size(1)), x(x), grad(grad), potential(potential), rng(rng),
        accepted(accepted), info(info),
        next_proposal(next_proposal.has_value() ? *next_proposal : proposal),
        proposal(next_proposal.has_value() ? readable(proposal) : this->next_proposal.work()),
        grad_proposal(readable(grad_proposal)), values(readable(potential_proposal)),
        step_sizes(readable(step_sizes)) {
    if (latents.has_value()) this->latents = readable(*latents);
    if (x_trace.has_value()) this->x_trace.emplace(*x_trace);
    if (grad_trace.has_value()) this->grad_trace.emplace(*grad_trace);
  }

  int64_t per_row(const Tensor& t) const { return rows > 0 ? t.numel() / rows : 0; }
  int64_t values_per_row() const { return per_row(values); }
  int64_t latents_per_row() const { return latents ? per_row(*latents) : 0; }

  void commit() {
    for (Updated* updated : {&x, &grad, &potential, &rng, &accepted, &info, &next_proposal}) {
      updated->commit();
    }
    if (x_trace) x_trace->commit();
    if (grad_trace) grad_trace->commit();
  }

  int64_t rows, d;
  Updated x, grad, potential, rng, accepted, info, next_proposal;
  Tensor proposal, grad_proposal, values, step_sizes;
  std::optional<Tensor> latents;
  std::optional<Updated> x_trace, grad_trace;
};

}  // namespace lae
