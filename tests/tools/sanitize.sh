#!/usr/bin/env bash
# Builds the CPU kernels with AddressSanitizer and UndefinedBehaviorSanitizer and runs their tests;
# any report ends the process, and with it the tests.
#
#   tests/tools/sanitize.sh FOLDER [PYTEST ARGUMENTS]     FOLDER holds the build; PYTHON runs it
set -euo pipefail
cd "$(dirname "$0")/../.."
source=$PWD folder=$(realpath -m "$1") python=${PYTHON:-python3}
shift

LAE_SANITIZE=address,undefined LAE_BUILD_CUDA=0 "$python" setup.py --quiet build_ext \
    --build-lib "$folder" --build-temp "$folder/objects"
# The build's own copy of the package, so that the usual build stays where it is.
tar -c --exclude='*.so' --exclude=__pycache__ lae_fast | tar -x -C "$folder"

# Python and torch are not instrumented: the runtime has to be there before them, what they never
# free is no leak of ours, and their own exceptions must not be taken for C++ ones without a catcher.
runtime=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so):$(gcc -print-file-name=libstdc++.so)
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1
export PYTHONPATH=$folder:$source/cli
cd "$folder" # not beside the sources, which would come first
LD_PRELOAD=$runtime "$python" -c "
import lae_fast.ops as ops
assert ops.__file__.startswith('$folder'), ops.__file__
assert 'asan' in open('/proc/self/maps').read()"
LD_PRELOAD=$runtime "$python" -m pytest -q -p no:cacheprovider -p no:faulthandler \
    "$source"/tests/ops -k "not cuda" "$@"
