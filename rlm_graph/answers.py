"""The form that an answer must have: a text, or a value of a type that the caller named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from typing_extensions import is_typeddict

from rlm_graph.errors import SetupError
from rlm_graph.state import Answer, FinalAnswer


class AnswerFormat:
    """Holds answers to `response_format`: a pydantic model, a TypedDict, a JSON schema as a dict, or None for any.

    Raises `SetupError` for anything else, and for a dict that is no valid JSON schema.
    """

    def __init__(self, response_format: type | Mapping[str, Any] | None = None) -> None:
        self.type: type | None = None
        self.schema: Mapping[str, Any] | None = None
        self._adapter: TypeAdapter[Any] | None = None
        if response_format is None:
            return
        if isinstance(response_format, Mapping):
            self.schema = _checked(response_format)
        elif is_typeddict(response_format) or _is_model(response_format):
            self.type = response_format
            self._adapter = TypeAdapter(response_format)
            self.schema = self._adapter.json_schema()
        else:
            raise SetupError(
                f"response_format is {response_format!r}; give a pydantic model, a TypedDict or a JSON schema"
            )

    def problem(self, final: FinalAnswer) -> str | None:
        """Say in the validator's words what is wrong with the answer; None if nothing is."""
        words = None
        for value in _readings(final.value):
            words = self._objection(value)
            if words is None:
                return None
        return f"The answer does not have the form that was asked for: {words}. Give FINAL a value of that form."

    def output(self, answer: Answer) -> dict[str, Any]:
        """Return the typed object as the state's `structured_response`; nothing without a format or a match."""
        if self.schema is None:
            return {}
        for value in _readings(answer.value):
            if self._objection(value) is None:
                return {"structured_response": self._adapter.validate_python(value) if self._adapter else value}
        return {}

    def _objection(self, value: Any) -> str | None:
        if self.schema is None:
            return None
        if self._adapter is None:
            return _against_schema(value, self.schema)
        try:
            self._adapter.validate_python(value)
        except ValidationError as error:
            return "; ".join(
                f"{'.'.join(map(str, found['loc'])) or 'the value'}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False)[:5]
            )
        return None


def _is_model(given: object) -> bool:
    return isinstance(given, type) and issubclass(given, BaseModel)


def _checked(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise SetupError(f"response_format is no valid JSON schema: {error.message}") from error
    return schema


def _against_schema(value: Any, schema: Mapping[str, Any]) -> str | None:
    from jsonschema import Draft202012Validator

    errors = [f"{error.json_path}: {error.message[:300]}" for error in Draft202012Validator(schema).iter_errors(value)]
    return "; ".join(errors[:5]) or None


def _readings(value: Any) -> list[Any]:
    """Return the value, and what it holds if it is a text in JSON: models often give the object in words."""
    if not isinstance(value, str):
        return [value]
    try:
        return [value, json.loads(value)]
    except ValueError:
        return [value]
