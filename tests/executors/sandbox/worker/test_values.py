"""Values → JSON, where no process is needed to see it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import uuid
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from rlm_graph.executors.conformance.answers import VALUES
from rlm_graph.executors.sandbox.frames import decode, encode, is_deep
from rlm_graph.executors.sandbox.worker.values import as_json

# By count and not by the clock: a busy machine must not fail a test.
steady = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.decimals(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.integers() | st.text(), inner)
    | st.frozensets(st.integers() | st.text()),
    max_leaves=15,
)  # fmt: skip


class Model(BaseModel):
    x: int


@dataclasses.dataclass(slots=True)
class Point:
    x: int
    at: datetime.datetime


@pytest.mark.parametrize(("code", "value", "exact"), VALUES, ids=[code for code, _, _ in VALUES])
def test_values_of_the_list_convert_as_it_says(code: str, value: JsonValue, exact: bool) -> None:
    assert as_json(eval(code)) == (value, exact)


@steady
@given(ANYTHING)
def test_whatever_is_converted_fits_a_frame_and_stays_as_it_is(value: object) -> None:
    converted, _ = as_json(value)

    assert decode(encode({"value": converted})) == {"value": converted}
    assert as_json(converted)[0] == converted


def test_values_of_libraries_become_what_they_hold() -> None:
    value = {
        "model": Model(x=1),
        "point": Point(2, datetime.datetime(2024, 1, 2)),
        "time": datetime.time(3, 4),
        "id": uuid.UUID(int=5),
        "path": PurePosixPath("a/b"),
        "amount": decimal.Decimal("1.50"),
        "keys": {"k": 1}.keys(),
        "made": (n * n for n in range(3)),
    }

    assert as_json(value) == (
        {
            "model": {"x": 1},
            "point": {"x": 2, "at": "2024-01-02T00:00:00"},
            "time": "03:04:00",
            "id": "00000000-0000-0000-0000-000000000005",
            "path": "a/b",
            "amount": "1.50",
            "keys": ["k"],
            "made": [0, 1, 4],
        },
        True,
    )


def test_depth_is_bounded() -> None:
    nested: list[Any] = []
    for _ in range(5000):
        nested = [nested]

    converted, exact = as_json(nested)

    assert not exact
    assert not is_deep(converted)


def test_integers_of_any_length_are_told() -> None:
    converted, exact = as_json(10**6000)

    assert isinstance(converted, str)
    assert converted.startswith("0x")
    assert not exact


def test_sets_that_cannot_be_sorted_have_an_order_all_the_same() -> None:
    assert json.dumps(as_json({1, "a", (2,)})[0]) == json.dumps(as_json({(2,), "a", 1})[0])
