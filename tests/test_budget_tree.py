"""Over any tree of calls the root's ceiling holds, give or take the calls that were under way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlm_graph.budget import Budget, Usage
from rlm_graph.errors import BudgetExceeded
from rlm_graph.ledger import Ledger

MOST = 50
"""Tokens that one call spends at the most; it is announced with a fifth of what it will spend."""


@dataclass(frozen=True)
class Call:
    """A model call that spends so much, and fails or not."""

    tokens: int
    fails: bool


@dataclass(frozen=True)
class Agent:
    """An agent: rounds of calls, those of a round all at once."""

    rounds: tuple[tuple[Call | Agent, ...], ...]
    own: Budget | None = None
    """What it may spend as a specialist."""
    requested: Budget | None = None
    """What the code that asks it wants it to spend."""


budgets = st.none() | st.builds(
    lambda given: Budget.of({name: value for name, value in given.items() if value is not None}),
    st.fixed_dictionaries({
        "max_tokens": st.none() | st.integers(1, 400),
        "max_subcalls": st.none() | st.integers(0, 30),
        "max_cost_usd": st.none() | st.floats(0.01, 4.0),
        "max_depth": st.none() | st.integers(0, 4),
    }),
)  # fmt: skip
calls = st.builds(Call, tokens=st.integers(1, MOST), fails=st.booleans())
trees = st.recursive(
    st.builds(
        Agent,
        rounds=st.lists(st.lists(calls, max_size=6).map(tuple), max_size=4).map(tuple),
        own=budgets,
        requested=budgets,
    ),
    lambda below: st.builds(
        Agent,
        rounds=st.lists(st.lists(calls | below, max_size=4).map(tuple), max_size=3).map(tuple),
        own=budgets,
        requested=budgets,
    ),
    max_leaves=12,
)


Place = tuple[int, ...]
"""Of a call or an agent in the tree: its rounds and its places in them, from the root down."""


class Killed(BaseException):
    """The process that ran the tree is gone."""


class Tree:
    """Runs a tree of calls and counts what a provider would be paid.

    A clock of its own goes on by a second with each call. `kills` are calls, by their number, that kill the process
    before anything of them is recorded; what was recorded before is all that is left then.
    """

    def __init__(self, kills: Collection[int] = ()) -> None:
        self.paid = Usage()
        self.under_way = 0
        self.most_under_way = 0
        self.lost = Usage()
        """Paid for calls that were under way when the process was killed."""
        self.now_s = 0.0
        self._kills = set(kills)
        self._calls = 0
        self._records: dict[Place, Usage] = {}
        """Of calls and agents that were answered."""
        self._rounds: dict[Place, list[Usage]] = {}
        """Of agents: the usage after each round that was checkpointed."""
        self._grants: dict[Place, Budget] = {}
        """What an agent was granted when it began; its state holds it."""
        self.over: list[Agent] = []
        """Agents that spent more than they had or the code wanted, by more than the calls that were under way."""

    async def run(self, agent: Agent, budget: Budget) -> Usage:
        """Run the tree to its end, in as many processes as it takes."""
        while True:
            try:
                async with asyncio.TaskGroup() as process:
                    root = process.create_task(self.agent(agent, budget, ()))
                return root.result()
            except* Killed:
                pass

    async def agent(self, agent: Agent, budget: Budget, place: Place) -> Usage:
        budget = self._grants.setdefault(place, budget)
        checkpoints = self._rounds.setdefault(place, [Usage()])
        for number in range(len(checkpoints) - 1, len(agent.rounds)):
            together = agent.rounds[number]
            ledger = Ledger(budget, checkpoints[-1], clock=lambda: self.now_s)
            async with asyncio.TaskGroup() as tasks:
                for at, item in enumerate(together):
                    tasks.create_task(self.make(item, ledger, len(together), (*place, number, at)))
            checkpoints.append(checkpoints[-1] + ledger.used)
        return checkpoints[-1]

    async def make(self, item: Call | Agent, ledger: Ledger, shares: int, place: Place) -> None:
        recorded = self._records.get(place)
        if recorded is not None:
            ledger.charge(recorded)
            return
        try:
            if isinstance(item, Call):
                usage = await self.call(item, ledger)
            else:
                grant = ledger.grant(shares=shares, requested=item.own)
                if item.requested is not None:
                    grant = grant.capped_by(item.requested)
                with ledger.reserved(grant.max_tokens or 0, cost_usd=grant.max_cost_usd or 0.0) as reservation:
                    with self.counted():  # its grant was given while its siblings were under way
                        usage = await self.agent(item, grant, place)
                    self.over += [item] if self.is_over(usage, item) else []
                    usage = reservation.usage = usage.model_copy(update={"wall_s": 0.0})
        except BudgetExceeded:
            return
        self._records[place] = usage + Usage(subcalls=1)

    def is_over(self, usage: Usage, agent: Agent) -> bool:
        """Whether an agent spent more than its own budget or the requested one, in whichever is the least."""
        under_way = max(1, self.most_under_way)
        for budget in (agent.own, agent.requested):
            if budget is None:
                continue
            if budget.max_tokens is not None and usage.tokens >= budget.max_tokens + MOST * under_way:
                return True
            if "max_cost_usd" in budget.model_fields_set:
                assert budget.max_cost_usd is not None
                if usage.cost_usd >= budget.max_cost_usd + MOST / 100 * under_way:
                    return True
            if budget.max_subcalls is not None and usage.subcalls > budget.max_subcalls:
                return True
        return False

    @contextmanager
    def counted(self) -> Iterator[None]:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            yield
        finally:
            self.under_way -= 1

    async def call(self, call: Call, ledger: Ledger) -> Usage:
        with ledger.reserved(call.tokens // 5) as reservation:
            spent = Usage(
                output_tokens=0 if call.fails else call.tokens, cost_usd=0.0 if call.fails else call.tokens / 100
            )
            self.paid += spent + Usage(subcalls=1)
            self.lost += spent + Usage(subcalls=1)
            self.now_s += 1.0
            self._calls += 1
            killed = self._calls in self._kills
            with self.counted():
                await asyncio.sleep(0)
            if killed:
                raise Killed
            self.lost = Usage(
                output_tokens=self.lost.output_tokens - spent.output_tokens,
                cost_usd=max(0.0, self.lost.cost_usd - spent.cost_usd),
                subcalls=self.lost.subcalls - 1,
            )
            reservation.usage = spent
            return spent


@settings(max_examples=300)
@given(tree=trees, tokens=st.integers(1, 400), cost=st.floats(0.01, 4.0), subcalls=st.integers(0, 30))
def test_a_tree_of_calls_spends_no_more_than_its_root_may(tree: Agent, tokens: int, cost: float, subcalls: int) -> None:
    budget = Budget(max_tokens=tokens, max_cost_usd=cost, max_subcalls=subcalls, timeout_s=None)
    run = Tree()

    charged = asyncio.run(run.run(tree, budget))

    assert run.paid.tokens < tokens + MOST * max(1, run.most_under_way)
    assert run.paid.cost_usd < cost + MOST / 100 * max(1, run.most_under_way)
    assert run.paid.subcalls <= subcalls
    assert run.over == []
    assert charged.tokens == run.paid.tokens
    assert abs(charged.cost_usd - run.paid.cost_usd) < 1e-9


@settings(max_examples=300)
@given(
    tree=trees,
    tokens=st.integers(1, 400),
    subcalls=st.integers(0, 30),
    seconds=st.integers(1, 40),
    kills=st.sets(st.integers(1, 40), max_size=5),
)
def test_a_tree_that_is_killed_and_resumed_spends_no_more_but_what_was_under_way(
    tree: Agent, tokens: int, subcalls: int, seconds: int, kills: set[int]
) -> None:
    budget = Budget(max_tokens=tokens, max_cost_usd=None, max_subcalls=subcalls, timeout_s=seconds)
    run = Tree(kills)

    charged = asyncio.run(run.run(tree, budget))

    under_way = max(1, run.most_under_way)
    assert run.paid.tokens < tokens + MOST * under_way + run.lost.tokens
    assert run.paid.subcalls <= subcalls + run.lost.subcalls
    assert run.over == []
    assert charged.tokens == run.paid.tokens - run.lost.tokens
    assert charged.wall_s <= seconds + under_way
    if not run.lost.subcalls:  # a process that is killed takes the time since its last checkpoint with it
        assert run.now_s <= seconds + under_way


@settings(max_examples=200)
@given(depth=st.integers(0, 5), tokens=st.integers(8, 10**6), shares=st.integers(1, 8), requested=budgets, own=budgets)
def test_a_childs_grant_is_its_part_of_half_of_what_is_left_or_less_where_less_is_asked_for(
    depth: int, tokens: int, shares: int, requested: Budget | None, own: Budget | None
) -> None:
    budget = Budget(max_depth=depth, max_tokens=tokens)
    if depth == 0:
        with pytest.raises(BudgetExceeded, match="max_depth"):
            budget.grant(Usage(), shares=shares)
        return
    if int(tokens * 0.5 / shares) == 0:
        return

    grant = budget.grant(Usage(), shares=shares, requested=own)
    if requested is not None:
        grant = grant.capped_by(requested)

    asked = [each for each in (own, requested) if each is not None]
    depths = [each.max_depth for each in asked if "max_depth" in each.model_fields_set]
    assert grant.max_depth == min([depth - 1, *depths])
    assert grant.max_tokens is not None
    assert grant.max_tokens * shares <= tokens / 2
    assert all(each.max_tokens is None or grant.max_tokens <= each.max_tokens for each in asked)
