"""What became of a run over all its lives, judged by one that nobody disturbed.

What is judged:
  - the answer, with each request's mark left out, and that no request's answer stands in two places of it;
  - the usage: turns, sub-calls, tokens and cost;
  - the model server's own count: a request whose reply was in the database when the host was killed is not asked again,
    and no more were under way at a kill than the scenario has side by side;
  - that no REPL is left.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.faults.counting import Request
from tests.faults.scenarios import Scenario
from tests.faults.script import MARK, plain


@dataclass
class Outcome:
    """How a run came to its end, over all its lives."""

    answer: Any = None
    usage: dict[str, float] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    records: list[tuple[int, set[int]]] = field(default_factory=list)
    """At each end before its time: which life ended, and the requests whose reply the database held, by number."""
    statuses: list[int] = field(default_factory=list)
    """How each process ended."""
    said: list[str] = field(default_factory=list)
    """What each wrote to stderr."""
    events: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """REPLs that are still there."""
    took_s: float = 0.0
    """How long its lives have lasted, together."""
    failure: str = ""
    """Why it did not come to its end."""

    @property
    def kills(self) -> int:
        """How often the host was ended before its time."""
        return len(self.records)

    @property
    def under_way(self) -> list[list[Request]]:
        """At each end before its time: the requests that were made and whose reply the database did not hold.

        Known only now: a busy server may read what a host has sent when that host is dead already.
        """
        return [
            [request for request in self.requests if request.life == life and request.number not in recorded]
            for life, recorded in self.records
        ]

    def faults(self, scenario: Scenario, undisturbed: Outcome) -> list[str]:
        """Return what differs from an undisturbed run and must not."""
        if self.failure:
            return [self.failure]
        found = []
        if not self.right(undisturbed):
            found.append(f"wrong answer: {self.answer!r}, not {undisturbed.answer!r}")
        if self.usage != undisturbed.usage:
            found.append(f"usage {self.usage}, not {undisturbed.usage}")
        found += [f"asked again: …{content[-300:]!r}" for content in self.asked_again(undisturbed)]
        most = max(map(len, self.under_way), default=0)
        if most > scenario.width:
            found.append(f"{most} requests were under way, more than {scenario.width}")
        return found + [f"left behind: {name}" for name in self.left]

    def right(self, undisturbed: Outcome) -> bool:
        """Whether the answer is that of the undisturbed run, and each part of it the answer to a request of its own."""
        text = json.dumps(self.answer)
        marks = MARK.findall(text)
        return plain(text) == plain(json.dumps(undisturbed.answer)) and len(marks) == len(set(marks))

    def asked_again(self, undisturbed: Outcome) -> list[str]:
        """Return the requests that were made more often than the kills excuse, as often as they were too many."""
        asked = Counter(request.content for request in self.requests)
        asked -= Counter(request.content for request in undisturbed.requests)
        asked -= Counter(request.content for requests in self.under_way for request in requests)
        return sorted(asked.elements())
