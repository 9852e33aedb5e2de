"""What is left of a budget, in words."""

from __future__ import annotations

from rlm_graph.budget import Budget, Usage


def remaining(budget: Budget, usage: Usage) -> str:
    """Say in one line what may still be spent, and on the last turn that it is the last."""
    parts = []
    if budget.max_turns is not None:
        parts.append(_of(budget.max_turns - usage.turns, budget.max_turns, "turns"))
    if budget.max_tokens is not None:
        parts.append(_of(budget.max_tokens - usage.tokens, budget.max_tokens, "tokens"))
    if budget.max_cost_usd is not None:
        left = max(0.0, budget.max_cost_usd - usage.cost_usd)
        parts.append(f"${left:.2f} of ${budget.max_cost_usd:.2f}")
    if budget.timeout_s is not None:
        parts.append(_of(int(budget.timeout_s - usage.wall_s), int(budget.timeout_s), "seconds"))
    if budget.max_subcalls == 0:
        parts.append("no sub-calls: llm_query and its kin are off")
    elif budget.max_subcalls is not None:
        parts.append(_of(budget.max_subcalls - usage.subcalls, budget.max_subcalls, "sub-calls"))
    if budget.max_subcalls_per_turn is not None:
        parts.append(f"{budget.max_subcalls_per_turn:,} sub-calls in one turn")
    if not parts:
        return "There is no limit on this run."
    words = f"Left: {', '.join(parts)}."
    if budget.max_turns is not None and budget.max_turns - usage.turns <= 1:
        words += " This is the last turn: finish in it with FINAL or FINAL_VAR."
    return words


def _of(left: int, limit: int, unit: str) -> str:
    return f"{max(0, left):,} of {limit:,} {unit}"
