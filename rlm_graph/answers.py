"""The form that an answer must have: a text, or a value of a type that the caller named."""

from __future__ import annotations

import ast
import base64
import contextlib
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from rlm_graph.errors import SetupError
from rlm_graph.json_schema import JSONSchema, UnusableSchema
from rlm_graph.state import FinalAnswer
from rlm_graph.typed_answer import TypedAnswer, as_typed

MAX_FAULTS = 5
"""Faults of one answer that are told."""
MAX_DIGITS = 3500
"""Of an integer in a text, in decimal or hexadecimal: Python writes none of more than 4300 in decimal."""

_INTEGER = re.compile(rf"-?(?:0x[0-9a-f]{{16,{MAX_DIGITS}}}|[0-9]{{19,{MAX_DIGITS}}})")
_BYTES = re.compile(r"b['\"]")

_WRAPPING = ("json_schema", "schema", "parameters", "input_schema", "function", "response_format")
"""Keys under which providers' requests hold a schema."""
_ANNOTATING = frozenset(
    {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
)
"""Words of JSON Schema that demand nothing."""


@dataclass(frozen=True)
class Settled:
    """An answer against its form: either the value that fits it, or words for what is wrong."""

    typed: TypedAnswer | None = None
    problem: str | None = None


class AnswerFormat:
    """Holds answers to `response_format`: a type that pydantic can check, a JSON schema as a dict, or None for any.

    Such types are pydantic models, dataclasses, TypedDicts, enums, unions and lists of them, and plain ones such as
    `int`. Raises `SetupError` for what is none, for a dict that is no JSON schema or refers to elsewhere, and for one
    that only holds a schema, as OpenAI's requests do.
    """

    def __init__(self, response_format: Any = None) -> None:
        self.type: Any = None
        self.schema: Mapping[str, Any] | None = None
        self._adapter: TypeAdapter[Any] | None = None
        self._sound: JSONSchema | None = None
        if response_format is None:
            return
        if isinstance(response_format, Mapping):
            self.schema = response_format
            self._sound = _sound(response_format)
            return
        try:
            if inspect.isroutine(response_format):
                raise TypeError("it is a function")  # which pydantic would call with the answer
            self._adapter = TypeAdapter(response_format)
            self.schema = self._adapter.json_schema()
        except (PydanticUserError, PydanticSchemaGenerationError, TypeError, NameError) as error:
            raise SetupError(
                f"response_format is {response_format!r}: {str(error).splitlines()[0][:200]}; give a pydantic model, "
                "another type that pydantic can check, or a JSON schema"
            ) from error
        self.type = response_format

    def settle(self, final: FinalAnswer) -> Settled:
        """Find the reading of the answer that has the form, or say in the validator's words what is wrong with it."""
        if self.schema is None:
            return Settled()
        words = ""
        for value in _readings(final):
            objection = self._objection(value)
            if objection is None:
                return Settled(typed=TypedAnswer(value=value))
            words = objection
        return Settled(
            problem=f"The answer does not have the form that was asked for: {words}. Give FINAL a value of that form."
        )

    def _objection(self, value: Any) -> str | None:
        if self._adapter is None:
            assert self._sound is not None
            faults = islice(self._sound.faults(value), MAX_FAULTS)
            return "; ".join(f"{fault.json_path}: {fault.message[:300]}" for fault in faults) or None
        try:
            as_typed(self._adapter, value)
        except ValidationError as error:
            return "; ".join(
                f"{'.'.join(map(str, found['loc'])) or 'the value'}: {found['msg']}"
                for found in error.errors(include_url=False, include_input=False, include_context=False)[:MAX_FAULTS]
            )
        except Exception as error:  # the caller's own validators may raise anything, and the model can mend it
            return f"{type(error).__name__}: {error}"[:300]
        return None


def _sound(schema: Mapping[str, Any]) -> JSONSchema:
    """Check the caller's own schema, before anything is paid for. Raises `SetupError`."""
    from jsonschema import Draft202012Validator

    known = {*Draft202012Validator.VALIDATORS, "$defs", "$schema", "$id", "definitions"}
    inside = next((key for key in _WRAPPING if isinstance(schema.get(key), Mapping)), None)
    if inside is not None and not (known - {"type", "$schema", "$id"}) & schema.keys():
        raise SetupError(
            f"response_format is no JSON schema but holds one: give what is under {inside!r}, such as "
            '{"type": "object", "properties": {...}}'
        )
    if schema and not {*known, *_ANNOTATING} & schema.keys():
        raise SetupError(
            f"response_format is no valid JSON schema: it demands nothing, for none of {', '.join(map(repr, schema))} "
            'is a word of JSON Schema; give one such as {"type": "object", "properties": {...}}'
        )
    try:
        return JSONSchema(schema, strict=True)
    except UnusableSchema as error:
        raise SetupError(f"response_format is no valid JSON schema: {error}") from error


def _readings(final: FinalAnswer) -> Iterator[Any]:
    """Yield what the answer may stand for: models often give the object as a text in JSON.

    Where it is not exact, it may hold texts in the place of integers of more than 64 bits, and of bytes, for which
    JSON has no form: pydantic reads them from UTF-8 or, where a model is so configured, from Base64.
    """
    if not final.exact:
        for encoding in ("utf-8", "base64"):
            with contextlib.suppress(ValueError):
                yield _restored(final.value, encoding)
    yield final.value
    if isinstance(final.value, str):
        with contextlib.suppress(ValueError, RecursionError):
            yield json.loads(final.value)
    if final.exact:  # in a message, such integers are texts too
        yield _restored(final.value, "")


def _restored(value: Any, encoding: str) -> Any:
    """Read the texts that are integers, and those that are bytes if `encoding` says how JSON gives these.

    Raises `ValueError` for bytes that are no UTF-8, where that is the encoding.
    """
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            return int(value, 0)
        return _bytes_as_text(value, encoding) if encoding and _BYTES.match(value) else value
    if isinstance(value, list):
        return [_restored(item, encoding) for item in value]
    return {key: _restored(item, encoding) for key, item in value.items()} if isinstance(value, dict) else value


def _bytes_as_text(literal: str, encoding: str) -> str:
    try:
        raw = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return literal
    if not isinstance(raw, bytes):
        return literal
    return raw.decode("utf-8") if encoding == "utf-8" else base64.urlsafe_b64encode(raw).decode("ascii")
