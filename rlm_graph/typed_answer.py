"""A typed answer in the state: recorded as JSON, read as the object that its form makes of it.

Serializers of checkpoints hold some objects of pydantic's and not others (an `HttpUrl`, a `RootModel`), and give an
object back only where its class can be imported. JSON they all hold.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import JsonValue, PrivateAttr, TypeAdapter, ValidationError

from rlm_graph.json_pieces import LARGE, json_pieces, weight
from rlm_graph.value import CheckpointValue


class TypedAnswer(CheckpointValue):
    """What the answer's form is made of, as JSON."""

    value: JsonValue
    kept: dict[str, JsonValue] | None = None
    """Where the value lies if it is too large for a checkpoint, as a `KeptValue` says it; `value` is then None."""
    _whole: TypedAnswer | None = PrivateAttr(default=None)
    """The answer with its value, in the process that gave it."""


def as_typed(adapter: TypeAdapter[Any], value: JsonValue) -> Any:
    """Return the object of the adapter's type. Raises `ValidationError` if the value does not fit it.

    Read as JSON: a strict type takes a text for an enum or a date from nothing else.
    """
    try:
        return adapter.validate_json("".join(json_pieces(value)) if weight(value) >= LARGE else json.dumps(value))
    except ValidationError as error:
        objection = error
    except ValueError:  # Python writes no integer of more digits than it reads
        return adapter.validate_python(value)
    try:
        return adapter.validate_python(value)
    except ValidationError:
        raise objection from None
