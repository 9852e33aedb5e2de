"""`--stream`: what the model writes and what becomes of it, as it comes."""

from __future__ import annotations

from rlm_graph.budget import Usage
from rlm_graph.cli.printing import cost, counted, printable, say, say_json, write_stderr
from rlm_graph.events import (
    AnswerEvent,
    BudgetEvent,
    CallEvent,
    CellEvent,
    Event,
    OutputEvent,
    SubcallEvent,
    TurnEvent,
)
from rlm_graph.runs.notices import Body, Token

MAX_LINES = 12


class Streamed:
    """Shows a run on stderr: the root model's words as they come, all else in lines of its own.

    With `as_json`, one JSON object to a line: each event, and `{"kind": "token", ...}` for the words of all models.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._in_line = False
        self._spent = ""
        """What was last said to be spent."""
        self._depth: dict[str, int] = {}
        """Of each call in the tree, as far as it is known."""

    def notice(self, body: Body) -> None:
        """Take in what the run tells."""
        match body:
            case Token():
                self._token(body)
            case Event():
                self._event(body)

    def _token(self, token: Token) -> None:
        if self._as_json:
            say_json(token.model_dump(mode="json"))
        elif token.parent_id is None:
            write_stderr(printable(token.text))
            self._in_line = not token.text.endswith("\n")

    def _event(self, event: Event) -> None:
        if self._as_json:
            say_json(event.model_dump(mode="json"))
            return
        self._depth[event.call_id] = depth = 0 if event.parent_id is None else self._depth.get(event.parent_id, 0) + 1
        words = _words(event, depth)
        if isinstance(event, BudgetEvent):
            if words == self._spent:
                return  # nothing was spent since that was said
            self._spent = words
        if words:
            self._break()
            margin = "  " * depth
            say("\n".join(f"{margin}{line}" for line in _few(words.splitlines())))

    def _break(self) -> None:
        if self._in_line:
            write_stderr("\n")
        self._in_line = False


def _words(event: Event, depth: int) -> str:
    match event:
        case TurnEvent() | CellEvent() if depth == 0:
            return ""  # its words have been shown as they came
        case TurnEvent():
            return f"turn {event.number}"
        case CellEvent():
            return _block("code", event.code)
        case OutputEvent():
            parts = [_block("stdout", event.stdout), _block("stderr", event.stderr)]
            parts += [] if event.value is None else [_block("value", event.value)]
            parts += [] if event.error is None else [f"! {event.error}"]
            return "\n".join([f"cell {event.number}: {event.status}", *filter(None, parts)])
        case CallEvent(function="rlm_query"):
            return f"{_asked(event)} …"  # what the child tells follows
        case SubcallEvent():
            answer = f"! {event.error}" if event.error is not None else event.reply
            return f"{_asked(event)} → {_line(answer)}"
        case BudgetEvent():
            return f"[{_spent(event.spent)}]" if depth == 0 else ""
        case AnswerEvent():
            return "" if depth == 0 else f"answer: {_line(event.text)}"
    return ""


def _asked(event: CallEvent | SubcallEvent) -> str:
    agent = "" if event.agent is None else f", agent={event.agent}"
    return f"{event.function}({_line(event.prompt)}{agent})"


def _block(name: str, text: str) -> str:
    return f"{name}:\n" + "\n".join(f"  {line}" for line in text.splitlines()) if text.strip() else ""


def _few(lines: list[str]) -> list[str]:
    if len(lines) <= 2 * MAX_LINES:
        return lines
    left_out = len(lines) - 2 * MAX_LINES
    return [*lines[:MAX_LINES], f"… {counted(left_out, 'line')} left out …", *lines[-MAX_LINES:]]


def _line(text: str, chars: int = 100) -> str:
    """Return the text in one line, cut."""
    words = " ".join(text.split())
    return words if len(words) <= chars else f"{words[:chars]}…"


def _spent(usage: Usage) -> str:
    return f"{counted(usage.tokens, 'token')}, {cost(usage)}"
