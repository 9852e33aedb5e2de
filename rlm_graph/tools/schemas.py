"""The schema of a tool's arguments: an object whose properties can be named, whatever its author wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import BaseTool, Tool
from langchain_core.utils.function_calling import convert_to_openai_tool

_CHOICES = ("anyOf", "oneOf")
MAX_LEVELS = 8
"""Of references and combinations above the properties."""


def written_schema(tool: BaseTool) -> dict[str, Any]:
    """Return the schema that a tool brings with it, mended where servers write what can only mean one thing."""
    if isinstance(tool.args_schema, dict):
        return mended(tool.args_schema)
    if isinstance(tool, Tool) and tool.args_schema is None:
        return {"type": "object", "properties": tool.args, "required": list(tool.args)}
    parameters: dict[str, Any] = convert_to_openai_tool(tool)["function"].get("parameters") or {}
    return parameters


def mended(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without empty lists and nulls for `properties` and `required`.

    PHP has one empty array, and languages with structs write null for a list that was never made.
    """
    whole = dict(schema)
    if whole.get("properties", {}) in ([], None):
        whole["properties"] = {}
    if whole.get("required", ()) is None:
        del whole["required"]
    return whole


def offered_schema(tool: BaseTool, written: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema that models are told: references replaced where LangChain can, and always an object."""
    schema = dict(written)
    if isinstance(tool.args_schema, dict):
        try:
            told = tool.model_copy(update={"args_schema": schema})
            schema = convert_to_openai_tool(told)["function"].get("parameters") or {}
        except Exception:  # what it does not expect in a schema, it meets with any exception
            schema = dict(written)
    properties, required = _parts(schema, schema, 0)
    for name in required:  # a schema may demand what it does not describe
        properties.setdefault(name, {})
    described = {name: _as_object(each) for name, each in properties.items() if each is not False}
    offered = {"type": "object", **schema, "properties": described}
    if required:
        offered["required"] = [name for name in required if name in described]
    return offered


def is_open(schema: Mapping[str, Any]) -> bool:
    """Tell whether the schema says that there may be arguments that it does not name."""
    return schema.get("additionalProperties") not in (None, False) or bool(schema.get("patternProperties"))


def _as_object(schema: Any) -> dict[str, Any]:
    """Return a property's schema without its short form, which some providers refuse: `true` stands for any value."""
    return dict(schema) if isinstance(schema, Mapping) else {}


def _parts(schema: Any, root: Mapping[str, Any], level: int) -> tuple[dict[str, Any], list[str]]:
    """Collect the properties of a schema, and the names that must be given, from all that it is made of."""
    if not isinstance(schema, Mapping) or level > MAX_LEVELS:
        return {}, []
    properties = dict(schema["properties"]) if isinstance(schema.get("properties"), Mapping) else {}
    required = [name for name in schema.get("required") or () if isinstance(name, str)]
    elsewhere = [_found(schema.get("$ref"), root), *(schema.get("allOf") or ())]
    for part in elsewhere:
        more, needed = _parts(part, root, level + 1)
        properties = {**more, **properties}
        required += [name for name in needed if name not in required]
    for key in _CHOICES:
        choices = [_parts(choice, root, level + 1) for choice in schema.get(key) or ()]
        for more, _ in choices:
            properties = {**more, **properties}
        if choices:
            shared = [name for name in choices[0][1] if all(name in needed for _, needed in choices)]
            required += [name for name in shared if name not in required]
    return properties, required


def _found(reference: Any, root: Any) -> Any:
    """Return what a reference within the schema leads to; None for any other."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    place = root
    for step in reference[2:].split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(place, Mapping) or key not in place:
            return None
        place = place[key]
    return place
