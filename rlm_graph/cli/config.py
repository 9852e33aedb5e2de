"""`rlm-graph config show`: the settings that hold, and where each came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rlm_graph.cli import flags as given
from rlm_graph.cli.printing import put, put_json

if TYPE_CHECKING:
    from pydantic import BaseModel


def show(
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Show each setting, its value, and the place that it came from: a flag, a variable, a file, or the default."""
    from rlm_graph.cli.trusting import load_settings

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    rows = [(key, value, settings.origin(key)) for key, value in _leaves(settings)]
    if as_json:
        put_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
        return
    cells = [(key, _text(value), origin) for key, value, origin in rows]
    widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
    put("\n".join(f"{key:{widths[0]}}  {value:{widths[1]}}  {origin}" for key, value, origin in cells))


def _leaves(values: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    from pydantic import BaseModel

    dumped = values.model_dump(mode="json")
    for name in type(values).model_fields:
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, dumped[name]


def _text(value: Any) -> str:
    import json

    return "none" if value is None else value if isinstance(value, str) else json.dumps(value)
