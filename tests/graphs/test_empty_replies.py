"""After an empty reply no request holds an empty assistant message, which several providers refuse for good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph import AgentOptions, create_rlm_agent
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.dialogue import NO_WORDS, spoken
from rlm_graph.models.openai_messages import as_openai
from rlm_graph.settings import ModelSettings
from rlm_graph.testing import ScriptedCall, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}
REFUSAL = ScriptedReply(status=400, error="messages: text content blocks must be non-empty")


@pytest.mark.parametrize("protocol", ["repl", "tools"])
@pytest.mark.parametrize("reasoning", ["", "What now?"])
@pytest.mark.parametrize("text", ["", " \n", None])
async def test_a_run_survives_an_empty_reply_where_the_provider_refuses_empty_messages(
    protocol: Any, reasoning: str, text: str | None
) -> None:
    def answer(request: ScriptedRequest) -> ScriptedReply:
        replies = [message for message in request.messages if message["role"] == "assistant"]
        if any(not str(message["content"] or "").strip() and not message.get("tool_calls") for message in replies):
            return REFUSAL
        if not replies:
            return ScriptedReply(text, reasoning=reasoning, output_tokens=1)
        if protocol == "repl":
            return ScriptedReply(repl("FINAL('ok')"))
        return ScriptedReply("", tool_calls=[ScriptedCall("final_answer", {"answer": "ok"})])

    with ScriptedServer(answer) as server:
        settings = ModelSettings(base_url=server.url, max_retries=0, profile="standard")
        graph = create_rlm_agent("openai/m", options=AgentOptions(models=settings, protocol=protocol))
        result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].value == "ok"


async def test_a_dialogue_that_was_stored_with_an_empty_message_is_mended_where_it_is_sent(agent: Build) -> None:
    sent: list[Sequence[BaseMessage]] = []

    def root(messages: Sequence[BaseMessage]) -> str:
        sent.append(messages)
        return repl("FINAL(1)")

    graph = agent(root, checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "One?"}, CONFIG)
    await graph.aupdate_state(CONFIG, {"dialogue": [AIMessage("")]}, as_node="finalize")

    await graph.ainvoke({"question": "Two?"}, CONFIG)

    assert [message.text for message in sent[-1] if message.type == "ai"][-1] == NO_WORDS


@pytest.mark.parametrize(
    "content",
    ["", "\n", [], [{"type": "text", "text": ""}], [{"type": "thinking", "thinking": "hm", "signature": "s"}]],
)
def test_a_reply_without_words_says_so_and_keeps_its_thinking(content: Any) -> None:
    message = spoken(AIMessage(content, additional_kwargs={"reasoning_content": "hm"}))

    assert message.text == NO_WORDS
    assert as_openai(message)["content"] in (NO_WORDS, [{"type": "text", "text": NO_WORDS}])
    assert message.additional_kwargs == {"reasoning_content": "hm"}


@pytest.mark.parametrize(
    "message",
    [
        HumanMessage(""),
        AIMessage("Words."),
        AIMessage("", tool_calls=[{"name": "python", "args": {}, "id": "1", "type": "tool_call"}]),
    ],
)
def test_other_messages_are_sent_as_they_are(message: AnyMessage) -> None:
    assert spoken(message) is message
