"""`rlm-graph du`: how much room the runs take, and all that is kept beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rlm_graph.cli import flags as given

if TYPE_CHECKING:
    from rlm_graph.storage.database import Part


def du(
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Show how much room the runs take.

    Of each part: how many runs, contexts, notes or files it holds, its size, and where it lies. Of a PostgreSQL server,
    the tables are measured with their indexes. Nothing is changed, and no key is needed.
    """
    from rlm_graph.cli.printing import put_json
    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.storage.data_folder import DataFolder
    from rlm_graph.storage.usage import usage_of

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)
    parts = usage_of(DataFolder(settings.data_dir), settings.db)
    if as_json:
        put_json({"parts": [part._asdict() for part in parts], "bytes": sum(part.bytes for part in parts)})
    else:
        _show(parts)


def _show(parts: list[Part]) -> None:
    """Print the parts that hold anything, and what they take together."""
    from rlm_graph.cli.printing import put

    held = [part for part in parts if part.bytes or part.entries]
    rows = [(part.part, f"{part.entries:,}", size(part.bytes), part.place) for part in held]
    rows.append(("all", "", size(sum(part.bytes for part in parts)), ""))
    name, entries, room = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:3])
    put("\n".join(f"{a:{name}}  {b:>{entries}}  {c:>{room}}  {d}".rstrip() for a, b, c, d in rows))


def size(count: int) -> str:
    """Return a number of bytes in its largest unit, such as `3.4 MB`; a MB is a million bytes."""
    number, units = float(count), ["bytes", "kB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{count:,} bytes" if units[0] == "bytes" else f"{number:,.1f} {units[0]}"
