"""Finalize: settle the answer and close the REPL."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from langgraph.config import get_config

from rlm_graph.answers import AnswerFormat
from rlm_graph.bridge import in_thread
from rlm_graph.budget import Usage
from rlm_graph.channels import RLMState, RLMUpdate
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import as_text, kept_typed, message, recorded, whole_final
from rlm_graph.dialogue import converse
from rlm_graph.errors import ExecutorError, ModelError
from rlm_graph.executors.attachment import attachment_of
from rlm_graph.executors.base import Executor
from rlm_graph.ledger import Ledger
from rlm_graph.nodes.observe import settled
from rlm_graph.nodes.routing import MAX_CORRECTIONS
from rlm_graph.parsing import parse
from rlm_graph.prompts import best_effort_prompt
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.state import Answer, FinalAnswer, ReplHandle
from rlm_graph.tools import OfferedTools
from rlm_graph.typed_answer import TypedAnswer

LAST_CALL_S = 60.0
"""Seconds for the one request that is made after the time ceiling, so that what was found is not lost."""


async def finalize(
    state: RLMState,
    *,
    model: BaseChatModel,
    system_prompt: str,
    window_tokens: int,
    executor: Executor,
    snapshots: SnapshotStore,
    answer_format: AnswerFormat,
    store: ContextStore,
    native: OfferedTools | None = None,
) -> RLMUpdate:
    """Turn the claimed answer into the run's answer; without one, ask once for the best that the evidence allows.

    An answer of the wrong form goes back to the model with the validator's words, a bounded number of times.
    """
    ledger = Ledger(state["budget"], state["usage"])
    final, reference = state["final"], None
    if final is None:
        tools = None if native is None else native.options(model)
        final = await _best_effort(state, model, system_prompt, state.get("window") or window_tokens, ledger, tools)
        fitted = await in_thread(answer_format.settle, final)
        typed = fitted.typed
        answer = Answer(
            value=final.value, text=as_text(final.value), complete=False, ceiling=state["ceiling"], via="best effort"
        )
    else:
        reference, final = final.kept, await in_thread(whole_final, final, store)
        fitted = await in_thread(answer_format.settle, final)
        problem = fitted.problem
        if problem is not None and ledger.exceeded() is None and state["misfits"] < MAX_CORRECTIONS:
            return {"final": None, "problem": problem, "misfits": state["misfits"] + 1, "usage": ledger.used}
        typed, text = fitted.typed, await in_thread(as_text, final.value)
        given: Any = {"value": final.value, "text": text, "complete": problem is None, "via": final.via}
        whole = Answer(**given) if reference is None else await in_thread(Answer.model_validate, given)
        answer = recorded(whole, reference)
        if reference is not None and typed is not None:
            typed = await in_thread(kept_typed, typed, store)
    repl = await _closed(executor, state.get("repl"))
    said = message(answer, id=str(uuid.uuid4()))
    await asyncio.to_thread(snapshots.forget, state.get("turns", []))
    return {
        "answer": answer,
        "messages": [said],
        "seen": len(state["messages"]) + 1,
        "told": str(said.id),
        "repl": repl,
        "usage": ledger.used,
        **_typed(state, typed),
    }


def _typed(state: RLMState, answer: TypedAnswer | None) -> RLMUpdate:
    """Return what becomes of the typed answer: a question that has none must not keep an earlier question's."""
    return {"structured_response": answer} if answer is not None or "structured_response" in state else {}


async def _closed(executor: Executor, repl: ReplHandle | None) -> ReplHandle | None:
    """Close the REPL. Where that fails the answer counts for more: the handle stays, and the REPL ends by itself."""
    if repl is None:
        return None
    if (attachment := attachment_of(get_config())) is not None:
        await attachment.aclose()
    try:
        await executor.close(repl)
    except ExecutorError as error:
        logging.getLogger(__name__).warning("the REPL of the run was not closed: %s", error)
        return repl
    return None


async def _best_effort(
    state: RLMState,
    model: BaseChatModel,
    system_prompt: str,
    window_tokens: int,
    ledger: Ledger,
    tools: Mapping[str, Any] | None,
) -> FinalAnswer:
    """Ask for the best answer there is; if even that fails, take the last thing that the code printed."""
    # The outcome of the last turn has not been told yet, and providers want every tool call answered.
    told = settled(state)
    request = best_effort_prompt(state["ceiling"])
    if told and isinstance(told[-1], HumanMessage):
        request = f"{told.pop().text}\n\n{request}"  # some models refuse two messages of a user in a row
    dialogue = [*state["dialogue"], *told, HumanMessage(request)]
    try:
        async with asyncio.timeout(max(ledger.seconds_left or 0.0, LAST_CALL_S)):
            answered, _ = await converse(
                model,
                system_prompt,
                dialogue,
                questions=state["messages"],
                window_tokens=window_tokens,
                tools=tools,
                config=get_config(),
                spent=ledger.charge,
                left_usd=ledger.cost_left_usd,
            )
    except (ModelError, TimeoutError):
        return FinalAnswer(value=_last_words(state))
    ledger.charge(Usage(turns=1))
    reply = parse(answered.message)
    return reply.final or FinalAnswer(value=reply.text.strip() or _last_words(state))


def _last_words(state: RLMState) -> str:
    for turn in reversed(state.get("turns", [])):
        for execution in reversed(turn.executions):
            words = execution.stdout.strip() or (execution.value or "")
            if words:
                return words
    return ""
