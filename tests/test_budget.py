"""What a budget and a ledger promise."""

from __future__ import annotations

import pytest

from rlm_graph.budget import Budget, Caps, Usage
from rlm_graph.cli.hints import advised
from rlm_graph.errors import BudgetExceeded, Hint, SetupError
from rlm_graph.ledger import Ledger


def test_usages_add_up_and_peaks_take_the_larger() -> None:
    total = Usage(input_tokens=3, cost_usd=0.5, peak_memory_bytes=7) + Usage(
        output_tokens=4, cost_usd=0.25, peak_memory_bytes=5
    )

    assert total == Usage(input_tokens=3, output_tokens=4, cost_usd=0.75, peak_memory_bytes=7)
    assert total.tokens == 7


@pytest.mark.parametrize(
    ("ceiling", "budget", "usage"),
    [
        ("max_turns", Budget(max_turns=2), Usage(turns=2)),
        ("max_cost_usd", Budget(max_cost_usd=0.5), Usage(cost_usd=0.5)),
        ("max_tokens", Budget(max_tokens=10), Usage(input_tokens=6, output_tokens=4)),
        ("timeout_s", Budget(timeout_s=3.0), Usage(wall_s=3.5)),
    ],
)
def test_a_ceiling_that_is_reached_is_named_with_its_figures(ceiling: str, budget: Budget, usage: Usage) -> None:
    met = budget.exceeded(usage)

    assert met is not None
    assert met.ceiling == ceiling
    assert f"{ceiling} reached" in str(met)


def test_no_ceiling_is_met_below_it_and_none_is_no_ceiling() -> None:
    unlimited = Budget(max_turns=None, max_cost_usd=None, max_tokens=None, timeout_s=None)

    assert Budget().exceeded(Usage(turns=9, cost_usd=1.99, wall_s=299.0)) is None
    assert unlimited.exceeded(Usage(turns=10**6, cost_usd=1e9, input_tokens=10**9, wall_s=1e9)) is None


def test_a_message_about_a_ceiling_names_what_raises_it_at_each_door() -> None:
    cost, time = BudgetExceeded("max_cost_usd", spent=2.5, limit=2), BudgetExceeded("timeout_s", spent=9, limit=8)

    assert cost.hint == Hint("raise_budget", "max_cost_usd")
    assert str(cost) == "max_cost_usd reached: spent 2.5 of 2; go on with a larger Budget(max_cost_usd=...)"
    assert advised(cost).endswith("go on with a larger --max-cost")
    assert advised(time).endswith("go on with a larger --timeout")


def test_a_reserved_call_counts_while_it_is_under_way() -> None:
    ledger = Ledger(Budget(max_tokens=100), Usage(input_tokens=20))

    with ledger.reserved(60), pytest.raises(BudgetExceeded, match="max_tokens"), ledger.reserved(30):
        raise AssertionError("a call was admitted over the ceiling")

    with ledger.reserved(30) as reservation:
        reservation.usage = Usage(input_tokens=25, output_tokens=5)
    assert ledger.spent == Usage(input_tokens=25, output_tokens=5, subcalls=2)


def test_sub_calls_are_counted_for_the_run_and_for_the_turn() -> None:
    run = Ledger(Budget(max_subcalls=3), Usage(subcalls=3))
    turn = Ledger(Budget(max_subcalls_per_turn=1), Usage(subcalls=3))

    with pytest.raises(BudgetExceeded, match="max_subcalls reached"), run.reserved(1):
        pass
    with turn.reserved(1):
        pass
    with pytest.raises(BudgetExceeded, match="max_subcalls_per_turn reached"), turn.reserved(1):
        pass


def test_calls_of_the_last_turn_are_not_over_the_turns() -> None:
    ledger = Ledger(Budget(max_turns=1), Usage(turns=1))

    with ledger.reserved(1):
        pass

    assert ledger.spent.subcalls == 1
    assert ledger.exceeded() is not None


def test_a_call_that_fails_frees_what_it_reserved_and_still_counts() -> None:
    ledger = Ledger(Budget(max_tokens=100), Usage())

    with pytest.raises(RuntimeError), ledger.reserved(90):
        raise RuntimeError("the provider is down")
    with ledger.reserved(90):
        pass

    assert ledger.spent.subcalls == 2


def test_time_before_this_ledger_counts_and_is_never_negative() -> None:
    assert Ledger(Budget(timeout_s=10), Usage(wall_s=60)).seconds_left == 0
    assert Ledger(Budget(timeout_s=None), Usage(wall_s=60)).seconds_left is None


def test_equal_calls_that_end_in_another_order_are_told_apart() -> None:
    ledger = Ledger(Budget(max_tokens=100), Usage())
    first, second = ledger.reserved(30), ledger.reserved(30)
    reservation = first.__enter__()
    second.__enter__()
    second.__exit__(None, None, None)
    reservation.usage = Usage(input_tokens=30)
    first.__exit__(None, None, None)

    with ledger.reserved(70):
        pass
    assert ledger.spent == Usage(input_tokens=30, subcalls=3)


def test_a_child_gets_what_it_asks_for_where_that_is_less_than_its_part() -> None:
    budget = Budget(max_tokens=100, max_cost_usd=4.0)

    modest = budget.grant(Usage(), requested=Budget(max_tokens=10, max_turns=2))
    greedy = budget.grant(Usage(), requested=Budget(max_tokens=90, max_cost_usd=9.0, max_turns=40))

    assert (modest.max_tokens, modest.max_cost_usd, modest.max_turns) == (10, 2.0, 2)
    assert (greedy.max_tokens, greedy.max_cost_usd, greedy.max_turns) == (50, 2.0, 10)


def test_a_child_shares_what_is_left_of_the_session() -> None:
    ledger = Ledger(Budget(max_subcalls_per_session=10), Usage(subcalls=1), earlier_subcalls=5)

    assert ledger.grant().max_subcalls == 2
    assert ledger.grant(shares=2).max_subcalls == 1


def test_caps_fill_in_where_there_is_no_ceiling_and_may_be_raised() -> None:
    budget = Budget(max_turns=None, timeout_s=None, max_depth=4)

    assert Caps().applied(budget).max_turns == 50
    assert Caps().applied(budget).timeout_s == 600
    assert Caps(max_turns=None).applied(budget).max_turns is None
    with pytest.raises(SetupError, match=r"RLM_CAPS__TIMEOUT_S"):
        Caps().applied(Budget(timeout_s=601))
    assert Caps(timeout_s=9_000).applied(Budget(timeout_s=601)).timeout_s == 601


def test_what_is_left_of_the_cost_is_neither_spent_nor_reserved() -> None:
    ledger = Ledger(Budget(max_cost_usd=1.0), Usage(cost_usd=0.25))
    assert ledger.cost_left_usd == 0.75

    with ledger.reserved(0, cost_usd=0.5):
        assert ledger.cost_left_usd == 0.25
        with pytest.raises(BudgetExceeded, match="max_cost_usd"), ledger.reserved(0, cost_usd=0.5):
            pass
    assert ledger.cost_left_usd == 0.75


def test_a_ledger_knows_of_no_earlier_calls_but_those_it_is_told_of() -> None:
    with Ledger(Budget(max_subcalls_per_session=1), Usage()).reserved(0):
        pass
    told = Ledger(Budget(max_subcalls_per_session=1), Usage(), earlier_subcalls=1)
    with pytest.raises(BudgetExceeded, match="max_subcalls_per_session"), told.reserved(0):
        pass
