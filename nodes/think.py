"""Think: ask the root model and read its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from langchain_core.language_models import BaseChatModel
from langgraph.config import get_config

from rlm_graph.budget import Usage
from rlm_graph.channels import RLMState, RLMUpdate
from rlm_graph.dialogue import converse, spoken
from rlm_graph.errors import ModelError
from rlm_graph.ledger import Ledger
from rlm_graph.models import ReplyCache
from rlm_graph.nodes.failing import CostlyFailures
from rlm_graph.parsing import Reply, answerable, parse, parse_broken_off, parse_tool_calls
from rlm_graph.prompts import broken_off
from rlm_graph.tools import OfferedTools


async def think(
    state: RLMState,
    *,
    model: BaseChatModel,
    system_prompt: str,
    window_tokens: int,
    wants_code: bool,
    failures: CostlyFailures,
    native: OfferedTools | None = None,
    replies: ReplyCache | None = None,
) -> RLMUpdate:
    """Ask the model for its next step and take code, calls or an answer from the reply.

    `wants_code` holds an answer back until at least one cell has run. `native` has the tools of a model that calls
    tools instead of writing code. Raises `ModelError` if the provider fails; if that has cost something, the cost is
    returned first and the error is raised, or the model asked again, by the step that follows.
    """
    ledger = Ledger(state["budget"], state["usage"])
    window = state.get("window") or window_tokens
    failed: Sequence[str] = ()
    try:
        async with asyncio.timeout(ledger.seconds_left):
            failed = await failures.settle(state.get("failures", ()))
            answered, held = await converse(
                model,
                system_prompt,
                state["dialogue"],
                questions=state["messages"],
                window_tokens=window,
                tools=None if native is None else native.options(model),
                config=get_config(),
                replies=replies,
                spent=ledger.charge,
                left_usd=ledger.cost_left_usd,
            )
    except TimeoutError:
        return {"usage": ledger.used, "ceiling": "timeout_s", "cells": [], "native": [], **_settled(state, failures)}
    except ModelError as error:
        if ledger.spent == Usage():
            raise
        met = ledger.exceeded()
        told = {"failures": failures.record(failed, error, ledger.spent)} if met is None else _settled(state, failures)
        ceiling = None if met is None else met.ceiling
        return {"usage": ledger.used, "ceiling": ceiling, "cells": [], "native": [], **told}
    message = answered.message
    ledger.charge(Usage(turns=1))
    turns = state.get("turns")
    variables = [variable.name for variable in turns[-1].variables] if turns else ()
    happened = broken_off(answered.ending)
    if native is not None:
        invalid = len(message.invalid_tool_calls)
        message = answerable(message)
        reply = parse_tool_calls(message, hosts=native.hosts, invalid=invalid, variables=variables, broken_off=happened)
    elif happened is not None:
        reply = parse_broken_off(message, problem=happened, variables=variables)
    else:
        reply = parse(message, variables=variables)
    if wants_code and reply.final is not None and not turns:
        reply = Reply(problem="Look at the evidence first: run at least one cell before the final answer.")
    # Code that was paid for still runs, and an answer is an answer: only a reply without either ends the run here.
    met = None if reply.cells or reply.calls or reply.final is not None else ledger.exceeded()
    return {
        "dialogue": [spoken(message)],
        **({} if held == window else {"window": held}),
        "usage": ledger.used,
        "cells": list(reply.cells),
        "native": list(reply.calls),
        "notes": list(reply.notes),
        "final": reply.final,
        "problem": reply.problem,
        "corrections": state["corrections"] + 1 if reply.problem is not None else 0,
        "ceiling": None if met is None else met.ceiling,
        **_settled(state, failures),
    }


def _settled(state: RLMState, failures: CostlyFailures) -> RLMUpdate:
    """Return what ends the row of failures, if there is one."""
    ids = state.get("failures")
    if not ids:
        return {}
    failures.forget(ids)
    return {"failures": []}
