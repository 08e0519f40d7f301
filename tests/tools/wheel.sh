#!/usr/bin/env bash
# Installs the built wheel beside another torch, where no compiler is, and runs the tests there.
#
#   tests/tools/wheel.sh WHEEL FOLDER      FOLDER holds the environment; TORCH names the torch to install
#   PYTEST_ARGS                      what pytest runs instead of everything that is not slow
set -euo pipefail
wheel=$(realpath "$1") folder=$(realpath -m "$2") source=$(realpath "$(dirname "$0")/../..")
torch=${TORCH:-torch==2.10.*}

mkdir -p "$folder"
test -x "$folder/venv/bin/python" || "${PYTHON:-python3}" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" "$torch" torchvision
"${pip[@]}" "$torch" "lae-fast[test] @ file://$wheel"
"${pip[@]}" --force-reinstall --no-deps "$wheel"

# The tests alone: beside the packages' sources, the sources would be what is tested.
rm -rf "$folder/tree" "$folder/bin"
mkdir -p "$folder/tree" "$folder/bin"
cp -r "$source/tests" "$source/benchmarks" "$source/pyproject.toml" "$source/README.md" "$source/CHANGELOG.md" "$source/CONTRIBUTING.md" \
    "$source/docs" "$folder/tree/"

# Everything the tests may call but compilers.
for tool in bash sh env tmux script git stty tput cat ls sleep ldd uname; do
    path=$(command -v "$tool") && ln -s "$path" "$folder/bin/"
done
export PATH="$folder/venv/bin:$folder/bin" PYTHONPATH=
unset CC CXX CUDA_HOME LD_LIBRARY_PATH
for compiler in cc c++ gcc g++ clang nvcc; do
    if command -v "$compiler"; then echo "a compiler is on PATH: $compiler" >&2; exit 1; fi
done

cd "$folder/tree"
python - <<'END'
import sys, torch, lae_fast.ops as ops, lae_cli
built = ops.build_info()["torch"]
print(f"torch {torch.__version__}, kernels built with {built}, from {ops.__file__}")
if not all(module.__file__.startswith(sys.prefix) for module in (ops, lae_cli)):
    sys.exit("the sources are being tested, not the wheel")
if torch.__version__.split("+")[0] == built.split("+")[0]:
    sys.exit("this is the torch that the wheel was built with; set TORCH to another")
END
lae --version
eval "python -m pytest -q -p no:cacheprovider ${PYTEST_ARGS:--m 'not slow'}"
