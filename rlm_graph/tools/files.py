"""The tools `file_read` and `search`: files of the host, under the folders that the settings allow."""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from rlm_graph.errors import SetupError
from rlm_graph.ranking import scores, words_of
from rlm_graph.settings import ToolSettings
from rlm_graph.tools.roots import Roots

PROBE_BYTES = 8_192
"""A NUL byte within the first of them marks a file as binary."""
PASSAGE_BYTES = 2_000
"""A passage that a search returns has about so many bytes, in whole lines where they are shorter."""
MAX_HITS = 200
MAX_WORDS = 64
"""Words of a query that count."""


def file_read(settings: ToolSettings) -> BaseTool:
    """Return the tool that reads a file. Raises `SetupError` if no folder is allowed."""
    roots = _roots(settings, "file_read")
    most = settings.max_read_bytes

    def file_read(path: str, offset: int = 0, limit: int | None = None) -> str:
        if offset < 0 or (limit is not None and limit < 1):
            raise ValueError("offset begins at 0, limit at 1")
        if limit is not None and limit > most:
            raise ValueError(f"limit {limit:,} is more than the {most:,} bytes that one call reads")
        with roots.opened(path) as file:
            size = os.fstat(file).st_size
            if b"\0" in os.pread(file, PROBE_BYTES, 0):
                raise ValueError(f"{path} is binary ({size:,} bytes), so it cannot be read as text")
            data = os.pread(file, (limit or most) + 1, offset)
            if limit is None and len(data) > most:
                raise ValueError(
                    f"{path} has {size:,} bytes, more than the {most:,} that one call reads: read it in parts, as in "
                    f"file_read({path!r}, offset=0, limit={most})"
                )
            return _whole(data[:limit], offset, lambda at: os.pread(file, 3, at))

    return _tool(
        file_read,
        "Read a text file of the host and return its text. `offset` and `limit` are in bytes; without a limit the rest "
        f"of the file, up to {most:,} bytes. {_where(roots)}",
    )


def search(settings: ToolSettings) -> BaseTool:
    """Return the tool that searches files. Raises `SetupError` if no folder is allowed."""
    roots = _roots(settings, "search")

    def search(query: str, path: str = "", limit: int = 10) -> list[dict[str, Any]]:
        words = list(dict.fromkeys(words_of(query)))[:MAX_WORDS]
        if not words:
            raise ValueError("the query has no words")
        if not 1 <= limit <= MAX_HITS:
            raise ValueError(f"limit is between 1 and {MAX_HITS}")
        return _Search(words, " ".join(query.casefold().split()), settings.max_search_bytes).best(roots, path, limit)

    return _tool(
        search,
        "Search the text files of the host for passages with the words of the query; those with all of its words, the "
        "rarer ones and the whole phrase come first. Returns a list of dicts with `path`, `line` (of the passage's "
        f"beginning), `text` and `score`. `path` narrows it to a folder or a file. {_where(roots)}",
    )


def _roots(settings: ToolSettings, tool: str) -> Roots:
    if not settings.roots:
        raise SetupError(f'tool {tool}: no folder may be read; name some, as in tools.roots = ["docs"]')
    return Roots(settings.roots)


def _where(roots: Roots) -> str:
    if len(roots.names) == 1:
        return "Paths are relative to the one folder that may be read."
    return f"Paths begin with one of: {', '.join(roots.names)}."


def _tool(function: Callable[..., Any], description: str) -> BaseTool:
    return StructuredTool.from_function(function, description=description, metadata={"version": version("rlm-graph")})


def _whole(data: bytes, offset: int, more: Callable[[int], bytes]) -> str:
    """Decode a piece so that pieces which follow one another hold each character once: in the piece it begins in."""
    start = next((at for at, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0) if offset else 0
    rest = more(offset + len(data)) if data else b""
    end = next((at for at, byte in enumerate(rest) if byte & 0xC0 != 0x80), len(rest))
    return (data[start:] + rest[:end]).decode("utf-8", "replace")


@dataclass(frozen=True)
class _Passage:
    path: str
    line: int
    offset: int
    length: int
    words: frozenset[str]
    has_phrase: bool


class _Search:
    """One search: every passage is looked at once, and the best ones are read again."""

    def __init__(self, words: list[str], phrase: str, max_bytes: int) -> None:
        self._words = frozenset(words)
        self._phrase = phrase
        self._max_bytes = max_bytes
        self._seen = 0
        self._found: list[_Passage] = []
        self._passages = 0

    def best(self, roots: Roots, path: str, limit: int) -> list[dict[str, Any]]:
        """Return the best passages. Raises `ValueError` if there is more to search than one call may."""
        for shown, file in roots.files(path):
            self._look_into(shown, file)
        scored = zip(self._found, scores([passage.words for passage in self._found], of=self._passages), strict=True)
        # Of equals, the first ones in the order of paths and lines.
        best = heapq.nlargest(limit, scored, key=lambda pair: (pair[0].has_phrase, pair[1]))
        return [self._hit(roots, passage, score) for passage, score in best]

    def _look_into(self, path: str, file: int) -> None:
        if b"\0" in os.pread(file, PROBE_BYTES, 0):
            return
        for line, offset, data in _pieces(file):
            self._seen += len(data)
            if self._seen > self._max_bytes:
                raise ValueError(
                    f"there are more than {self._max_bytes:,} bytes to search; give a path that leads deeper"
                )
            self._passages += 1
            text = data.decode("utf-8", "replace")
            words = self._words.intersection(words_of(text))
            if words:
                has_phrase = self._phrase in " ".join(text.casefold().split())
                self._found.append(_Passage(path, line, offset, len(data), words, has_phrase))

    def _hit(self, roots: Roots, passage: _Passage, score: float) -> dict[str, Any]:
        with roots.opened(passage.path) as file:
            text = os.pread(file, passage.length, passage.offset).decode("utf-8", "replace")
        return {"path": passage.path, "line": passage.line, "text": text, "score": round(score, 3)}


def _pieces(file: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield a file's passages with the line and the offset that each begins at."""
    line, offset, rest = 1, 0, b""
    while data := os.pread(file, 1 << 20, offset + len(rest)):
        rest += data
        while len(rest) > 2 * PASSAGE_BYTES:
            end = rest.rfind(b"\n", 0, PASSAGE_BYTES) + 1 or PASSAGE_BYTES
            yield line, offset, rest[:end]
            line, offset, rest = line + rest.count(b"\n", 0, end), offset + end, rest[end:]
    if rest:
        yield line, offset, rest
