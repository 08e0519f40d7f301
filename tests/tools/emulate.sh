#!/usr/bin/env bash
# Runs the CUDA kernels' tests in the emulator, plainly or under a sanitizer; any report of one ends
# the process, and with it the tests.
#
#   tests/tools/emulate.sh plain|address|thread [LIBRARY [PYTEST ARGUMENTS]]     PYTHON runs them
#
# Under the thread sanitizer every CUDA thread is a thread to it, so that only the smallest calls
# that reach every kernel are run.
set -euo pipefail
cd "$(dirname "$0")/../.."
flavour=$1 python=${PYTHON:-python3}
library=${2:-$("$python" tests/helpers/emulator.py "$flavour")}
shift $(($# < 2 ? $# : 2))
export LAE_EMULATED=$library OMP_NUM_THREADS=1
run=("$python" -m pytest -q -p no:cacheprovider)

library_of() { gcc -print-file-name="$1"; }
case $flavour in
plain)
    exec "${run[@]}" -n auto --maxprocesses 4 --dist loadfile -m "cuda and not slow" -rfE "$@"
    ;;
address)
    # Python and torch are not instrumented: the runtime has to be there before them, and what they
    # never free is no leak of ours.
    export LD_PRELOAD="$(library_of libasan.so) $(library_of libubsan.so) $(library_of libstdc++.so)"
    export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0:abort_on_error=1
    export UBSAN_OPTIONS=print_stacktrace=1
    exec "${run[@]}" -p no:faulthandler --timeout 0 -m "cuda and not slow" -k emulated -rfE \
        tests/csrc/cuda/test_schedule.py tests/ops "$@"
    ;;
thread)
    export LD_PRELOAD=$(library_of libtsan.so)
    export TSAN_OPTIONS=history_size=2:report_signal_unsafe=0:halt_on_error=1:exitcode=66
    # Its shadow memory wants the addresses that randomisation would give away.
    exec setarch "$(uname -m)" -R "${run[@]}" -s -p no:faulthandler --timeout 0 -rfE \
        tests/csrc/cuda/test_schedule.py -k reverse "$@"
    ;;
*)
    echo "emulate: unknown flavour '$flavour'; use plain, address or thread" >&2
    exit 2
    ;;
esac
