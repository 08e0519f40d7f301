// All kernels as one source. Headers are read once per architecture, not once per operator, and a
// build for seven architectures is five times as fast.
#include "ald.cu"
#include "copy_rows.cu"
#include "image.cu"
#include "likelihood.cu"
#include "norm_relu.cu"
