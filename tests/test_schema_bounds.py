"""Schemas and values of strangers: whatever they are, there is a verdict, and no wait for it."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from rlm_graph.schema_bounds import MAX_FAULTS, bounded_validator, faults

DRAFT_7 = "http://json-schema.org/draft-07/schema#"
EVIL = "^(a|a)*$"
VICTIM = "a" * 60 + "b"
DOUBLING = {f"n{n}": {"anyOf": [{"$ref": f"#/$defs/n{n + 1}"}] * 2} for n in range(60)}


def told(schema: Any, value: Any) -> list[str]:
    return [fault.message for fault in faults(bounded_validator(Draft202012Validator, schema), value)]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"pattern": EVIL}, VICTIM),
        ({"properties": {"a": {"type": "string", "pattern": EVIL}}}, {"a": VICTIM}),
        ({"patternProperties": {EVIL: {}}}, {VICTIM: 1}),
        ({"patternProperties": {EVIL: {}}, "additionalProperties": False}, {VICTIM: 1}),
        ({"propertyNames": {"pattern": EVIL}}, {VICTIM: 1}),
        ({"items": {"pattern": EVIL}}, [VICTIM] * 1_000),
        ({"$schema": DRAFT_7, "allOf": [{"pattern": EVIL}]}, VICTIM),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$schema": DRAFT_7, "pattern": EVIL}}}, VICTIM),
        ({"$ref": "#/$defs/n0", "$defs": {**DOUBLING, "n60": {"type": "string"}}}, 5),
        ({"$ref": "#"}, 5),
        ({"$ref": "http://127.0.0.1:9/schema"}, 5),
        ({"$ref": "file:///etc/passwd"}, 5),
    ],
    ids=range(12),
)  # fmt: skip
def test_what_would_take_for_ever_or_elsewhere_is_at_fault_and_said_to_be(schema: Any, value: Any) -> None:
    [words] = told(schema, value)

    assert "cannot be checked" in words or "too deep" in words


def test_unevaluated_properties_demand_nothing_beside_patterns() -> None:
    assert told({"allOf": [{"patternProperties": {EVIL: {}}}], "unevaluatedProperties": False}, {"b": 1}) == []
    assert len(told({"properties": {"a": {}}, "unevaluatedProperties": False}, {"b": 1})) == 1


@pytest.mark.parametrize(
    ("schema", "value", "sound"),
    [
        ({"pattern": "^[a-z]+$"}, "abc", True),
        ({"pattern": "^[a-z]+$"}, "ab1", False),
        ({"pattern": "("}, "x", True),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "b": "x"}, True),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": "x"}, False),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, {"n_a": 1}, True),
        ({"patternProperties": {"^n_": {}}, "additionalProperties": False}, {"b": 1}, False),
        ({"additionalProperties": {"type": "integer"}}, {"b": "x"}, False),
        ({"uniqueItems": True}, [1, True, "1", [1], {"a": 1}], True),
        ({"uniqueItems": True}, [1, 1.0], False),
        ({"uniqueItems": True}, [{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ({"uniqueItems": True}, [{"a": n} for n in range(50_000)], True),
        ({"properties": {"$schema": {"type": "string"}}}, {"$schema": 5}, False),
        ({"enum": [{"$schema": "x"}]}, {"$schema": "x"}, True),
    ],
    ids=range(14),
)  # fmt: skip
def test_within_bounds_the_verdict_is_that_of_the_standard(schema: Any, value: Any, sound: bool) -> None:
    assert (told(schema, value) == []) is sound


def test_faults_are_counted_out() -> None:
    assert len(told({"items": {"type": "string"}}, [1] * 100_000)) == MAX_FAULTS
