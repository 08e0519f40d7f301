// The operators' schemas; whatever an operator writes is declared. `lae_fast/ops/chains.py` and
// `lae_fast/ops/networks.py` document them.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(lae_fast, m) {
  m.def(
      "ald_propose_rows(Tensor x, Tensor grad, Tensor rng, Tensor step_sizes, float temperature,"
      " int first_row=0) -> Tensor");
  m.def(
      "ald_step_rows_(Tensor(a!) x, Tensor(b!) grad, Tensor(c!) potential, Tensor(d!) proposal,"
      " Tensor grad_proposal, Tensor potential_proposal, Tensor(e!) rng, Tensor(f!) accepted,"
      " Tensor(g!) info, Tensor step_sizes, float temperature, bool mh, int first_row=0,"
      " float prior=0, Tensor? latents=None, Tensor(h!)? next_proposal=None,"
      " Tensor(i!)? x_trace=None, Tensor(j!)? grad_trace=None) -> ()");
  m.def(
      "norm_relu_(Tensor(a!) u, Tensor bias, Tensor gain, Tensor shift, Tensor(b!) y,"
      " Tensor(c!) rstd, float eps) -> ()");
  m.def(
      "norm_relu_backward_(Tensor(a!) grad, Tensor normed, Tensor y, Tensor rstd, Tensor gain,"
      " Tensor(b!) grad_u, Tensor? weight=None, Tensor? added=None, Tensor(c!)? grad_input=None)"
      " -> ()");
  m.def(
      "add_norm_grads_(Tensor(a!) gain_grad, Tensor(b!) shift_grad, Tensor(c!) bias_grad,"
      " Tensor grad, Tensor normed, Tensor grad_u, float weight) -> ()");
  m.def("copy_rows_(Tensor(a!)[] into, Tensor[] source, Tensor rows, bool where) -> ()");
  m.def("bernoulli_grad_(Tensor(a!) output, Tensor bias, Tensor x) -> Tensor");
  m.def(
      "gaussian_grad_(Tensor(a!) output, Tensor bias, Tensor x, Tensor log_scale)"
      " -> (Tensor values, Tensor by_scale)");
  m.def(
      "discretized_logistic_grad_(Tensor(a!) output, Tensor bias, Tensor x, Tensor log_scale)"
      " -> (Tensor values, Tensor by_scale)");
}
