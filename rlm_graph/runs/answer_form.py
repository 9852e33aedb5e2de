"""The form of an answer: a JSON schema in a file, or a class of a module."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlm_graph.errors import InputError, SetupError

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`module:Class`, which is not the name of a file."""

Schema = Mapping[str, Any] | str
"""A JSON schema, or the name of a class as `module:Class`: what a run keeps."""


def read_schema(given: str) -> Schema:
    """Read the file of that name, or take the name for `module:Class`.

    Raises `InputError` if there is none, or if it cannot be the form of an answer.
    """
    from pydantic.errors import PydanticUserError

    from rlm_graph.answers import AnswerFormat

    try:
        schema: Schema = given if _CLASS.fullmatch(given) and not Path(given).exists() else _in_file(Path(given))
        AnswerFormat(form_of(schema))
    except SetupError as error:
        raise InputError(f"{given}: {error.problem}", hint=error.hints) from error
    except PydanticUserError as error:  # a class that pydantic cannot read, such as `typing.TypedDict` before 3.12
        raise InputError(f"{given}: {error.message}") from error
    return schema


def form_of(schema: Schema | None) -> type | Mapping[str, Any] | None:
    """Return the response format that a run's schema stands for. Raises `SetupError` if its class is not there."""
    if not isinstance(schema, str):
        return schema
    import importlib

    module, _, name = schema.partition(":")
    try:
        with _current_folder_last():
            form: type = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SetupError(f"{error}; give module:Class, with the module installed or in the current folder") from error
    return form


@contextmanager
def _current_folder_last() -> Iterator[None]:
    """Let modules of the current folder be imported where no other has their name, and only within the block.

    A `json.py` that lies there takes the place of nothing, and packages that lie there bring no tools.
    """
    import importlib
    import os
    import sys

    folder = os.getcwd()
    sys.path.append(folder)
    importlib.invalidate_caches()  # the module may be younger than what was last seen there
    try:
        yield
    finally:
        # The last one, which is ours: a module may have put the folder there too.
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def _in_file(path: Path) -> Mapping[str, Any]:
    try:
        schema = json.loads(path.read_text("utf-8"))
    except OSError as error:
        words = f"{error.strerror}; give a file that holds a JSON schema, or a class as module:Class"
        raise SetupError(words) from error
    except ValueError as error:
        raise SetupError(f"not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise SetupError('a JSON schema is an object, such as {"type": "object"}')
    return schema
