"""What was learned of a server while it was asked, and holds for the next requests of this process."""

from __future__ import annotations

import re
from typing import Literal

Habit = Literal["whole only", "slow", "no stream_options", "max_tokens", "max_completion_tokens"]
"""`whole only`: it refuses to stream. `slow`: it took too long for a reply that was not streamed. `no stream_options`:
it refuses them. The others: the one name of the limit of tokens that it takes."""

_learned: dict[str, set[Habit]] = {}

_UNKNOWN = (
    r"(not|n't|un|never)[\s-]*(\w+\s)?(be\s)?(support|allow|permit|recogni[sz]|known|expected|available|implement|enabled)"
    r"|disabled|extra inputs|invalid|unrecognized|unknown"
)
_NO_STREAM = re.compile(
    rf"\bstream(ing)?\b(?!_).{{0,80}}({_UNKNOWN})|({_UNKNOWN}).{{0,60}}\bstream(ing)?\b(?!_)", re.IGNORECASE
)
_REFUSED = re.compile(_UNKNOWN, re.IGNORECASE)


def has(destination: str, habit: Habit) -> bool:
    """Tell whether the habit of a destination has been learned."""
    return habit in _learned.get(destination, ())


def learn(destination: str, habit: Habit) -> None:
    """Remember the habit of a destination."""
    _learned.setdefault(destination, set()).add(habit)


def refuses_streams(words: str) -> bool:
    """Tell whether a server's words say that it does not stream, or not with the options that a client insists on."""
    return "stream_options" in words or _NO_STREAM.search(words) is not None


def habit_in(words: str, options: dict[str, object]) -> Habit | None:
    """Return the habit that a server's refusal of a request with these options shows, if any."""
    if "stream_options" in options and "stream_options" in words:
        return "no stream_options"
    if "max_tokens" in options and "max_completion_tokens" in words:
        return "max_completion_tokens"
    if "max_completion_tokens" in options and "max_completion_tokens" in words and _REFUSED.search(words):
        return "max_tokens"
    return None
