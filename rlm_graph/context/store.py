"""Where contexts lie: a folder that keeps each under the hash of its content."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rlm_graph.context import memory
from rlm_graph.context.draft import INDEX, TEXT, Draft, is_whole, remove, too_large
from rlm_graph.context.items import Reading
from rlm_graph.context.memory import Part
from rlm_graph.context.notes import printable
from rlm_graph.context.pieces import linked, placed_chars
from rlm_graph.context.plans import Plan
from rlm_graph.context.sources import Verbatim, combination, from_source, plan
from rlm_graph.errors import InputError, StorageError
from rlm_graph.fetching import Resolve, resolve
from rlm_graph.settings import ContextSettings
from rlm_graph.state import ContextRef
from rlm_graph.storage.encryption import Cipher

SHA256 = re.compile(r"[0-9a-f]{64}")


class ContextStore:
    """Keeps contexts as files, so that a state, a checkpoint and a frame only ever hold a reference.

    `<folder>/<sha256>/text` holds all texts, one after the other, in UTF-8 with lone surrogates passed through;
    `<folder>/<sha256>/index.json` is `{"kind", "parts": [{"name", "start", "bytes", "chars", "ascii"}]}`, with
    offsets and lengths in bytes; the name is the SHA-256 of the two files, one after the other. Several processes may
    use one folder. Nothing is touched before the first use.
    """

    def __init__(self, folder: Path, settings: ContextSettings | None = None, *, resolve: Resolve = resolve) -> None:
        """`resolve` looks the hosts of URLs up; what it returns is checked, and connected to."""
        self.root = folder
        """The folder that holds all of them."""
        self._settings = settings or ContextSettings()
        self._reading = Reading(self._settings, resolve)

    @property
    def cipher(self) -> Cipher | None:
        """What encrypts everything that lies beside the contexts, if anything does."""
        return None

    @property
    def _clear(self) -> Path:
        """The folder where they lie as they can be read."""
        return self.root

    def take(self, context: object) -> ContextRef:
        """Store a context and return its reference. Blocks: asynchronous callers run it in a thread.

        - A `str` is the text itself, whatever it begins with. It is never taken for a path or an address, for text
          often comes from somewhere else than the caller: a step upstream whose output is `/etc/passwd` must not become
          the content of that file.
        - A `Path` is a file, or a folder: a dict of its text files by their path from it.
        - A `URL` is a file on the web, at a public address unless it is trusted.
        - `{"url": ...}` and `{"path": ...}`, for clients that speak JSON, where `ContextSettings.sources` allows them.
        - A list, a tuple, an iterator or a dict of texts. LangChain documents and bytes count as texts; a list of
          documents becomes a dict if each has a `source`. A list with a Path or a URL in it is what `combine` makes.
        - JSON values, records and tables, as `rlm_graph.context.values` says.
        - A stream that can be read, such as `sys.stdin`.
        - A reference, returned as it is once it is known to be here, see `restore`.

        Raises `InputError` for what cannot be read, is no text, holds none or would not fit into memory,
        `StorageError` where the store cannot be written. In either case nothing of it is left in the store.
        """
        if isinstance(context, ContextRef):
            return self.restore(context)
        if isinstance(context, Verbatim):
            room = self._memory()
            if self.cipher is None and (piece := linked(context, self.root, memory=room)) is not None:
                return piece
            if (least := placed_chars(context)) > room:
                raise too_large("over " + memory.size_in_words(least), room)
        return self._take(plan(context, self._settings))

    def combine(self, contexts: Sequence[object]) -> ContextRef:
        """Store several Paths, URLs, streams or texts as one dict by name; a single one as `take` does."""
        if len(contexts) == 1:
            return self.take(contexts[0])
        return self._take(combination(contexts, self._settings))

    def restore(self, ref: ContextRef) -> ContextRef:
        """Return `ref` once its content is here, taken again from its source if this machine lacks it.

        Raises `InputError` if the source is gone or has changed since: the context must be given again then.
        """
        if self.holds(ref):
            return ref
        missing = f"the context {ref.sha256[:12]} is not on this machine"
        if not ref.source:
            raise InputError(f"{missing} and came from no file or URL; give the context again")
        try:
            self._take(from_source(ref.source, self._settings), only=ref.sha256)
        except InputError as error:
            raise InputError(
                f"{missing} and cannot be taken again from {ref.source!r}: {error}; give the context again"
            ) from error
        return ref

    def folder(self, ref: ContextRef) -> Path:
        """Return where the stored form of `ref` lies, or would lie."""
        if not SHA256.fullmatch(ref.sha256):
            raise InputError(f"{ref.sha256!r} is no reference to a context; give the context again")
        return self._clear / ref.sha256

    def holds(self, ref: ContextRef) -> bool:
        """Tell whether the content of `ref` is here, as large as it should be."""
        return is_whole(self.folder(ref), ref.bytes)

    def load(self, ref: ContextRef) -> str | list[str] | dict[str, str]:
        """Return the content as a REPL sees it."""
        kind, parts = self._index(ref)
        texts: list[str] = []
        with (self.folder(ref) / TEXT).open("rb") as file:
            for part in parts:
                file.seek(part.start)
                texts.append(file.read(part.bytes).decode("utf-8", "surrogatepass"))
        if kind == "dict":
            return {str(part.name): text for part, text in zip(parts, texts, strict=True)}
        return texts if kind == "list" else texts[0]

    def fits(self, ref: ContextRef) -> bool:
        """Tell whether a REPL on this machine could hold the content in memory now."""
        limit = self._memory()
        kind, parts = self._index(ref)
        if memory.most_bytes(parts) <= limit:
            return True
        with (self.folder(ref) / TEXT).open("rb") as file:
            return memory.exact_bytes(file, kind, parts) <= limit

    def forget(self, ref: ContextRef) -> None:
        """Remove the content. Idempotent."""
        remove(self.folder(ref))

    def all(self) -> Iterator[str]:
        """Yield the name of every context that is here: its hash, where nothing is encrypted."""
        if self.root.is_dir():
            yield from sorted(path.name for path in self.root.iterdir() if SHA256.fullmatch(path.name))

    def _take(self, given: Plan, *, only: str | None = None) -> ContextRef:
        with Draft(self._clear, memory=self._memory()) as draft:
            for item in given.items:
                item.write(draft, given.notes, self._reading)
            if not draft.chars:
                raise _empty(given, draft)
            sha256 = draft.commit(given.kind, only=only)
        return ContextRef(
            sha256=sha256,
            kind=given.kind,
            chars=draft.chars,
            bytes=draft.size,
            parts=len(draft.parts),
            longest=max(part.chars for part in draft.parts),
            source=given.source,
            notes=given.notes.lines(),
        )

    def _memory(self) -> int:
        return self._settings.max_memory_bytes or memory.available()

    def _index(self, ref: ContextRef) -> tuple[str, list[Part]]:
        try:
            index: dict[str, Any] = json.loads((self.folder(ref) / INDEX).read_bytes())
        except FileNotFoundError as error:
            raise InputError(f"the context {ref.sha256[:12]} is not on this machine; give the context again") from error
        except (OSError, ValueError) as error:
            raise StorageError(
                f"{self.folder(ref)} is damaged: {error}; remove it and give the context again"
            ) from error
        return index["kind"], [Part(**part) for part in index["parts"]]


def _empty(given: Plan, draft: Draft) -> InputError:
    if draft.parts or not given.notes.lines():
        what = f"{given.title} holds no text"
    else:
        what = f"{given.title} holds no file that can be read as text ({'; '.join(given.notes.lines())})"
    return InputError(f"the context is empty: {printable(what)}; give a text of at least one character")
