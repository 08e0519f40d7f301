"""Events: every one survives its line, and no line breaks the reader."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lae_fast.runs.events import KINDS, SCHEMA_VERSION, Event, Message, decode, decode_many, encode

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": st.floats(allow_nan=False),
    "int": st.integers(-(2**63), 2**63),
    "bool": st.booleans(),
    "str": st.text(),
    "tuple[float, ...]": st.lists(st.floats(allow_nan=False), max_size=4).map(tuple),
}


def strategy(kind: type[Event]) -> st.SearchStrategy[Event]:
    fields = {}
    for spec in dataclasses.fields(kind):
        values = VALUES[str(spec.type).removesuffix(" | None")]
        fields[spec.name] = st.none() | values if "None" in str(spec.type) else values
    return st.builds(kind, **fields)


EVENTS = st.one_of([strategy(kind) for kind in KINDS.values()])


@given(EVENTS)
def test_round_trip(event: Event) -> None:
    line = encode(event)
    assert "\n" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    again = decode(line)
    assert again == event
    assert type(again) is type(event)


@given(st.lists(EVENTS, max_size=5), st.lists(st.binary(max_size=40), max_size=3), st.randoms())
def test_many_is_one_by_one(events: list[Event], noise: list[bytes], random: Any) -> None:
    lines = [encode(event).encode() for event in events] + [n.replace(b"\n", b"") for n in noise]
    random.shuffle(lines)
    assert decode_many(lines) == [decode(line) for line in lines]


@given(EVENTS, st.data())
def test_torn_lines_are_nothing(event: Event, data: st.DataObject) -> None:
    line = encode(event)
    assert decode(line[: data.draw(st.integers(0, len(line) - 1))]) is None


def test_nan_survives() -> None:
    line = encode(Message(time=math.nan, level="info", text=""))
    assert '"nan"' in line
    event = decode(line)
    assert event is not None
    assert math.isnan(event.time)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": SCHEMA_VERSION + 1},
        {"schema": "1"},
        {"schema": None},
        {"type": "party"},
        {"type": []},
        {"time": "soon"},
        {"time": 10**400},
        {"time": None},
        {"text": 5},
        {"level": True},
    ],
)
def test_wrong_values_are_nothing(change: dict[str, Any]) -> None:
    values = {"schema": 1, "type": "message", "time": 1.0, "level": "info", "text": "hello"}
    assert decode(json.dumps(values)) is not None
    assert decode(json.dumps(values | change)) is None


def test_missing_and_surplus_fields() -> None:
    values = {"schema": 1, "type": "message", "time": 1, "level": "info", "text": "hello"}
    event = decode(json.dumps(values | {"colour": "red"}))
    assert event == Message(time=1.0, level="info", text="hello")
    assert type(event.time) is float
    del values["text"]
    assert decode(json.dumps(values)) is None


@pytest.mark.parametrize("line", ["", "null", "[]", "3", "[" * 100_000, '{"schema": 1}', "\ud800"])
def test_foreign_lines_are_nothing(line: str) -> None:
    assert decode(line) is None
