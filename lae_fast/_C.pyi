"""Types of the compiled module; importing it registers ``torch.ops.lae_fast``."""

from collections.abc import Sequence
from typing import TypedDict

class BuildInfo(TypedDict):
    """What the extension was built with, and what it runs on this machine."""

    torch: str
    stable_abi: str
    compiler: str
    instruction_set: str
    cuda: str | None
    cuda_architectures: list[str]

def build_info() -> BuildInfo: ...
def philox4x32_10(counter: Sequence[int], key: Sequence[int]) -> list[int]: ...
