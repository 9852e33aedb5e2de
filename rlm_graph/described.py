"""Models whose fields are described by the docstrings under them, which are read when somebody asks for them."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from itertools import pairwise
from typing import Any

from pydantic import AliasChoices, BaseModel, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue


class Described(BaseModel):
    """A model that says in its JSON schema what the docstrings under its fields say.

    Pydantic's own `use_attribute_docstrings` reads and parses the source of each class when it is made: a third of what
    importing all our classes takes.
    """

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, description in descriptions(cls).items():
            field = cls.model_fields[name]
            key = next((key for key in (name, *_other_names(field)) if key in properties), None)
            if key is not None and field.description is None:
                properties[key]["description"] = description
        return schema


def _other_names(field: FieldInfo) -> list[str]:
    others = field.validation_alias
    return [str(name) for name in (others.choices if isinstance(others, AliasChoices) else [others]) if name]


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """Return what is said of the fields of a model, by their names: in `Field(description=...)`, or in docstrings."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, Described) and base is not Described:
            anew = vars(base).get("__annotations__", {})
            found = {name: words for name, words in found.items() if name not in anew} | _docstrings(base)
    said = {name: field.description or found.get(name) for name, field in model.model_fields.items()}
    return {name: words for name, words in said.items() if words}


@functools.cache
def _docstrings(kind: type[Any]) -> dict[str, str]:
    """Return the docstrings under the attributes that the body of a class annotates; none where its source is not."""
    try:
        place: ast.AST = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    except (KeyError, OSError, TypeError, SyntaxError):
        return {}
    for name in kind.__qualname__.split("."):
        found = next((node for node in ast.walk(place) if _is_named(node, name)), None)
        if found is None:
            return {}
        place = found
    assert isinstance(place, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(said.value.value)
        for field, said in pairwise(place.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(said, ast.Expr)
        and isinstance(said.value, ast.Constant)
        and isinstance(said.value.value, str)
    }


def _is_named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
