"""JSON schemas that a stranger wrote, against values that a stranger's code chose: checked with bounded work.

A pattern may take for ever to match (`^(a+)+$`), and schemas may be written so that the work doubles with each line.
Here patterns are matched by an engine that stops at a deadline, and each keyword that is looked at is counted.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from itertools import islice
from typing import Any

MATCHING_S = 0.5
"""Seconds that all patterns together may take for one value."""
MAX_STEPS = 200_000
"""Keywords that are looked at for one value."""
MAX_FAULTS = 20
"""That are listed of one value."""
MAX_PATTERN_CHARS = 10_000
"""Of a pattern. A longer one is passed over."""
MAX_SHOWN_CHARS = 200
"""Of a value, in the words of a fault."""


class OutOfBounds(Exception):
    """It would take too long to check a value."""


class _Work:
    """What has been done for one value."""

    def __init__(self) -> None:
        self._steps = 0
        self._matching_s = MATCHING_S

    def step(self) -> None:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise OutOfBounds("its schema takes too many steps to check")

    def found(self, pattern: str, text: str) -> bool:
        """Whether the pattern is in the text. One that the engine cannot read is taken to be in every text."""
        import regex  # type: ignore[import-untyped]  # its types are a package of their own

        if len(pattern) > MAX_PATTERN_CHARS:
            return True
        began = time.monotonic()
        try:
            # Without the lock of the interpreter: other threads go on.
            return regex.search(pattern, text, timeout=max(self._matching_s, 0.001), concurrent=True) is not None
        except regex.error:
            return True
        except TimeoutError:
            raise OutOfBounds(f"the pattern {pattern[:MAX_SHOWN_CHARS]!r} takes too long to match") from None
        finally:
            self._matching_s -= time.monotonic() - began


_work: ContextVar[_Work] = ContextVar("rlm_graph_schema_work")


def faults(validator: Any, value: Any) -> list[Any]:
    """Return what a `bounded_validator` says is wrong with the value, the first faults.

    A value that cannot be checked within bounds, or against a schema that refers to elsewhere, is at fault.
    """
    from jsonschema import ValidationError
    from referencing.exceptions import Unresolvable

    token = _work.set(_Work())
    try:
        return list(islice(validator.iter_errors(value), MAX_FAULTS))
    except RecursionError:
        return [ValidationError("it, or its schema, is nested too deep to be checked")]
    except OutOfBounds as error:
        return [ValidationError(f"it cannot be checked: {error}")]
    except Unresolvable as error:
        return [ValidationError(f"it cannot be checked: its schema refers to {str(error)[:MAX_SHOWN_CHARS]}")]
    finally:
        _work.reset(token)


def bounded_validator(draft: Any, schema: Mapping[str, Any] | bool) -> Any:
    """Return a validator for `faults`, which checks by that class of `jsonschema` and fetches nothing for the schema.

    Where the schema has `patternProperties`, `unevaluatedProperties` demands nothing: the library would match patterns
    for it itself.
    """
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]  # it has no types

    patterned = "patternProperties" in json.dumps(schema, default=str)
    return _bounded(draft, patterned)(_own_draft(schema), registry=REGISTRY)


@functools.cache
def _bounded(draft: Any, patterned: bool) -> Any:
    from jsonschema.validators import extend

    replaced: dict[str, Any] = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    if patterned:
        replaced["unevaluatedProperties"] = _nothing
    checks = {name: replaced.get(name, check) for name, check in draft.VALIDATORS.items()}
    return extend(draft, {name: _counted(check) for name, check in checks.items()})  # type: ignore[no-untyped-call]


def _own_draft(schema: Any) -> Any:
    """Return the schema without `$schema`, by which any part of it would choose a class of its own to be checked by."""
    if isinstance(schema, Mapping):
        return {
            key: part if key in ("enum", "const") else _own_draft(part)
            for key, part in schema.items()
            if not (key == "$schema" and isinstance(part, str))
        }
    return [_own_draft(part) for part in schema] if isinstance(schema, list) else schema


def _counted(check: Any) -> Any:
    @functools.wraps(check)
    def counted(validator: Any, demanded: Any, value: Any, schema: Any) -> Iterable[Any]:
        _work.get().step()
        return check(validator, demanded, value, schema) or ()

    return counted


def _pattern(validator: Any, pattern: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(value, "string") and not _work.get().found(pattern, value):
        yield ValidationError(f"{_shown(value)} does not match {_shown(pattern)}")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(value, "object"):
        return
    for pattern, part in patterns.items():
        for name, held in value.items():
            if _work.get().found(pattern, name):
                yield from validator.descend(held, part, path=name, schema_path=pattern)


def _additional_properties(validator: Any, allowed: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(value, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    work = _work.get()
    extra = [name for name in value if name not in known and not any(work.found(each, name) for each in patterns)]
    if validator.is_type(allowed, "object"):
        for name in extra:
            yield from validator.descend(value[name], allowed, path=name)
    elif not allowed and extra:
        named = f"{', '.join(map(_shown, extra[:5]))} {'was' if len(extra) == 1 else 'were'}"
        yield ValidationError(f"Additional properties are not allowed ({named} unexpected)")


def _unique_items(validator: Any, unique: Any, value: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if unique and validator.is_type(value, "array"):
        # The library compares each with each where they cannot be sorted.
        written = {json.dumps(_canonical(item), sort_keys=True) for item in value}
        if len(written) < len(value):
            yield ValidationError(f"{_shown(value)} has non-unique elements")


def _nothing(validator: Any, demanded: Any, value: Any, schema: Any) -> Iterator[Any]:
    return iter(())


def _canonical(value: Any) -> Any:
    """Return each whole number as an integer, wherever it lies: 1 and 1.0 are equal in JSON, 1 and true are not."""
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= MAX_SHOWN_CHARS else f"{words[: MAX_SHOWN_CHARS - 1]}…"
