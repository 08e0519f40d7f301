// All kernels as one source: headers are read once per architecture and not once per operator, which
// makes the build for seven architectures five times as fast.
#include "ald_log_ratio.cu"
#include "ald_propose.cu"
#include "ald_rows.cu"
#include "ald_step.cu"
#include "column_sums.cu"
#include "copy_rows.cu"
#include "image.cu"
#include "likelihood.cu"
#include "norm_relu.cu"
