"""What the fuzz targets share: how input is broken, and what may come of it.

``FUZZ_EXAMPLES`` sets how many inputs a target tries; `make fuzz` tries 10,000. The default suite
tries few, always the same.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
HEADROOM = 1 << 30
"""Bytes of address space that a target may add: what it parses is a few kilobytes."""

randoms = st.integers(0, 2**64 - 1).map(random.Random)
"""Sources of chance; an example is repeated from its integer."""


def fuzz(quick: int = 40) -> Callable[[Any], Any]:
    """Settings of a target: ``quick`` inputs in the default suite, unless told otherwise."""
    return settings(
        max_examples=EXAMPLES or quick,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


INTEGERS = (0, 1, -1, 127, 128, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1)
WORDS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "none",
    "auto",
    "../../outside",
    "/etc/passwd",
    "\x1b[31mred",
    "two\nlines",
    "nul\0",
    "\u202eright to left",
    "\ud800",
    "x" * 5000,
    "[" * 3000,
    "%s%n{0}",
    "$(touch outside)",
    "; touch outside",
    "-",
    "--help",
    "~",
    "1_000",
    "１２",
    "0x10",
    "é\u0301",
)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: tuple[Any, ...] = (
    None,
    True,
    False,
    *INTEGERS,
    2**70,
    -(2**70),
    10**400,
    0.5,
    -0.0,
    1e308,
    5e-324,
    float("nan"),
    float("inf"),
    -float("inf"),
    *WORDS,
    [],
    {},
    [[]],
    {"": {}},
    nested(50),
    [0] * 1000,
)


def broken_bytes(chance: random.Random, content: bytes) -> bytes:
    """``content`` with a few flips, cuts, repeats, insertions and edge-case integers."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        _break_once(chance, data)
    return bytes(data)


def _break_once(chance: random.Random, data: bytearray) -> None:
    # Headers stand in front: half of all damage goes there.
    reach = len(data) if chance.random() < 0.5 else min(len(data), 256)
    at = chance.randrange(reach + 1)
    span = chance.choice((1, 1, 2, 4, 8, 64, 1000))
    match chance.randrange(7):
        case 0 if at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        case 1:
            del data[at:]
        case 2:
            del data[at : at + span]
        case 3:
            data[at:at] = data[at : at + span]
        case 4:
            data[at:at] = chance.randbytes(span)
        case 5:
            size, order = chance.choice((2, 4, 8)), chance.choice(("big", "little"))
            value = chance.choice(INTEGERS) % 256**size
            data[at : at + size] = value.to_bytes(size, order)
        case _:
            _break_number(chance, data)


def _break_number(chance: random.Random, data: bytearray) -> None:
    """Replace digits that stand in the text, if there are any."""
    places = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    if places:
        at = chance.choice(places)
        data[at : at + 1] = str(chance.choice(INTEGERS)).encode()


def broken_json(chance: random.Random, value: Any) -> Any:
    """A copy of a JSON value with a few of its parts replaced, dropped or added."""
    result = [copy.deepcopy(value)]
    for _ in range(chance.choice((1, 1, 2, 5))):
        holder: Any = result
        while True:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            key = chance.choice(keys)
            inner = holder[key]
            if not isinstance(inner, dict | list) or not inner or chance.random() < 0.2:
                break
            holder = inner
        if isinstance(holder, dict) and chance.random() < 0.3:
            holder.pop(key)
            holder[chance.choice(WORDS)] = copy.deepcopy(chance.choice(HOSTILE))
        elif chance.random() < 0.9 or holder is result:
            holder[key] = copy.deepcopy(chance.choice(HOSTILE))
        else:
            holder.pop(key)
        if not holder:
            break
    return result[0] if result else None


def json_bytes(value: Any) -> bytes:
    """As a program that does not check would write it, NaN and lone surrogates included."""
    return json.dumps(value).encode()


def is_one_line(message: str) -> bool:
    """Whether a message is something to show: not empty, printable, one line, not endless."""
    return bool(message.strip()) and "\n" not in message and message.isprintable()


def refusal(action: Callable[[], Any], *kinds: type[Exception]) -> str | None:
    """The one line with which ``action`` refuses; None when it succeeds."""
    try:
        action()
    except kinds as error:
        return _checked(str(error))
    return None


def _checked(message: str) -> str:
    assert is_one_line(message), repr(message)
    assert len(message) < 2000
    return message


@contextlib.contextmanager
def bounded_memory(headroom: int = HEADROOM) -> Iterator[None]:
    """Let allocations fail that go ``headroom`` bytes beyond what the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + headroom
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fingerprint(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything under a folder: mode and content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }


def assert_refused_well(code: int, err: str, allowed: tuple[int, ...] = (2,)) -> None:
    """Success, or one clear line and a documented code."""
    assert code in (0, *allowed), (code, err)
    assert "Traceback" not in err
    if code > 1:  # 1 is a verdict
        refusals = [line for line in err.splitlines() if line.startswith(("lae: ", "error: "))]
        assert len(refusals) == 1, err
        assert err.splitlines()[-1] == refusals[0]
        assert is_one_line(refusals[0]), err
