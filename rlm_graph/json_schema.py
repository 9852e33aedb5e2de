"""JSON schemas that others wrote, of any draft: whether one is sound, and what a value lacks of its form.

Nothing is fetched for a schema. A `$ref` to elsewhere makes it unusable, for what it demands cannot be known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rlm_graph.schema_bounds import bounded_validator, faults

if TYPE_CHECKING:
    from jsonschema import ValidationError

Schema = Mapping[str, Any] | bool


class UnusableSchema(ValueError):
    """What is given is no JSON schema, or one that nothing can be checked against; the message says why."""


class JSONSchema:
    """A sound schema, read by the draft that it declares, else by the newest one whose rules it keeps.

    Raises `UnusableSchema` if it keeps those of none, or if a reference in it leads nowhere or elsewhere. A pattern
    that Python cannot read is passed over, for the standard's regular expressions are JavaScript's; with `strict` it
    is refused.
    """

    def __init__(self, schema: Schema, *, strict: bool = False) -> None:
        from jsonschema.exceptions import SchemaError

        try:
            draft = _draft(schema)
            _check_parts(schema, draft, strict=strict)
        except SchemaError as error:
            raise UnusableSchema(f"{error.json_path}: {error.message[:300]}") from error
        except RecursionError as error:
            raise UnusableSchema("it is nested too deep") from error
        self._validator = bounded_validator(draft, schema)

    def faults(self, value: Any) -> Iterator[ValidationError]:
        """Yield what is wrong with the value."""
        yield from faults(self._validator, value)


def _draft(schema: Schema) -> Any:
    """Return the validator class of the draft that the schema is written in. Raises `jsonschema`'s `SchemaError`."""
    import jsonschema
    from jsonschema.exceptions import SchemaError

    # Not draft 3, unless it is declared: there any word is a type.
    drafts: list[Any] = [
        jsonschema.Draft202012Validator, jsonschema.Draft201909Validator, jsonschema.Draft7Validator,
        jsonschema.Draft4Validator,
    ]  # fmt: skip
    declared = schema.get("$schema") if isinstance(schema, Mapping) else None
    if isinstance(declared, str):
        drafts.insert(0, jsonschema.validators.validator_for({"$schema": declared}, default=drafts[0]))
    objection: SchemaError | None = None
    for draft in drafts:
        try:
            draft.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
        except SchemaError as error:
            objection = objection or error
        else:
            return draft
    assert objection is not None
    raise objection


def _drafts_themselves() -> Any:
    """Return the registry in which a schema may find the drafts, and which fetches nothing."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


def _check_parts(schema: Schema, draft: Any, *, strict: bool) -> None:
    """Raise `UnusableSchema` for a reference to nowhere, and with `strict` for a pattern that Python cannot read."""
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import specification_with

    specification = specification_with(draft.META_SCHEMA.get("$schema", draft.META_SCHEMA.get("id")))
    root = specification.create_resource(schema)
    pending: list[Any] = []
    seen: set[int] = set()
    reference: Any = None
    try:
        pending.append((root, _drafts_themselves().resolver_with_root(root)))
        while pending:
            part, resolver = pending.pop()
            if id(part.contents) in seen or not isinstance(part.contents, Mapping):
                continue
            seen.add(id(part.contents))
            if strict:
                _check_patterns(part.contents)
            reference = part.contents.get("$ref")
            if isinstance(reference, str):
                found = resolver.lookup(reference)
                pending.append((specification.create_resource(found.contents), found.resolver))
            pending += [(below, resolver.in_subresource(below)) for below in part.subresources()]
    except Unresolvable as error:
        raise UnusableSchema(f"the reference {reference!r} leads to nothing that is part of the schema") from error
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        if isinstance(error, UnusableSchema):
            raise
        raise UnusableSchema(f"its parts cannot be read: {error}") from error  # by the library, which expects others


def _check_patterns(schema: Mapping[str, Any]) -> None:
    keyed = schema.get("patternProperties")
    for pattern in [schema.get("pattern"), *(keyed if isinstance(keyed, Mapping) else ())]:
        if isinstance(pattern, str):
            try:
                re.compile(pattern)
            except re.error as error:
                raise UnusableSchema(f"Python cannot read the pattern {pattern[:100]!r}: {error}") from error
