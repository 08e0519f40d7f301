// The scalar mathematics of one step of amortized Langevin dynamics, shared by both backends.
//
//   phi'  = phi - eta g + sqrt(2 eta tau) eps
//   log a = (V - V') / tau + <phi' - phi, g + g'> / (2 tau) - eta (||g'||^2 - ||g||^2) / (4 tau)
//
// This is the Metropolis-Hastings ratio of the Langevin proposal with its squares multiplied out:
// the two Gaussian exponents cancel but for the terms above. The form with
// -||phi - phi' + eta g'||^2 / (4 eta tau) + ||eps||^2 / 2 subtracts two numbers of size N / 2, and
// takes the ROUNDED phi' for the exact one, a bias of about N ulp(phi)^2 / eta.
#pragma once

#include <cmath>
#include <cstdint>

#include "philox.h"

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
LAE_HD T propose_element(T phi, T grad, T eps, Proposal<T> law) {
  return phi - law.step_size * grad + law.noise_scale * eps;
}

// Sums over the elements, in double.
struct RatioSums {
  double work = 0;         // <phi' - phi, g + g'>
  double grad_change = 0;  // ||g'||^2 - ||g||^2
  double poison = 0;       // 0, or NaN where phi' or g' holds an infinity or a NaN
};

// `weight` multiplies the change of the gradient: 1, or a dimension's own step size, in which case
// `log_ratio_of` is told a step size of 1.
template <class T>
LAE_HD void add_ratio_terms(T phi, T grad, T proposal, T grad_proposal, double weight,
                            double& work, double& grad_change, double& poison) {
  const double p0 = static_cast<double>(phi), p1 = static_cast<double>(proposal);
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

// -infinity when V', g' or phi' is not finite, and in place of any NaN.
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

LAE_HD void write_info(double* info, Decision decision) {
  info[0] = decision.log_ratio;
  info[1] = decision.accepted ? 1.0 : 0.0;
  info[2] += accept_prob(decision.log_ratio);
  info[3] += info[1];
}

// Sums over rows that are chains of their own.
struct RowSums {
  double prob = 0;       // of min(1, a)
  double accepted = 0;   // number of rows that moved
  double potential = 0;  // of the states after the step
};

LAE_HD void write_row_info(double* info, RowSums sums, int64_t rows) {
  const double count = rows > 0 ? static_cast<double>(rows) : 1.0;
  info[0] = sums.prob / count;
  info[1] = sums.accepted / count;
  info[2] += info[0];
  info[3] += info[1];
  info[4] += sums.potential;
}

}  // namespace lae
