"""Reading one reply, whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage
from pydantic import JsonValue, ValidationError

from rlm_graph.parsing.block import (
    Block,
    Broken,
    Code,
    Draft,
    DraftEnd,
    Final,
    FinalExpression,
    Helpers,
    OtherFence,
    Output,
    Prose,
    Quote,
)
from rlm_graph.parsing.blocks import read_blocks
from rlm_graph.parsing.calls import Call, calls_of, json_values
from rlm_graph.parsing.content import content_text
from rlm_graph.parsing.reply import Reply, ToolRequest
from rlm_graph.parsing.source import is_python, mended
from rlm_graph.parsing.tools import asked
from rlm_graph.state import Cell, FinalAnswer
from rlm_graph.surrogates import each_text, whole
from rlm_graph.thinking import without_thinking

NOTE_UNSEEN = (
    "FINAL(...) in the prose was not taken, because the code beside it had not run yet. Read its output first."
)
NOTE_INVENTED = (
    "What your reply gave as output was not the output of your code, so the code after it was not run. "
    "Stop after a code block and wait for its output."
)
PROBLEM_EMPTY = "Your reply was empty; write Python in a ```repl block, or finish with FINAL(...)."
PROBLEM_DRAFT = "Your reply held only thoughts; write Python in a ```repl block after them, or finish with FINAL(...)."
PROBLEM_PROSE = (
    "Your reply held neither code nor an answer; write Python in a ```repl block, or finish with FINAL(...)."
)
PROBLEM_QUOTE = "Your code stood in a quotation, which does not run; write it in a ```repl block of its own."
PROBLEM_UNLABELLED = "Your code block has no language and is no Python that can run; write Python in a ```repl block."
PROBLEM_LANGUAGE = "Your code block is marked `{language}`, which does not run here; write Python in a ```repl block."

_CALL_TAGS = ("<tool_call", "<function", "<invoke", "<｜tool", "<|tool")


def parse(message: AIMessage, *, variables: Collection[str] = ()) -> Reply:
    """Read a reply. Pure, and without exceptions whatever the reply holds.

    `variables` are names that the REPL holds: a prose `FINAL(name)` of one of them is left for the REPL to evaluate.
    """
    content = content_text(getattr(message, "content", ""))
    blocks = _after_draft(list(read_blocks(content, frozenset(variables))))
    if not _asks(blocks):
        blocks += _rescued(blocks, content)
    reading = _Reading()
    for block in blocks:
        reading.take(block)
    requests = tuple(_native_calls(message, reading))
    cells = reading.cells()
    final = None if cells else reading.final
    text = "\n\n".join(block.text for block in blocks if isinstance(block, Prose))
    return Reply(
        cells=cells,
        final=final,
        tool_calls=requests,
        notes=reading.notes(),
        problem=None if cells or final else _problem(blocks, reading),
        text=text,
    )


@dataclass
class _Reading:
    """What the blocks taken so far come to."""

    helpers: list[Cell] = field(default_factory=list)
    code: list[Cell] = field(default_factory=list)
    final: FinalAnswer | None = None
    expression: Cell | None = None
    broken: str | None = None
    invented: bool = False
    dropped: bool = False

    def take(self, block: Block) -> None:
        match block:
            case Code() | Helpers() | Final() | FinalExpression() if self.invented:
                self.dropped = True
            case Code(cell) if cell.code.strip():  # nothing is left of a cell of invisible characters
                self.code.append(cell)
                self.expression = None
            case Helpers(text):
                self.helpers += _helper_cells(text)
            case Final(value):
                self.final, self.expression = final_answer(value), None
            case FinalExpression(code):
                self.final, self.expression = None, Cell(code=code)
            case Output():
                self.invented = bool(self.code)
            case Broken(problem):
                self.broken = problem

    def cells(self) -> tuple[Cell, ...]:
        """Return what runs: helpers, code, and an expression that was claimed as the answer after the last code."""
        return (*self.helpers, *self.code, *([self.expression] if self.expression else []))

    def notes(self) -> tuple[str, ...]:
        """Return what the model must know about what was not taken."""
        unseen = self.final is not None and bool(self.cells())
        told = ((self.dropped, NOTE_INVENTED), (unseen, NOTE_UNSEEN), (bool(self.cells()) and self.broken, self.broken))
        return tuple(note for applies, note in told if applies and note)


def _after_draft(blocks: list[Block]) -> list[Block]:
    """Drop what comes before the last end of a draft that has no beginning, unless nothing comes after it."""
    while blocks and isinstance(blocks[-1], DraftEnd):
        blocks.pop()
    ends = [index for index, block in enumerate(blocks) if isinstance(block, DraftEnd)]
    return [Draft(closed=True), *blocks[ends[-1] + 1 :]] if ends else blocks


def _asks(blocks: Iterable[Block]) -> bool:
    return any(isinstance(block, Code | Helpers | Final | FinalExpression) for block in blocks)


def _rescued(blocks: Sequence[Block], content: str) -> list[Block]:
    """Read a reply that is nothing but JSON, or nothing but Python, without a fence; and tool calls in other fences."""
    texts = [block.body for block in blocks if isinstance(block, OtherFence)] or [content]
    found = [block for text in texts if text.lstrip()[:1] in ("{", "[") for block in _json_blocks(text)]
    for text in texts:
        if text.lstrip().startswith(_CALL_TAGS):
            found += [block for block in read_blocks(text, ()) if isinstance(block, Code)]
    bare = all(isinstance(block, Prose) and block.plain for block in blocks)
    return [Code(Cell(code=mended(content)))] if not found and bare and is_python(content) else found


def _json_blocks(text: str) -> list[Block]:
    blocks: list[Block] = []
    for value in json_values(text):
        if calls := calls_of(value):
            blocks += [asked(call) for call in calls]
        elif isinstance(value, dict) and len(value) == 1:
            key, inner = next(iter(value.items()))
            if key.lower() in ("final", "final_answer", "answer"):
                blocks.append(Final(inner))
            elif key.lower() in ("code", "python", "repl") and isinstance(inner, str):
                blocks.append(asked(Call("python", {"code": inner})))
    return blocks


def _native_calls(message: AIMessage, reading: _Reading) -> Iterator[ToolRequest]:
    """Take the cells of the native tool calls and yield the calls. Code that the text held as well runs once."""
    for valid, attribute in ((True, "tool_calls"), (False, "invalid_tool_calls")):
        calls = getattr(message, attribute, None)
        for call in calls if isinstance(calls, list | tuple) else ():
            if not isinstance(call, dict):
                continue
            name, identity = (whole(text) if isinstance(text := call.get(key), str) else "" for key in ("name", "id"))
            block = asked(Call(name, as_json(call.get("args"))))
            if not (isinstance(block, Code) and block.cell in reading.code):
                reading.take(block)
            cell = None
            if isinstance(block, Code) and block.cell in reading.code:
                cell = len(reading.helpers) + reading.code.index(block.cell)
            yield ToolRequest(id=identity, name=name, cell=cell, valid=valid)


def as_json(arguments: object) -> JsonValue:
    """Return a call's arguments as JSON holds them; None if it does not."""
    try:
        value: JsonValue = json.loads(json.dumps(arguments, default=str, skipkeys=True))
    except (ValueError, RecursionError):
        return None
    return value


def _helper_cells(text: str) -> list[Cell]:
    fenced = [block.cell for block in read_blocks(text, ()) if isinstance(block, Code)]
    cells = fenced or [Cell(code=mended(text))]
    return [cell for cell in cells if cell.code.strip()]


def final_answer(value: JsonValue) -> FinalAnswer:
    """Return the answer in a form that a checkpoint can hold, without what was thought aloud in its texts."""
    try:
        value = each_text(value, lambda words: without_thinking(words) or words)
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return FinalAnswer(value="", exact=False)
    if text != whole(text):
        value = json.loads(whole(text))
    try:
        return FinalAnswer(value=value)
    except ValidationError:
        return FinalAnswer(value=whole(text), exact=False)  # nested deeper than a checkpoint can hold


def _problem(blocks: Sequence[Block], reading: _Reading) -> str:
    if reading.broken:
        return reading.broken
    for block in blocks:
        if isinstance(block, OtherFence) and block.body.strip():
            language = block.language[:20]
            return PROBLEM_LANGUAGE.format(language=language) if language else PROBLEM_UNLABELLED
    if any(isinstance(block, Prose) and block.text.strip() for block in blocks):
        return PROBLEM_PROSE
    if any(isinstance(block, Quote) for block in blocks):
        return PROBLEM_QUOTE
    return PROBLEM_DRAFT if any(isinstance(block, Draft) for block in blocks) else PROBLEM_EMPTY
