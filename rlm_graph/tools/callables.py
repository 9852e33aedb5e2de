"""Functions of the host as tools: LangChain calls them by the names of their parameters alone."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD


def callable_by_name(function: Any) -> Any:
    """Return the function so that each of its parameters can be given by name.

    `*numbers` and `**options` become a list and a dict of these names; what has a parameter before `/` gets it there.
    """
    if not inspect.isroutine(function):
        return function
    signature = inspect.signature(function)
    if all(each.kind in (_NAMED, inspect.Parameter.KEYWORD_ONLY) for each in signature.parameters.values()):
        return function
    kinds = _kinds(function)
    parameters = [_by_name(each, kinds.get(each.name, Any)) for each in signature.parameters.values()]
    named = signature.replace(parameters=_ordered(parameters))

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def acalled(**given: Any) -> Any:
            args, kwargs = _unfolded(signature, given)
            return await function(*args, **kwargs)

        called: Callable[..., Any] = acalled
    else:

        @functools.wraps(function)
        def plain(**given: Any) -> Any:
            args, kwargs = _unfolded(signature, given)
            return function(*args, **kwargs)

        called = plain
    del called.__wrapped__  # type: ignore[attr-defined]  # whoever looks for the signature would go past this one
    called.__signature__ = named  # type: ignore[attr-defined]
    called.__annotations__ = {**kinds, **{each.name: each.annotation for each in parameters}}
    return called


def _by_name(parameter: inspect.Parameter, kind: Any) -> inspect.Parameter:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return parameter.replace(kind=_NAMED, default=[], annotation=list[kind])
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return parameter.replace(kind=_NAMED, default={}, annotation=dict[str, kind])
    return parameter.replace(kind=_NAMED, annotation=kind)


def _kinds(function: Any) -> Mapping[str, Any]:
    """Return the types of the parameters, read where the function was written."""
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # a name that only type checkers see
        return {}


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Put those that must be given first: here all are given by name."""
    return sorted(parameters, key=lambda each: each.default is not inspect.Parameter.empty)


def _unfolded(signature: inspect.Signature, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        match parameter.kind:
            case inspect.Parameter.VAR_POSITIONAL:
                args += given.get(name) or ()
            case inspect.Parameter.VAR_KEYWORD:
                kwargs |= given.get(name) or {}
            case inspect.Parameter.KEYWORD_ONLY:
                kwargs |= {name: given[name]} if name in given else {}
            case _ if name in given:
                args.append(given[name])
            case _ if parameter.default is not inspect.Parameter.empty:
                args.append(parameter.default)
    return args, kwargs


def by_field_name(tool: BaseTool) -> BaseTool:
    """Return the tool so that arguments are taken by the names of its model's fields, where these have aliases.

    LangChain drops what was given by an alias, and a model may take nothing else.
    """
    model = tool.args_schema
    if not isinstance(tool, StructuredTool) or not isinstance(model, type) or not issubclass(model, BaseModel):
        return tool
    fields = model.model_fields
    if not any(field.alias or field.validation_alias for field in fields.values()):
        return tool
    meta: Any = type(model)
    named = meta(
        model.__name__,
        (model,),
        {
            "__module__": model.__module__,
            "__doc__": model.__doc__,
            "__annotations__": {name: field.annotation for name, field in fields.items()},
            "model_config": ConfigDict(alias_generator=None, populate_by_name=True),
            **{name: _without_alias(field) for name, field in fields.items()},
        },
    )
    return tool.model_copy(update={"args_schema": named})


def _without_alias(field: FieldInfo) -> FieldInfo:
    plain = copy.copy(field)
    plain._attributes_set = {key: value for key, value in field._attributes_set.items() if "alias" not in key}
    plain.alias = plain.validation_alias = plain.serialization_alias = plain.alias_priority = None
    return plain
