"""A reply's text → its blocks, by markdown-it with rules of our own.

Lists are CommonMark's. Ours are the fences (they know Python's strings, and that models forget to close
them), block quotes (not looked into), marked regions, claims of an answer, and so the paragraphs between them. Code by
indentation is none: a fence that is indented further than its list is a fence.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterator
from functools import cache
from typing import TYPE_CHECKING

from rlm_graph.parsing.block import Block, Code, OtherFence, Output, Prose, Quote
from rlm_graph.parsing.finals import COLON, HEAD, claim
from rlm_graph.parsing.lookahead import Lookahead
from rlm_graph.parsing.markup import next_region
from rlm_graph.parsing.source import is_python, mended, open_string
from rlm_graph.parsing.tools import BASH_LABELS, PYTHON_LABELS
from rlm_graph.state import Cell

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

OUTPUT_LABELS = frozenset(
    ["output", "stdout", "out", "result", "results", "tool_output", "tool_response", "console_output", "execution"]
)

_FENCE = re.compile(r"(`{3,}|~{3,})[ \t]*+([^\n]*)")
_LABEL = re.compile(r"[{.\s]*+([\w+#-]*+)")
_DRAFT_CLOSER = re.compile(r"\s*+</(?:think|thinking|reasoning|scratchpad)>", re.IGNORECASE)
_OUTPUT_LINE = re.compile(
    r"[ \t#*_]*+(?:(?:(?:execution|repl|tool|code|console)[ ](?:output|result|response)s?)|output|stdout|observation)"
    r"[ \t*_]*+:",
    re.IGNORECASE,
)  # fmt: skip


def read_blocks(text: str, names: Collection[str]) -> Iterator[Block]:
    """Yield the blocks of `text` in order. `names` are the variables of the REPL."""
    tokens: list[Token] = []
    environment = {"lookahead": Lookahead(text), "names": names}
    markdown = _markdown()
    markdown.block.parse(text, markdown, environment, tokens)
    for token in tokens:
        yield from token.meta.get("blocks", ())


def _fence(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A fence of backticks or tildes, perhaps on one line, perhaps not closed."""
    opener = _FENCE.match(state.src, state.bMarks[start] + state.tShift[start], state.eMarks[start])
    if opener is None:
        return False
    marker, info = opener[1], opener[2].rstrip()
    if "`" in info and marker[0] == "`":
        return _one_line_fence(state, start, marker, info, silent)
    if silent:
        return True
    label = _LABEL.match(info)[1].lower()  # type: ignore[index]  # it matches the empty string
    inner_end, closed = _fence_end(state, start + 1, end, marker, label)
    body = state.getLines(start + 1, inner_end, state.sCount[start], False)
    state.line = inner_end + closed
    _push(state, _fenced(label, body))
    return True


def _one_line_fence(state: StateBlock, start: int, marker: str, info: str, silent: bool) -> bool:
    label, _, code = info.partition(" ")
    code = code.removesuffix(marker)
    if label.lower() not in PYTHON_LABELS or not info.endswith(marker) or "`" in code or not code.strip():
        return False
    if not silent:
        state.line = start + 1
        _push(state, Code(Cell(code=mended(code))))
    return True


def _fence_end(state: StateBlock, line: int, end: int, marker: str, label: str) -> tuple[int, bool]:
    """Return the line at which the fence's text ends, and whether that line closes it.

    A closing line within a string of the code does not count, unless no later one does better: then the string is the
    mistake. In code, a line that opens a fence of ours or closes a draft ends it as well, for it can be no Python.
    """
    lookahead: Lookahead = state.env["lookahead"]
    runs = not label or label in PYTHON_LABELS
    first_close = -1
    string: str | None = None
    while line < end:
        text = state.src[state.bMarks[line] : state.eMarks[line]]
        stripped = text.strip()
        if _closes(stripped, marker):
            if string is None:
                return line, True
            first_close = line if first_close < 0 else first_close
        elif runs and string is None and _ends_code(stripped, marker):
            return line, False
        if runs and label:
            string = open_string(text, string)
        if first_close >= 0:
            lookahead.spend(len(text) + 1)
            if not lookahead.left:
                break
        line += 1
    return (first_close, True) if first_close >= 0 else (end, False)


def _closes(line: str, marker: str) -> bool:
    return line.startswith(marker) and not line.strip(marker[0])


def _ends_code(line: str, marker: str) -> bool:
    if line.startswith(marker):
        label = _LABEL.match(line.lstrip(marker[0]))
        return label is not None and label[1].lower() in PYTHON_LABELS | BASH_LABELS | OUTPUT_LABELS
    return _DRAFT_CLOSER.match(line) is not None


def _fenced(label: str, body: str) -> Block:
    if label in OUTPUT_LABELS:
        return Output()
    if label in PYTHON_LABELS or (not label and is_python(mended(body))):
        return Code(Cell(code=mended(body))) if body.strip() else OtherFence(label, "")
    if label in BASH_LABELS and body.strip():
        return Code(Cell(code=body.rstrip(), language="bash"))
    return OtherFence(label, body)


def _quote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Lines that begin with `>`."""
    line = start
    while line < end and state.src.startswith(">", state.bMarks[line] + state.tShift[line]):
        if silent:
            return True
        line += 1
    if line == start:
        return False
    state.line = line
    _push(state, Quote())
    return True


def _claim(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """`FINAL(...)` and its kin, where nothing but spaces stands before them on their line."""
    pos = state.bMarks[start] + state.tShift[start]
    if state.src[state.bMarks[start] : pos].strip() or not (HEAD.match(state.src, pos) or COLON.match(state.src, pos)):
        return False
    if silent:
        return True
    found = claim(state.src, pos, state.env["lookahead"], state.env["names"])
    if found is None:
        return False
    _push(state, found[0])
    state.line = max(start, _line_of(state, found[1])) + 1
    return True


def _region(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Regions that open on this line, and what stands before, between and after them on it."""
    src, lookahead = state.src, state.env["lookahead"]
    pos = state.bMarks[start] + state.tShift[start]
    region = next_region(src, pos, state.eMarks[start], lookahead)
    if region is None or silent:
        return region is not None
    line = start
    while region is not None and line == start:
        if before := src[pos : region.start].strip():
            _push(state, Prose(before))
        _push(state, *region.blocks)
        pos = region.end
        line = max(start, _line_of(state, pos))
        more = line == start and pos < state.eMarks[start]
        region = next_region(src, pos, state.eMarks[start], lookahead) if more else None
    rest = src[pos : state.eMarks[line]]
    if not rest.strip():
        state.line = line + 1
        return True
    # The rest of the line is read as a line of its own.
    state.bMarks[line] = pos
    state.tShift[line] = len(rest) - len(rest.lstrip(" \t"))
    state.sCount[line] = state.blkIndent + state.tShift[line]
    if line > start:
        state.line = line
        return True
    rules = state.md.block.ruler.getRules("")
    return any(rule(state, start, end, False) for rule in rules if rule is not _region)


def _paragraph(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Lines up to an empty one or to another block. CommonMark's own would take in a fence that is indented further."""
    rules = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    line = start + 1
    while line < end and not state.isEmpty(line) and not any(rule(state, line, end, True) for rule in rules):
        line += 1
    state.parentType = parent
    text = state.getLines(start, line, state.blkIndent, False).strip()
    state.line = line
    _push(state, *([Output()] if _OUTPUT_LINE.match(text) else []), Prose(text, plain=state.level == 0))
    return True


def _line_of(state: StateBlock, pos: int) -> int:
    return min(bisect_left(state.eMarks, pos), state.lineMax - 1)


def _push(state: StateBlock, *blocks: Block) -> None:
    if blocks:
        state.push("reply", "", 0).meta["blocks"] = blocks


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("zero", {"maxNesting": 100}).enable("list")
    interrupts = {"alt": ["paragraph", "list"]}
    rules = markdown.block.ruler
    # A quote goes first: what marks a region in it is quoted too.
    rules.before("table", "quote", _quote, interrupts)  # type: ignore[arg-type]  # the options are read as a mapping
    rules.before("fence", "region", _region, interrupts)  # type: ignore[arg-type]  # as above
    rules.at("fence", _fence, interrupts)  # type: ignore[arg-type]  # as above
    rules.before("list", "claim", _claim, interrupts)  # type: ignore[arg-type]  # as above
    rules.at("paragraph", _paragraph)
    return markdown.enable("fence")
