"""The account of one turn: what its calls may spend, have spent, and have reserved."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rlm_graph.budget import SHARE, Budget, Usage
from rlm_graph.errors import BudgetExceeded


@dataclass(eq=False)
class Reservation:
    """A call under way: what it is expected to spend, until `usage` says what it did."""

    tokens: int
    cost_usd: float = 0.0
    usage: Usage = field(default_factory=Usage)


class Ledger:
    """Reserves a call before it is made and settles it after, against one budget.

    Everything that uses a ledger runs on one event loop, so between two awaits its figures hold.
    """

    def __init__(
        self, budget: Budget, usage: Usage, *, earlier_subcalls: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget = budget
        self._earlier_subcalls = earlier_subcalls
        """Of earlier questions on the same thread."""
        self._clock = clock
        self._before = usage
        self._started = clock()
        self._reserved: list[Reservation] = []
        self.spent = Usage()
        """Since this ledger was opened, without the time."""

    @property
    def used(self) -> Usage:
        """Since this ledger was opened, with the time."""
        return self.spent + Usage(wall_s=self._clock() - self._started)

    @property
    def total(self) -> Usage:
        """What the run has spent by now."""
        return self._before + self.used

    @property
    def seconds_left(self) -> float | None:
        """Seconds until `timeout_s`, never negative; None without that ceiling."""
        if self.budget.timeout_s is None:
            return None
        return max(0.0, self.budget.timeout_s - self.total.wall_s)

    @property
    def cost_left_usd(self) -> float | None:
        """US dollars until `max_cost_usd` that no call under way has reserved, never negative; None without it."""
        if self.budget.max_cost_usd is None:
            return None
        reserved = sum(reservation.cost_usd for reservation in self._reserved)
        return max(0.0, self.budget.max_cost_usd - self.total.cost_usd - reserved)

    def exceeded(self) -> BudgetExceeded | None:
        """Return the ceiling that has been reached, if any."""
        return self.budget.exceeded(self.total)

    def grant(self, *, shares: int = 1, requested: Budget | None = None) -> Budget:
        """Return a child's budget, out of what is neither spent nor reserved: see `Budget.grant`."""
        reserved = Usage(
            input_tokens=sum(reservation.tokens for reservation in self._reserved),
            cost_usd=sum(reservation.cost_usd for reservation in self._reserved),
        )
        grant = self.budget.grant(self.total + reserved, shares=shares, requested=requested)
        session = self.budget.max_subcalls_per_session
        if session is None:
            return grant
        left = max(0, session - self._earlier_subcalls - self.total.subcalls)
        return grant.capped_by(Budget(max_subcalls=int(left * SHARE / shares)))

    def charge(self, usage: Usage) -> None:
        """Add what was spent elsewhere, such as by a call that is answered from the record."""
        self.spent += usage

    @contextmanager
    def reserved(self, tokens: int, *, cost_usd: float = 0.0) -> Iterator[Reservation]:
        """Admit one call that may spend about so much. Raises `BudgetExceeded` if there is no room for it."""
        self._admit(tokens, cost_usd)
        reservation = Reservation(tokens, cost_usd)
        self._reserved.append(reservation)
        try:
            yield reservation
        finally:
            self._reserved.remove(reservation)
            self.spent += reservation.usage + Usage(subcalls=1)

    def _admit(self, tokens: int, cost_usd: float) -> None:
        total, under_way = self.total, len(self._reserved)
        expected = total.tokens + sum(reservation.tokens for reservation in self._reserved)
        cost = total.cost_usd + sum(reservation.cost_usd for reservation in self._reserved)
        calls = total.subcalls + under_way
        for ceiling, spent, limit in (
            ("max_subcalls", calls, self.budget.max_subcalls),
            ("max_subcalls_per_session", self._earlier_subcalls + calls, self.budget.max_subcalls_per_session),
            ("max_subcalls_per_turn", self.spent.subcalls + under_way, self.budget.max_subcalls_per_turn),
        ):
            if limit is not None and spent >= limit:
                raise BudgetExceeded(ceiling, spent=spent, limit=limit)
        if self.budget.max_tokens is not None and expected + tokens > self.budget.max_tokens:
            raise BudgetExceeded("max_tokens", spent=expected, limit=self.budget.max_tokens)
        if self.budget.max_cost_usd is not None and cost + cost_usd > self.budget.max_cost_usd:
            raise BudgetExceeded("max_cost_usd", spent=cost, limit=self.budget.max_cost_usd)
        # Turns are the root model's: the calls of its last turn are not over them.
        met = self.budget.model_copy(update={"max_turns": None}).exceeded(total)
        if met is not None:
            raise met
