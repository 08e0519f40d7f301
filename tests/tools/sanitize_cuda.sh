#!/usr/bin/env bash
# Runs the CUDA operators' tests under compute-sanitizer's memcheck, racecheck and synccheck.
#
#   tests/tools/sanitize_cuda.sh [PYTEST ARGUMENTS]     PYTHON runs them; TOOLS="memcheck" chooses the tools
#
# Exit code 0 if nothing was found, 1 if something was, 2 if nothing could be checked.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}

if ! "$python" -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "sanitize-cuda: no CUDA device is visible; nothing was checked" >&2
    exit 2
fi

# PATH, then the toolkit, then the package nvidia-cuda-sanitizer-api.
find_sanitizer() {
    local packages
    packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    command -v compute-sanitizer && return
    for found in "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
        "$packages"/nvidia/*/bin/compute-sanitizer; do
        if [ -f "$found" ]; then
            echo "$found"
            return
        fi
    done
    return 1
}
if ! sanitizer=$(find_sanitizer); then
    echo "sanitize-cuda: compute-sanitizer was not found; nothing was checked. It comes with the" \
        "CUDA toolkit, or: pip install nvidia-cuda-sanitizer-api" >&2
    exit 2
fi

failed=0
for tool in ${TOOLS:-memcheck racecheck synccheck}; do
    # With an allocation per tensor, memcheck knows where a tensor ends. A graph cannot be captured
    # then, so no test of one runs here.
    caching=()
    [ "$tool" = memcheck ] && caching=(PYTORCH_NO_CUDA_MEMORY_CACHING=1)
    # The kernels of namespace lae::cuda alone: what PyTorch launches is not on trial, and would
    # take most of the time. Its calls that probe the driver fail by design.
    env "${caching[@]}" "$sanitizer" --tool "$tool" --error-exitcode 66 --target-processes all \
        --report-api-errors no --kernel-name kns=3lae4cuda \
        "$python" -m pytest -q -p no:cacheprovider --timeout 0 \
        tests/ops -m cuda -k "not emulated and not graph" "$@" \
        || failed=1
done
exit "$failed"
