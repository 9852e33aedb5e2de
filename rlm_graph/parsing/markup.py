"""Regions of a reply that tags mark: drafts, tool calls, code, helpers, answers, invented output."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from rlm_graph.parsing.block import Block, Broken, Code, Draft, DraftEnd, Final, Helpers, Output
from rlm_graph.parsing.calls import PREFIX, read_calls, unfenced
from rlm_graph.parsing.literals import value_of
from rlm_graph.parsing.lookahead import Lookahead
from rlm_graph.parsing.source import mended
from rlm_graph.parsing.tools import BASH_LABELS, asked
from rlm_graph.state import Cell

Kind = Literal["draft", "call", "code", "helpers", "answer", "output", "mark"]

_TAGS: dict[Kind, str] = {
    "draft": "think thinking thought thoughts reasoning scratchpad scratch_pad analysis reflection inner_monologue",
    "call": "tool_call function_call invoke function tool_use",
    "code": "python py repl code execute exec execute_python execute_ipython run_python tool_code code_interpreter "
    "bash sh shell execute_bash run_bash",
    "helpers": "helpers",
    "answer": "final final_answer answer",
    "output": "tool_response tool_result tool_results function_result function_results function_response observation "
    "output stdout execution_result execution_output repl_output tool_output code_output",
    "mark": "function_calls tool_calls",
}
_KINDS: dict[str, Kind] = {tag: kind for kind, tags in _TAGS.items() for tag in tags.split()}

_SPECIAL: dict[str, tuple[Kind, str]] = {
    "[think]": ("draft", "[/think]"),
    "◁think▷": ("draft", "◁/think▷"),
    "<|start_think|>": ("draft", "<|end_think|>"),
    "<|channel|>analysis<|message|>": ("draft", "<|end|>"),
    "<|channel|>final<|message|>": ("mark", ""),
    "<|start|>assistant": ("mark", ""),
    "<|python_tag|>": ("call", "<|eom_id|>"),
    "<|python_start|>": ("call", "<|python_end|>"),
    "[tool_calls]": ("call", "[tool_calls]"),
    "[tool_request]": ("call", "[end_tool_request]"),
    "<|tool_call_start|>": ("call", "<|tool_call_end|>"),
    "<|tool_calls_section_begin|>": ("mark", ""),
    "<|tool_calls_section_end|>": ("mark", ""),
    "<|tool_call_begin|>": ("call", "<|tool_call_end|>"),
    "<|tool_call|>": ("call", "<|tool_call|>"),
    "<|tool_call>": ("call", "<tool_call|>"),
    "<｜tool▁calls▁begin｜>": ("mark", ""),
    "<｜tool▁calls▁end｜>": ("mark", ""),
    "<｜tool▁call▁begin｜>": ("call", "<｜tool▁call▁end｜>"),
    "<｜tool▁outputs▁begin｜>": ("output", "<｜tool▁outputs▁end｜>"),
    "[tool_results]": ("output", "[/tool_results]"),
}
"""Openers that are no tags, in lower case, and what closes each. One that closes itself opens the next call too."""

_TOKEN = re.compile(
    r"(?P<ticks>`+)"
    rf"|<(?P<end>/)?(?P<tag>{PREFIX}(?:{'|'.join(sorted(_KINDS, key=len, reverse=True))}))"
    r"(?P<rest>(?:[\s=][^<>\n]*+)?)>"
    r"|(?P<harmony><\|channel\|>(?:analysis|commentary)[ ]to=(?:functions\.)?(?:python|repl)\b[^\n<]*+"
    r"(?:<\|constrain\|>\w++)?<\|message\|>)"
    rf"|(?P<special>{'|'.join(re.escape(opener) for opener in sorted(_SPECIAL, key=len, reverse=True))})"
    r"|(?P<draft_end>\[/think\]|◁/think▷|<\|end_think\|>)",
    re.IGNORECASE,
)
_NAME = re.compile(r"""(?:\A=|\bname\s*=)\s*["']?([\w.:-]+)""")
_SPACES = re.compile(r"\s*+")
_UNREADABLE = "Your tool call could not be read; write the code in a ```repl block instead."


@dataclass(frozen=True)
class Region:
    """What stands between `start` and `end` of the text, markup included."""

    start: int
    end: int
    blocks: tuple[Block, ...]


def next_region(text: str, start: int, limit: int, lookahead: Lookahead) -> Region | None:
    """Return the first region that opens between `start`, which begins a line, and `limit`, but not in inline code.

    Within a line only drafts and tool calls open, and only if they are closed: anything else is a mention.
    """
    ticks = 0
    first = _SPACES.match(text, start, limit).end()  # type: ignore[union-attr]  # it matches the empty string
    for token in _TOKEN.finditer(text, start, limit):
        if token["ticks"]:
            length = len(token["ticks"])
            ticks = length if not ticks else 0 if length == ticks else ticks
        elif not ticks:
            leads = bool(token["harmony"]) or token.start() <= first
            if region := _region(text, token, lookahead, leads=leads):
                return region
    return None


def _region(text: str, token: re.Match[str], lookahead: Lookahead, *, leads: bool) -> Region | None:
    kind, closer = _kind(token)
    start, inner = token.span()
    if kind == "mark":
        return Region(start, inner, ())
    if token["draft_end"] or token["end"]:
        return Region(start, inner, (DraftEnd(),)) if kind == "draft" else None
    if not leads and kind not in ("draft", "call"):
        return None
    inner_end = lookahead.find(closer, inner)
    closed = inner_end >= 0
    end = inner_end if closer == token[0].lower() else inner_end + len(closer)
    if not closed:
        if not leads or kind == "answer" or (kind == "helpers" and lookahead.find("```", inner) >= 0):
            return None
        inner_end = end = inner if kind == "output" else len(text)
    elif kind == "code" and not _stands_alone(text, inner, end):
        return None
    blocks = _blocks(kind, token, text[inner:inner_end], closed=closed)
    if blocks is None:
        return Region(start, end, (Broken(_UNREADABLE),)) if leads else None
    return Region(start, end, blocks)


def _kind(token: re.Match[str]) -> tuple[Kind, str]:
    if token["special"]:
        return _SPECIAL[token["special"].lower()]
    if token["harmony"]:
        return "code", "<|call|>"
    if token["draft_end"]:
        return "draft", ""
    tag = token["tag"].lower()
    return _KINDS[tag[re.match(PREFIX, tag, re.IGNORECASE).end() :]], f"</{tag}>"  # type: ignore[union-attr]  # it is optional


def _blocks(kind: Kind, token: re.Match[str], body: str, *, closed: bool) -> tuple[Block, ...] | None:
    match kind:
        case "draft":
            return (Draft(closed),)
        case "output":
            return (Output(),)
        case "answer":
            return (Final(value_of(body.strip())),) if body.strip() else ()
        case "helpers":
            return (Helpers(body),)
        case "call":
            return _called(token, body)
    return _code(token, body)


def _called(token: re.Match[str], body: str) -> tuple[Block, ...] | None:
    name = _NAME.search(token["rest"]) if token["tag"] else None
    if calls := read_calls(body, name[1] if name else ""):
        return tuple(asked(call) for call in calls)
    return _code(token, body) if "python" in token[0].lower() else None


def _code(token: re.Match[str], body: str) -> tuple[Block, ...]:
    language, code = unfenced(body)
    if not code.strip():
        return ()
    label = language.lower() or (token["tag"] or "").lower()
    if label in BASH_LABELS or label.endswith("_bash") or "bash" in (token["rest"] or ""):
        return (Code(Cell(code=code.strip("\n"), language="bash")),)
    return (Code(Cell(code=mended(code))),)


def _stands_alone(text: str, inner: int, end: int) -> bool:
    """Tell whether tags hold a block, not a word in a sentence that begins with it."""
    stop = text.find("\n", inner, end)
    rest = text[end : end + 80].split("\n", 1)[0].strip()
    return stop >= 0 or not rest or rest.startswith("<")
