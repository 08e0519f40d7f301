"""Builds `lae_fast._C` (CPU) and, where nvcc and a CUDA build of PyTorch are found, `_C_cuda`.

Both use PyTorch's stable ABI only, so one build serves every PyTorch from 2.10 on. Environment:
``LAE_BUILD_CUDA`` 1 insists on the CUDA kernels, 0 leaves them out; ``TORCH_CUDA_ARCH_LIST`` names
the architectures (default: those of the visible GPUs, else the ones that people have, as far as
nvcc knows them); ``LAE_SANITIZE`` builds the CPU kernels with these sanitizers (see
``tests/tools/sanitize.sh``).
"""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pybind11
import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import CUDA_HOME, BuildExtension, CppExtension, CUDAExtension

STABLE_ABI = "2.10"
STABLE_ABI_HEX = "0x020a000000000000"
ARCHITECTURES = ("7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
"""Turing to Blackwell, for data centres and for desktops; the newest also as PTX, from which
drivers compile for cards to come."""
HEADERS = [str(path) for path in sorted(Path("csrc").rglob("*.*h"))]


def sources(*patterns: str) -> list[str]:
    """Source files under csrc, sorted so that builds are reproducible."""
    return [str(path) for pattern in patterns for path in sorted(Path("csrc").glob(pattern))]


def nvcc_says(*arguments: str) -> str:
    """What nvcc prints, or nothing where there is no nvcc that runs."""
    try:
        run = subprocess.run(
            [str(Path(CUDA_HOME or "", "bin", "nvcc")), *arguments],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout + run.stderr


def toolkit_version() -> str | None:
    """The release of nvcc, e.g. 13.0."""
    found = re.search(r"release (\d+\.\d+)", nvcc_says("--version"))
    return found.group(1) if found else None


def runtime_folders() -> list[str]:
    """Where the toolkit keeps libcudart; nvcc may be a wrapper far from it, so nvcc is asked."""
    found = re.search(r"^#\$ TOP=(.*)$", nvcc_says("--dryrun", "-x", "cu", os.devnull), re.M)
    top = Path(found.group(1)).resolve() if found else Path(CUDA_HOME or "")
    folders = [top / "lib64", top / "lib", *top.glob("targets/*/lib")]
    return [str(folder) for folder in folders if any(folder.glob("libcudart.*"))]


def cuda_obstacle() -> str | None:
    """Why the CUDA kernels cannot be built here, or None when they can."""
    if torch.version.cuda is None:
        return "the installed PyTorch is a CPU build; install a CUDA build of it"
    version = toolkit_version()
    if version is None:
        return "nvcc was not found; install the CUDA toolkit or set CUDA_HOME"
    if version.split(".")[0] != torch.version.cuda.split(".")[0]:
        return f"nvcc is {version} and PyTorch is for CUDA {torch.version.cuda}; use the same major"
    return None


def wants_cuda() -> bool:
    """Whether to build the CUDA kernels; ends the build where they are demanded but impossible."""
    wish = os.environ.get("LAE_BUILD_CUDA", "").strip()
    if wish not in ("", "0", "1"):
        sys.exit(f"LAE_BUILD_CUDA must be 0 or 1, not {wish!r}")
    obstacle = cuda_obstacle()
    if wish == "1" and obstacle:
        sys.exit(f"LAE_BUILD_CUDA=1 but {obstacle}, or unset it to build for the CPU alone")
    if wish == "" and obstacle:
        print(f"lae_fast: building without CUDA kernels: {obstacle}")
    return wish != "0" and obstacle is None


def architectures() -> str:
    """The value of TORCH_CUDA_ARCH_LIST to build with; set it so that the builder agrees."""
    chosen = os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip()
    if not chosen and torch.cuda.is_available():
        visible = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
        chosen = ";".join(f"{major}.{minor}" for major, minor in sorted(visible)) + "+PTX"
    os.environ["TORCH_CUDA_ARCH_LIST"] = chosen or default_architectures()
    return os.environ["TORCH_CUDA_ARCH_LIST"].replace(";", " ")


def default_architectures() -> str:
    """Those of `ARCHITECTURES` that this nvcc can build."""
    known = nvcc_says("--list-gpu-arch").split()
    mine = [name for name in ARCHITECTURES if f"compute_{name.replace('.', '')}" in known]
    return ";".join(mine or ["8.0", "9.0"]) + "+PTX"


def without_torch_python(extension: Extension) -> Extension:
    """Drop the one PyTorch library whose interface is not stable; nothing here refers to it."""
    extension.libraries = [name for name in extension.libraries if name != "torch_python"]
    return extension


def text_macro(value: str) -> str:
    """A value as a C string literal in a macro definition."""
    return f'"{value}"'


WITH_CUDA = wants_cuda()
COMMON = [
    "-std=c++20",
    "-O3",
    "-DUSE_CUDA",  # declares the stream shims; the CPU library refers to none of them
    f"-DTORCH_TARGET_VERSION={STABLE_ABI_HEX}",
]
HOST = [
    *COMMON,
    "-g0",  # Python's own flags ask for debugging symbols, ten times the code's size
    "-fno-math-errno",  # nothing reads errno or floating-point traps; NaN keeps its meaning
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wall",
]
if platform.machine() == "x86_64" and platform.system() == "Linux":
    HOST.append("-mprefer-vector-width=512")  # for the AVX-512 clones; others have no such vectors
SANITIZERS = os.environ.get("LAE_SANITIZE", "")
if SANITIZERS:
    HOST += [f"-fsanitize={SANITIZERS}", "-fno-sanitize-recover=all", "-fno-sanitize=vptr"]
    HOST += ["-fno-omit-frame-pointer", "-g1"]
CUDA = [*COMMON, "-Xcompiler=-fvisibility=hidden", "--threads=0"]  # architectures side by side

extensions = [
    CppExtension(
        "lae_fast._C",
        sources("*.cpp", "cpu/*.cpp"),
        include_dirs=[pybind11.get_include()],
        define_macros=[
            ("LAE_BUILT_WITH_TORCH", text_macro(torch.__version__)),
            ("LAE_STABLE_ABI", text_macro(STABLE_ABI)),
            ("LAE_CUDA_VERSION", text_macro((WITH_CUDA and toolkit_version()) or "")),
            ("LAE_CUDA_ARCHITECTURES", text_macro(architectures() if WITH_CUDA else "")),
        ],
        depends=HEADERS,
        extra_compile_args={"cxx": HOST},
        extra_link_args=[f"-fsanitize={SANITIZERS}"] if SANITIZERS else [],
    )
]
if WITH_CUDA:
    extensions.append(
        CUDAExtension(
            "lae_fast._C_cuda",
            ["csrc/cuda/all.cu"],
            library_dirs=runtime_folders(),
            depends=[*HEADERS, *sources("cuda/*.cu")],
            extra_compile_args={"cxx": HOST, "nvcc": CUDA},
        )
    )

setup(
    ext_modules=[without_torch_python(extension) for extension in extensions],
    cmdclass={"build_ext": BuildExtension},
)
