"""`rlm-graph memory`: what runs have remembered, to be read and erased."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from rlm_graph.cli import flags as given
from rlm_graph.cli.printing import confirm, counted, printable, put, put_json, say

if TYPE_CHECKING:
    from pathlib import Path

    from rlm_graph.memory import Note, Notes

T = TypeVar("T")

SHOWN_CHARS = 80
"""Of each note, in a list."""

User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Whose notes; by default memory.user.")]
Project = Annotated[
    str | None, typer.Option("--project", metavar="NAME", help="In which project; by default memory.project.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether that is meant.")]


def list_notes(
    everyone: Annotated[bool, typer.Option("--all", help="List the notes of all users and projects.")] = False,
    user: User = None,
    project: Project = None,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """List notes, the newest first: key, time, run, and how the text begins."""

    async def listed(notes: Notes) -> list[Note]:
        return await notes.every()

    owned = (user, project, db, encrypt, config)
    found = _everyones(db, encrypt, config) if everyone else _with(listed, *owned)
    if as_json:
        put_json([note.model_dump(mode="json") for note in found])
        return
    lines = [_line(note, named=everyone) for note in found]
    put("\n".join(lines) if lines else "no notes")


def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="As `rlm-graph memory list` shows it.", show_default=False)],
    user: User = None,
    project: Project = None,
    as_json: given.AsJson = False,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Print one note, whole."""

    async def found(notes: Notes) -> Note:
        return await _found(notes, key)

    note = _with(found, user, project, db, encrypt, config)
    if as_json:
        put_json(note.model_dump(mode="json"))
        return
    put(note.text, exact=True)
    say(" · ".join(word for word in (note.key, note.remembered_at, note.run and f"run {note.run}") if word))
    for name, value in note.metadata.items():
        say(f"{name}: {value}")


def rm(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Keys of notes.", show_default=False)],
    user: User = None,
    project: Project = None,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Erase notes. If one of the keys is unknown, none is erased."""

    async def removed(notes: Notes) -> None:
        for key in keys:
            await _found(notes, key)
        for key in dict.fromkeys(keys):
            await notes.forget(key)
            say(f"erased {key}")

    _with(removed, user, project, db, encrypt, config)


def clear(
    yes: Yes = False,
    user: User = None,
    project: Project = None,
    db: given.Database = None,
    encrypt: given.Encrypt = False,
    config: given.Config = None,
) -> None:
    """Erase all notes of a user in a project."""

    async def cleared(notes: Notes) -> int:
        found = await notes.every()
        if found:
            _confirm(len(found), yes)
        for note in found:
            await notes.forget(note.key)
        return len(found)

    say(f"erased {counted(_with(cleared, user, project, db, encrypt, config), 'note')}")


def _with(
    work: Callable[[Notes], Awaitable[T]],
    user: str | None,
    project: str | None,
    db: str | None,
    encrypt: bool,
    config: Path | None,
) -> T:
    """Do something with the notes of that user in that project."""
    import asyncio

    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.memory.store import opened_memory

    owner = {name: value for name, value in (("user", user), ("project", project)) if value is not None}
    flags = given.settings_flags(db=db, encrypt=encrypt)
    settings = load_settings({**flags, **({"memory": owner} if owner else {})}, config=config)

    async def done() -> T:
        async with opened_memory(settings) as (_, notes_of):
            return await work(notes_of(settings.memory))

    return asyncio.run(done())


def _everyones(db: str | None, encrypt: bool, config: Path | None) -> list[Note]:
    import asyncio

    from rlm_graph.cli.trusting import load_settings
    from rlm_graph.memory import owners
    from rlm_graph.memory.store import opened_memory

    settings = load_settings(given.settings_flags(db=db, encrypt=encrypt), config=config)

    async def found() -> list[Note]:
        async with opened_memory(settings) as (store, notes_of):
            of_each = [
                settings.memory.model_copy(update={"user": user, "project": project})
                for user, project in sorted(await owners(store))
            ]
            return [note for owner in of_each for note in await notes_of(owner).every()]

    return asyncio.run(found())


async def _found(notes: Notes, key: str) -> Note:
    from rlm_graph.errors import InputError

    try:
        note = await notes.get(key)
    except ValueError as error:
        raise InputError(str(error)) from error
    if note is None:
        raise InputError(f"no note {key!r}; `rlm-graph memory list` lists them")
    return note


def _confirm(count: int, yes: bool) -> None:
    import sys

    from rlm_graph.errors import InputError

    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody is there to be asked; --yes erases without asking")
    confirm(f"Erase {counted(count, 'note')} for good?")


def _line(note: Note, *, named: bool) -> str:
    text = " ".join(note.text.split())
    words: list[Any] = [f"{note.user}/{note.project}" if named else "", note.key, note.remembered_at, note.run]
    shown = text if len(text) <= SHOWN_CHARS else text[: SHOWN_CHARS - 1] + "…"
    return printable("  ".join([*(str(word) for word in words if word), shown]))
