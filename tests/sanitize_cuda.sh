#!/usr/bin/env bash
# Runs the CUDA operators' tests under compute-sanitizer: memcheck, then racecheck.
#
#   tests/sanitize_cuda.sh [PYTEST ARGUMENTS]       PYTHON runs them
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "sanitize-cuda: no CUDA device is visible; nothing was checked" >&2
    exit 2
fi
if ! command -v compute-sanitizer >/dev/null; then
    echo "sanitize-cuda: compute-sanitizer is not on PATH; it comes with the CUDA toolkit" >&2
    exit 2
fi
export PYTORCH_NO_CUDA_MEMORY_CACHING=1 # an allocation each, so that its end is the buffer's end
for tool in memcheck racecheck; do
    compute-sanitizer --tool "$tool" --error-exitcode 66 --target-processes all \
        "$python" -m pytest -q -p no:cacheprovider --timeout 0 \
        tests/test_ops_*.py tests/test_layer_ops.py -k cuda "$@"
done
