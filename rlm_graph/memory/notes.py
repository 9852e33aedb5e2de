"""Memory: notes that outlive a run. They lie in LangGraph's store, on the host: code has functions, never the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

from langgraph.store.base import BaseStore, GetOp, Item, Op, PutOp, SearchOp
from pydantic import Field, JsonValue

from rlm_graph import bridge
from rlm_graph.errors import Hint, StorageError
from rlm_graph.ranking import scores, words_of
from rlm_graph.settings import MemorySettings
from rlm_graph.storage.encryption import Cipher
from rlm_graph.surrogates import each_text, whole
from rlm_graph.value import Value

ROOT = ("rlm_graph", "memory")
"""Where the notes of all users begin in a store; a user and a project follow."""
REMEMBER, RECALL, FORGET, LIST = "rlm_remember", "rlm_recall", "rlm_forget", "rlm_notes"
NAMES = (REMEMBER, RECALL, FORGET, LIST)
"""What code calls; `memory` in the REPL calls them too."""
OFF = "memory is off in this run: nothing can be remembered, and nothing was"
"""What a model reads whose code asks for memory all the same."""

MAX_KEPT = 10_000
"""The most notes of one user in one project that any settings allow."""
MAX_KEY = 200
MAX_METADATA = 2_000
"""Characters of a note's metadata, as JSON."""
MAX_RECALLED = 50
"""Notes that are found or listed at once."""


class Note(Value):
    """Something that a run has remembered."""

    key: str
    text: str
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    run: str = ""
    """The run that wrote it."""
    remembered_at: str = ""
    """ISO 8601, in UTC."""
    user: str = ""
    project: str = ""


class Notes:
    """The notes of one user in one project.

    With a `cipher` the store holds none of what they say, and finds them by words alone.
    """

    def __init__(self, store: BaseStore, settings: MemorySettings, cipher: Cipher | None = None) -> None:
        self._store = store
        self._settings = settings
        self._cipher = cipher
        self._namespace = (*ROOT, _label(settings.user), _label(settings.project))

    async def remember(
        self, text: str, key: str | None = None, metadata: Mapping[str, JsonValue] | None = None, *, run: str = ""
    ) -> Note:
        """Keep a note, in the place of the one that has its key. Without a key, equal texts are one note.

        Raises `ValueError` for what is empty or too long, and when there is no room for another.
        """
        text, given = _storable(text), each_text(json.loads(json.dumps(dict(metadata or {}))), _storable)
        if not text.strip():
            raise ValueError("there is nothing to remember: the text is empty")
        if len(text) > self._settings.max_chars:
            raise ValueError(f"a note has {self._settings.max_chars:,} characters at most, this one {len(text):,}")
        if len(json.dumps(given)) > MAX_METADATA:
            raise ValueError(f"the metadata of a note has {MAX_METADATA:,} characters as JSON at most")
        key = hashlib.sha256(text.encode()).hexdigest()[:12] if key is None else _checked(key)
        note = Note(
            key=key, text=text, metadata=given, run=run, remembered_at=datetime.now(UTC).isoformat(timespec="seconds")
        )
        if await self.get(key) is None and len(await self.every()) >= self._settings.max_notes:
            raise ValueError(f"memory is full: {self._settings.max_notes:,} notes; forget some")
        value = note.model_dump(mode="json", exclude={"user", "project"})
        if self._cipher is None:
            await self._do(PutOp(self._namespace, key, value, index=["text"]))
        else:
            encrypted = {"sealed": self._cipher.encrypt_text(json.dumps(value))}
            await self._do(PutOp(self._namespace, self._cipher.name(key), encrypted, index=False))
        return note

    async def recall(self, query: str, limit: int = 5) -> list[Note]:
        """Return the notes that are closest to `query`, the closest first.

        By meaning, where the store has an index; else by the words that they share. Raises `ValueError` for a limit
        that is none.
        """
        _check_limit(limit)
        if not query.strip():
            raise ValueError("the query is empty; memory.list() lists the notes")
        if self._cipher is None:
            found = await self._do(SearchOp(self._namespace, query=_storable(query), limit=limit))
            scored = [item for item in self._own(found) if item.score is not None]
            if scored:
                return [self._note(item) for item in scored]
        return by_words(await self.every(), query)[:limit]

    async def get(self, key: str) -> Note | None:
        """Return the note of that key."""
        item = await self._do(GetOp(self._namespace, self._place(key)))
        return None if item is None else self._note(item)

    async def forget(self, key: str) -> bool:
        """Delete the note of that key; tell whether there was one."""
        there = await self.get(key) is not None
        await self._do(PutOp(self._namespace, self._place(key), None))
        return there

    async def all(self, limit: int = MAX_RECALLED) -> list[Note]:
        """Return the notes, the newest first."""
        _check_limit(limit)
        return (await self.every())[:limit]

    async def every(self) -> list[Note]:
        """Return all notes, the newest first."""
        found = await self._do(SearchOp(self._namespace, limit=MAX_KEPT))
        notes = [self._note(item) for item in self._own(found)]
        return sorted(notes, key=lambda note: (note.remembered_at, note.key), reverse=True)

    def _own(self, items: Sequence[Any]) -> list[Any]:
        return [item for item in items if tuple(item.namespace) == self._namespace]

    def _place(self, key: str) -> str:
        key = _checked(key)
        return key if self._cipher is None else self._cipher.name(key)

    def _note(self, item: Item) -> Note:
        value, encrypted = item.value, "sealed" in item.value
        if encrypted != (self._cipher is not None):
            hints = [Hint("encrypt")] if encrypted else [Hint("leave_unencrypted"), Hint("erase_memory")]
            raise StorageError(f"memory {'is' if encrypted else 'is not'} encrypted", hint=hints)
        if self._cipher is not None:
            value = json.loads(self._cipher.decrypt_text(value["sealed"]))
        return Note.model_validate({**value, "user": self._settings.user, "project": self._settings.project})

    async def _do(self, op: Op) -> Any:
        """Use that side of the store which fits how the run was started; a store may have one of them alone."""
        if not bridge.under_invoke():
            try:
                return (await self._store.abatch([op]))[0]
            except NotImplementedError:
                pass
        return (await bridge.in_thread(self._store.batch, [op]))[0]


async def owners(store: BaseStore) -> list[tuple[str, str]]:
    """Return the (user, project) of all notes there are."""
    found = await store.alist_namespaces(prefix=ROOT, limit=10_000)
    return [(unquote(namespace[2]), unquote(namespace[3])) for namespace in found if len(namespace) == 4]


def by_words(notes: Sequence[Note], query: str) -> list[Note]:
    """Return the notes that share words with `query`, those first that share the rarest; equal ones stay in order."""
    wanted = set(words_of(query))
    shared = [wanted.intersection(words_of(f"{note.key} {note.text} {json.dumps(note.metadata)}")) for note in notes]
    ranked = sorted(zip(notes, scores(shared, of=len(notes)), strict=True), key=lambda pair: -pair[1])
    return [note for note, score in ranked if score > 0]


def _checked(key: str) -> str:
    if not 0 < len(key) <= MAX_KEY or not key.isprintable() or not key.strip():
        raise ValueError(f"a key is a printable text of 1 to {MAX_KEY} characters")
    return key


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_RECALLED:
        raise ValueError(f"limit: give a number from 1 to {MAX_RECALLED}")


def _label(text: str) -> str:
    # A store parts the labels of a namespace by dots, and none may be in one.
    return quote(text, safe="@+").replace(".", "%2E")


def _storable(text: str) -> str:
    """Return the text without what some store cannot hold: surrogates, and NUL."""
    return whole(text).replace("\0", "\ufffd")
