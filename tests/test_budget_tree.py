"""Over any tree of calls the root's ceiling holds, give or take the calls that were under way."""

from __future__ import annotations

import asyncio
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


calls = st.builds(Call, tokens=st.integers(1, MOST), fails=st.booleans())
trees = st.recursive(
    st.builds(Agent, rounds=st.lists(st.lists(calls, max_size=6).map(tuple), max_size=4).map(tuple)),
    lambda below: st.builds(
        Agent, rounds=st.lists(st.lists(calls | below, max_size=4).map(tuple), max_size=3).map(tuple)
    ),
    max_leaves=12,
)


class Tree:
    """Runs a tree of calls and counts what a provider would be paid."""

    def __init__(self) -> None:
        self.paid = Usage()
        self.under_way = 0
        self.most_under_way = 0

    async def agent(self, agent: Agent, budget: Budget) -> Usage:
        usage = Usage()
        for round_ in agent.rounds:
            ledger = Ledger(budget, usage)
            await asyncio.gather(*(self.make(item, ledger, len(round_)) for item in round_))
            usage += ledger.spent
        return usage

    async def make(self, item: Call | Agent, ledger: Ledger, shares: int) -> None:
        try:
            if isinstance(item, Call):
                await self.call(item, ledger)
            else:
                grant = ledger.grant(shares=shares)
                with ledger.reserved(grant.max_tokens or 0, cost_usd=grant.max_cost_usd or 0.0) as reservation:
                    reservation.usage = await self.agent(item, grant)
        except BudgetExceeded:
            pass

    async def call(self, call: Call, ledger: Ledger) -> None:
        with ledger.reserved(call.tokens // 5) as reservation:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await asyncio.sleep(0)
            self.under_way -= 1
            spent = Usage(
                output_tokens=0 if call.fails else call.tokens, cost_usd=0.0 if call.fails else call.tokens / 100
            )
            self.paid += spent + Usage(subcalls=1)
            reservation.usage = spent


@settings(max_examples=300)
@given(tree=trees, tokens=st.integers(1, 400), cost=st.floats(0.01, 4.0), subcalls=st.integers(0, 30))
def test_a_tree_of_calls_spends_no_more_than_its_root_may(tree: Agent, tokens: int, cost: float, subcalls: int) -> None:
    budget = Budget(max_tokens=tokens, max_cost_usd=cost, max_subcalls=subcalls, timeout_s=None)
    run = Tree()

    charged = asyncio.run(run.agent(tree, budget))

    assert run.paid.tokens < tokens + MOST * max(1, run.most_under_way)
    assert run.paid.cost_usd < cost + MOST / 100 * max(1, run.most_under_way)
    assert run.paid.subcalls <= subcalls
    assert charged.tokens == run.paid.tokens
    assert abs(charged.cost_usd - run.paid.cost_usd) < 1e-9


@settings(max_examples=200)
@given(depth=st.integers(0, 5), tokens=st.integers(8, 10**6), shares=st.integers(1, 8))
def test_a_childs_grant_is_its_part_of_half_of_what_is_left(depth: int, tokens: int, shares: int) -> None:
    budget = Budget(max_depth=depth, max_tokens=tokens)
    if depth == 0:
        with pytest.raises(BudgetExceeded, match="max_depth"):
            budget.grant(Usage(), shares=shares)
        return
    if int(tokens * 0.5 / shares) == 0:
        return

    grant = budget.grant(Usage(), shares=shares)

    assert grant.max_depth == depth - 1
    assert grant.max_tokens is not None
    assert grant.max_tokens * shares <= tokens / 2
