"""What a run of the whole agent promises, with the real local executor."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from pydantic import BaseModel

from rlm_graph import (
    AgentOptions,
    Answer,
    Budget,
    Caps,
    ContextStore,
    ExecutorError,
    InputError,
    LocalSettings,
    ModelError,
    ModelSettings,
    SetupError,
    Usage,
    create_rlm_agent,
)
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.executors.local import LocalExecutor
from rlm_graph.nodes.routing import MAX_CORRECTIONS
from rlm_graph.settings import ContextSettings
from rlm_graph.state import ReplHandle
from rlm_graph.testing import ScriptedModel, ScriptedReply, ScriptedRequest, ScriptedServer
from tests.graphs.conftest import repl

Build = Callable[..., RLMGraph]
CONFIG: Any = {"configurable": {"thread_id": "a run"}}


async def test_a_question_is_answered_from_code_over_its_context(agent: Build) -> None:
    graph = agent([repl("n = len(context.split())\nprint(n)"), repl('FINAL_VAR("n")')])

    result = await graph.ainvoke({"question": "How many words?", "context": "one two three"})

    assert result["answer"] == Answer(value=3, text="3", via="FINAL_VAR")
    assert isinstance(result["messages"][0], HumanMessage)
    assert result["messages"][-1].text == "3"
    assert result["usage"].turns == 2
    assert set(result) == {"messages", "answer", "usage"}


async def test_the_model_sees_the_shape_of_the_context_and_never_its_text(agent: Build) -> None:
    model = ScriptedModel([repl("print(len(context))"), 'FINAL("done")'])

    await agent(model).ainvoke({"question": "What is in it?", "context": "a-needle " * 1000})

    seen = "\n".join(message.text for call in model.calls for message in call)
    assert "What is in it?" in seen
    assert "9,000" in seen
    assert "a-needle" not in seen


async def test_output_reaches_the_model_with_its_middle_left_out(agent: Build) -> None:
    model = ScriptedModel([repl("print('x' * 50_000 + 'END')"), 'FINAL("done")'])

    await agent(model, budget=Budget(max_output_chars=2_000)).ainvoke({"question": "Print much."})

    observation = model.calls[1][-1].text
    assert len(observation) < 4_000
    assert "END" in observation
    assert "x" * 100 in observation


async def test_an_error_in_the_code_is_told_with_its_line_and_variables_stay(agent: Build) -> None:
    model = ScriptedModel([repl("kept = 41\nbroken = 1 / 0"), repl("FINAL(kept + 1)")])

    result = await agent(model).ainvoke({"question": "Go on."})

    assert "ZeroDivisionError" in model.calls[1][-1].text
    assert "line 2" in model.calls[1][-1].text
    assert result["answer"].value == 42


async def test_code_asks_the_sub_model_one_by_one_and_in_batches(agent: Build) -> None:
    graph = agent(
        [
            repl("one = llm_query('a')\nmany = llm_query_batched(['b', 'c', 'd'])\nprint(one, many)"),
            repl("FINAL([one, *many])"),
        ],
        sub=lambda messages: messages[-1].text.upper(),
    )

    result = await graph.ainvoke({"question": "Shout."})

    assert result["answer"].value == ["A", "B", "C", "D"]
    assert result["usage"].subcalls == 4
    assert result["usage"].turns == 2


async def test_calls_from_threads_get_their_own_answers(agent: Build) -> None:
    code = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(lambda n: llm_query(f"say {n}"), range(24)))
FINAL(answers)
"""
    graph = agent([repl(code)], sub=lambda messages: messages[-1].text.removeprefix("say "))

    result = await graph.ainvoke({"question": "Count."})

    assert result["answer"].value == [str(n) for n in range(24)]


@pytest.mark.parametrize("way", ["memory", "sqlite", "async sqlite"])
async def test_invoke_and_ainvoke_work_with_every_kind_of_saver(agent: Build, tmp_path: Path, way: str) -> None:
    replies = [repl("x = llm_query('a')"), repl("FINAL(x)")]
    given = {"question": "Shout."}
    if way == "async sqlite":
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.sqlite")) as saver:
            graph = agent(replies, sub=["A"], checkpointer=saver)
            result = await graph.ainvoke(given, CONFIG)
            state = await graph.aget_state(CONFIG)
    else:
        connection = sqlite3.connect(tmp_path / "runs.sqlite", check_same_thread=False)
        saver = InMemorySaver() if way == "memory" else SqliteSaver(connection)
        graph = agent(replies, sub=["A"], checkpointer=saver)
        result = graph.invoke(given, CONFIG)
        state = graph.get_state(CONFIG)
        connection.close()

    assert result["answer"].value == "A"
    assert type(state.values["answer"]) is Answer
    assert type(state.values["usage"]) is Usage
    assert state.next == ()


def test_stream_and_astream_show_each_node_and_each_sub_call(agent: Build) -> None:
    graph = agent([repl("llm_query('a')"), 'FINAL("done")'], sub=["A"])

    parts = list(graph.stream({"question": "Go."}, stream_mode="updates", subgraphs=True))

    names = [next(iter(update)) for namespace, update in parts if not namespace]
    nested = [namespace for namespace, _ in parts if namespace]
    assert names == ["observe", "think", "act", "observe", "think", "finalize"]
    assert nested
    assert nested[0][0].startswith("act:")
    assert nested[0][1].startswith("llm_query:")


async def test_tokens_are_streamed_as_they_come(agent: Build) -> None:
    graph = agent(['FINAL("a rather long answer, in several pieces")'])

    parts = [message.text async for message, _ in graph.astream({"question": "Go."}, stream_mode="messages")]

    assert len(parts) > 2
    assert "".join(parts).startswith('FINAL("a rather long')


async def test_the_context_is_in_no_checkpoint(agent: Build, tmp_path: Path) -> None:
    needle = "xyzzy-needle"
    path = tmp_path / "runs.sqlite"
    async with AsyncSqliteSaver.from_conn_string(str(path)) as saver:
        graph = agent([repl("print(len(context))"), 'FINAL("done")'], checkpointer=saver)
        await graph.ainvoke({"question": "How long?", "context": (needle + " ") * 1000}, CONFIG)

    stored = b"".join(file.read_bytes() for file in tmp_path.glob("runs.sqlite*") if file.is_file())
    assert b"How long?" in stored
    assert needle.encode() not in stored


@pytest.mark.parametrize(
    "context",
    ["a text", ["one", "two"], {"a.txt": "one", "b.txt": "two"}, Path(__file__)],
    ids=["text", "list", "dict", "path"],
)
async def test_every_form_of_context_is_what_code_finds(agent: Build, context: Any) -> None:
    graph = agent([repl("FINAL(context)")])

    result = await graph.ainvoke({"question": "Give it back.", "context": context})

    expected = context.read_text() if isinstance(context, Path) else context
    assert result["answer"].value == expected


async def test_a_large_answer_comes_back_whole(agent: Build) -> None:
    graph = agent([repl("FINAL({'text': 'é' * 3_000_000, 'numbers': list(range(1000))})")])

    result = await graph.ainvoke({"question": "Much."})

    assert result["answer"].value["text"] == "é" * 3_000_000
    assert json.loads(result["answer"].text)["numbers"] == list(range(1000))


async def test_a_reply_with_neither_code_nor_answer_is_corrected_a_bounded_number_of_times(agent: Build) -> None:
    model = ScriptedModel(["Hmm."] * 3 + ["My best guess is 7."])

    result = await agent(model).ainvoke({"question": "What?"})

    assert len(model.calls) == 4
    assert not result["answer"].complete
    assert result["answer"].text == "My best guess is 7."


async def test_code_in_a_reply_runs_before_its_final_is_believed(agent: Build) -> None:
    model = ScriptedModel([repl("x = 40 + 2") + '\nFINAL("invented")', repl("FINAL(x)")])

    result = await agent(model).ainvoke({"question": "What?"})

    assert result["answer"].value == 42


@pytest.mark.parametrize(
    ("budget", "ceiling"),
    [
        (Budget(max_turns=2), "max_turns"),
        (Budget(max_tokens=100), "max_tokens"),
    ],
)
async def test_at_a_ceiling_the_run_ends_with_the_best_answer_and_says_which(
    agent: Build, budget: Budget, ceiling: str
) -> None:
    def model(messages: Any) -> str:
        return "About 40, I think." if "final" in messages[-1].text.lower()[:400] and len(messages) > 3 else repl("1")

    result = await agent(ScriptedModel(model), budget=budget).ainvoke({"question": "How many?"})

    assert result["answer"].ceiling == ceiling
    assert not result["answer"].complete
    assert result["answer"].text


async def test_a_ceiling_in_the_middle_of_code_is_an_exception_that_code_can_catch(agent: Build) -> None:
    code = """
done = []
try:
    for n in range(10):
        done.append(llm_query(str(n)))
except BudgetExceeded as error:
    print("stopped:", error)
FINAL(done)
"""
    graph = agent([repl(code)], sub=lambda messages: messages[-1].text, budget=Budget(max_subcalls=3))

    result = await graph.ainvoke({"question": "Count."})

    assert result["answer"].value == ["0", "1", "2"]
    assert result["answer"].complete


async def test_time_that_is_over_ends_a_loop_and_the_run(agent: Build) -> None:
    graph = agent([repl("print('so far: 7')\nwhile True: pass"), "It was 7 so far."], budget=Budget(timeout_s=1.0))

    result = await graph.ainvoke({"question": "Loop."})

    assert result["answer"].ceiling == "timeout_s"
    assert result["answer"].text == "It was 7 so far."


async def test_a_provider_that_fails_for_good_raises_its_words(agent: Build) -> None:
    graph = agent([ModelError("scripted: invalid key", retryable=False)])

    with pytest.raises(ModelError, match="invalid key"):
        await graph.ainvoke({"question": "Go."})


async def test_what_was_found_is_kept_when_the_provider_fails_at_the_end(agent: Build) -> None:
    graph = agent([repl("print('found: 7')"), ModelError("down", retryable=False)], budget=Budget(max_turns=1))

    result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].text == "found: 7"
    assert not result["answer"].complete


async def test_what_was_found_last_is_kept_of_many_turns(agent: Build) -> None:
    found = [repl(f"print('found: {number}')") for number in (1, 2, 3)]
    graph = agent([*found, ModelError("down", retryable=False)], budget=Budget(max_turns=3))

    result = await graph.ainvoke({"question": "Go."})

    assert result["answer"].text == "found: 3"


async def test_the_question_for_the_best_answer_is_one_turn_more(agent: Build) -> None:
    replies = [repl("n = 1"), repl("n = 2"), "About 40."]
    graph = agent(replies, budget=Budget(max_turns=2), checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "a run"}}

    result = await graph.ainvoke({"question": "Go."}, config)

    assert (result["answer"].text, result["usage"].turns) == ("About 40.", 3)
    assert [turn.number for turn in (await graph.aget_state(config)).values["turns"]] == [1, 2]


async def test_a_cost_ceiling_refuses_a_model_of_unknown_price_unless_allowed(agent: Build) -> None:
    with pytest.raises(SetupError, match="price of scripted is unknown"):
        await agent(["x"]).ainvoke({"question": "Go.", "budget": Budget(max_cost_usd=1.0)})

    allowed = Budget(max_cost_usd=1.0, allow_unpriced=True)
    result = await agent(['FINAL("ok")']).ainvoke({"question": "Go.", "budget": allowed})
    assert result["usage"].unpriced_calls == 1


@pytest.mark.parametrize(
    "given", [{}, {"question": ""}, {"question": "  "}, {"messages": []}, {"messages": [("ai", "hi")]}]
)
async def test_a_run_without_a_question_says_so(agent: Build, given: Any) -> None:
    with pytest.raises(InputError, match="question"):
        await agent([]).ainvoke(given)


async def test_an_empty_context_is_refused_before_anything_is_asked(agent: Build) -> None:
    model = ScriptedModel([])

    with pytest.raises(InputError, match="empty"):
        await agent(model).ainvoke({"question": "Go.", "context": ""})
    assert model.calls == []


class Point(BaseModel):
    x: int
    y: int


async def test_an_answer_of_the_wrong_form_goes_back_with_the_validators_words(agent: Build) -> None:
    model = ScriptedModel([repl("FINAL({'x': 1})"), repl("FINAL({'x': 1, 'y': 2})")])

    result = await agent(model, response_format=Point).ainvoke({"question": "Where?"})

    assert result["structured_response"] == Point(x=1, y=2)
    assert "y" in model.calls[1][-1].text
    assert "required" in model.calls[1][-1].text.lower()


async def test_an_answer_that_never_fits_is_returned_as_incomplete(agent: Build) -> None:
    schema = {"type": "object", "required": ["x"]}

    result = await agent(lambda messages: repl("FINAL([1])"), response_format=schema).ainvoke({"question": "Where?"})

    assert result["answer"].value == [1]
    assert not result["answer"].complete
    assert "structured_response" not in result


async def test_a_typed_answer_is_read_back_from_a_checkpoint(agent: Build) -> None:
    saver = InMemorySaver()
    graph = agent([repl("FINAL({'x': 1, 'y': 2})")], response_format=Point, checkpointer=saver)
    await graph.ainvoke({"question": "Where?"}, CONFIG)

    state = await graph.aget_state(CONFIG)

    assert state.values["structured_response"] == Point(x=1, y=2)


def test_a_response_format_that_is_none_is_refused(agent: Build) -> None:
    with pytest.raises(SetupError, match="response_format"):
        agent([], response_format=42)
    with pytest.raises(SetupError, match="no valid JSON schema"):
        agent([], response_format={"type": "nonsense"})


async def test_a_tool_is_a_function_in_the_repl(agent: Build) -> None:
    def population(city: str) -> int:
        """Return how many people live in a city."""
        return {"Bern": 134_000}[city]

    model = ScriptedModel([
        repl("try:\n    population('Atlantis')\nexcept KeyError as error:\n    print('no such city', error)"),
        repl("FINAL(population(city='Bern'))"),
    ])  # fmt: skip

    result = await agent(model, tools=[population]).ainvoke({"question": "How many?"})

    assert result["answer"].value == 134_000
    assert "no such city" in model.calls[1][-1].text
    assert isinstance(model.calls[0][0], SystemMessage)
    assert "population(city: str)" in model.calls[0][0].text


async def test_a_second_question_on_the_thread_finds_variables_and_conversation(agent: Build) -> None:
    model = ScriptedModel([repl("x = 41\nprint(x)"), 'FINAL("ready")', repl("FINAL(x + 1)")])
    graph = agent(model, checkpointer=InMemorySaver())
    await graph.ainvoke({"question": "Prepare."}, CONFIG)

    result = await graph.ainvoke({"question": "And one more?"}, CONFIG)

    assert result["answer"].value == 42
    assert [message.text for message in result["messages"]] == ["Prepare.", "ready", "And one more?", "42"]
    assert result["usage"].turns == 1
    assert any("Prepare." in message.text for message in model.calls[2])


async def test_a_native_tool_call_gets_a_tool_message(agent: Build) -> None:
    call = AIMessage("", tool_calls=[{"name": "python", "args": {"code": "print(6 * 7)"}, "id": "call_1"}])
    model = ScriptedModel([call, 'FINAL("42")'])

    await agent(model).ainvoke({"question": "Multiply."})

    reply = model.calls[1][-1]
    assert reply.type == "tool"
    assert "42" in reply.text


async def test_a_text_is_a_text_alone_inside_a_larger_graph_and_in_a_command(agent: Build, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    graph = agent([repl("FINAL(context)")] * 3, checkpointer=InMemorySaver())
    given = {"question": "Give it back.", "context": secret.as_uri()}

    async def step(state: dict[str, Any], given: Any = given) -> dict[str, Any]:
        result = await graph.ainvoke(given, {"configurable": {"thread_id": str(state)}})
        return {"out": result["answer"].value}

    larger = StateGraph(dict).add_node("step", step).add_edge(START, "step").compile()

    assert (await larger.ainvoke({}))["out"] == secret.as_uri()
    assert (await step({"alone": True}))["out"] == secret.as_uri()
    assert (await step({"command": True}, Command(goto="observe", update=given)))["out"] == secret.as_uri()


async def test_what_an_agent_may_be_asked_to_fetch_is_said_by_who_builds_it(
    contexts: ContextStore, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("from a file")
    given = {"question": "Give it back.", "context": {"path": str(tmp_path / "a.txt")}}
    allowing = ContextStore(contexts.root, ContextSettings(sources=("path",)))
    script = [repl("FINAL(context)")]

    assert (await create_rlm_agent(ScriptedModel(script), options=AgentOptions(contexts=allowing)).ainvoke(given))[
        "answer"
    ].value == ("from a file")
    with pytest.raises(InputError, match="names what this agent does not read"):
        await create_rlm_agent(ScriptedModel(script), options=AgentOptions(contexts=contexts)).ainvoke(given)


async def test_code_cannot_have_an_address_or_a_file_read_by_handing_it_on(
    contexts: ContextStore, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("a secret")
    allowing = ContextStore(contexts.root, ContextSettings(sources=("path", "url")))

    def model(messages: Sequence[BaseMessage]) -> str:
        if any("Give it back." in message.text for message in messages if message.type == "human"):
            return repl("FINAL(context['path'])")
        return repl(f"FINAL(rlm_query('Give it back.', context={{'path': {str(tmp_path / 'secret.txt')!r}}}))")

    result = await create_rlm_agent(ScriptedModel(model), options=AgentOptions(contexts=allowing)).ainvoke(
        {"question": "Go."}
    )

    assert result["answer"].value == str(tmp_path / "secret.txt")


async def test_bytes_that_were_no_text_in_a_question_are_shown_as_such(agent: Build) -> None:
    model = ScriptedModel(["FINAL('fine')"])

    await agent(model, checkpointer=InMemorySaver()).ainvoke({"question": "what is a caf\udce9?"}, CONFIG)

    assert "what is a caf\ufffd?" in model.calls[0][-1].text


async def test_a_turn_tells_what_its_calls_were_and_what_each_spent(agent: Build) -> None:
    code = "llm_query('abcd')\nllm_query_batched(['a', 'b'])"
    graph = agent([repl(code), 'FINAL("done")'], sub=lambda messages: "reply!", checkpointer=InMemorySaver())
    result = await graph.ainvoke({"question": "Go."}, CONFIG)

    [turn] = (await graph.aget_state(CONFIG)).values["turns"]
    assert [(call.cell, call.function, call.requests) for call in turn.calls] == [
        (1, "llm_query", 1),
        (1, "llm_query_batched", 2),
    ]
    assert sum((call.usage for call in turn.calls), Usage()).output_tokens == 6
    assert result["usage"].subcalls == 3


async def test_a_small_model_has_to_look_before_it_answers(agent: Build) -> None:
    model = ScriptedModel(['FINAL("from memory")', repl("print(len(context))"), 'FINAL("from evidence")'])
    graph = agent(model, options=AgentOptions(models=ModelSettings(profile="small")))

    result = await graph.ainvoke({"question": "How long?", "context": "text"})

    assert result["answer"].value == "from evidence"
    assert "at least one" in model.calls[1][-1].text


async def test_a_failure_that_may_pass_is_tried_again_in_one_layer(contexts: ContextStore) -> None:
    def script(request: ScriptedRequest) -> str | ScriptedReply:
        if request.number in (1, 3):
            return ScriptedReply(status=503, error="overloaded")
        return repl("x = llm_query('a')\nFINAL(x)") if request.messages[0]["role"] == "system" else "A"

    with ScriptedServer(script) as server:
        settings = ModelSettings(base_url=server.url, max_retries=1)
        graph = create_rlm_agent("scripted", options=AgentOptions(models=settings, contexts=contexts))
        result = await graph.ainvoke({"question": "Go."})

        assert result["answer"].value == "A"
        assert server.count == 4


class Unclosable(LocalExecutor):
    """Its REPLs cannot be closed while `closes` is false, as when a daemon is down."""

    closes = False

    async def close(self, handle: ReplHandle) -> None:
        if not self.closes:
            raise ExecutorError("the daemon does not answer")
        await super().close(handle)


async def test_an_answer_is_not_lost_because_its_sandbox_cannot_be_closed(agent: Build) -> None:
    executor = Unclosable(LocalSettings())
    graph = agent([repl("x = 5"), 'FINAL("right")'], executor=executor, checkpointer=InMemorySaver())

    result = await graph.ainvoke({"question": "Well?"}, CONFIG)

    assert result["answer"].value == "right"
    handle = (await graph.aget_state(CONFIG)).values["repl"]
    executor.closes = True
    await executor.close(handle)


async def test_a_ceiling_over_the_cap_is_refused_and_a_default_is_lowered_to_it(agent: Build) -> None:
    with pytest.raises(SetupError, match=r"budget.max_turns: 51 is over the cap of 50 .* raise caps.max_turns"):
        agent(['FINAL("x")'], budget=Budget(max_turns=51))
    graph = agent([repl("print(1)")] * 9, options=AgentOptions(caps=Caps(max_turns=1)))
    with pytest.raises(SetupError, match="over the cap of 1"):
        await graph.ainvoke({"question": "More?", "budget": Budget(max_turns=2)})

    result = await graph.ainvoke({"question": "How long?"})

    assert result["answer"].ceiling == "max_turns"


async def test_sub_calls_of_a_session_are_counted_over_its_questions(agent: Build) -> None:
    ask = repl("try:\n    llm_query('p')\n    print('answered')\nexcept BudgetExceeded as error:\n    print(error)")
    root = ScriptedModel([ask, ask, 'FINAL("one")', ask, 'FINAL("two")'])
    graph = agent(
        root,
        sub=lambda messages: "reply",
        budget=Budget(max_subcalls_per_session=2),
        checkpointer=InMemorySaver(),
    )

    await graph.ainvoke({"question": "First?"}, CONFIG)
    await graph.ainvoke({"question": "Second?"}, CONFIG)

    assert "answered" in root.calls[1][-1].text
    assert "answered" in root.calls[2][-1].text
    assert "max_subcalls_per_session reached: spent 2 of 2" in root.calls[4][-1].text


WAV = "b'RIFF' + (36).to_bytes(4, 'little') + b'WAVEfmt '"


async def test_code_hands_images_and_sounds_to_a_model_by_path_or_bytes(agent: Build) -> None:
    seen: list[Any] = []

    def sub(messages: Any) -> str:
        seen.append(messages[-1].content)
        return "heard"

    code = (
        f"open('a.wav', 'wb').write({WAV})\nopen('b.txt', 'w').write('text')\n"
        "print(llm_query('what?', audio=['a.wav'], images=b'\\x89PNG\\r\\n'))\n"
        "for wrong in ('b.txt', b'RIFF'):\n"
        "    try:\n        llm_query('what?', audio=wrong)\n"
        "    except ValueError as error:\n        print(error)\n"
        "llm_query('what?', images=['missing.png'])"
    )
    root = ScriptedModel([repl(code), "FINAL('done')"])
    await agent(root, sub=sub).ainvoke({"question": "Listen."})

    [content] = seen
    assert [block["type"] for block in content] == ["text", "image", "audio"]
    assert content[2]["mime_type"] == "audio/wav"
    told = root.calls[1][-1].text
    assert told.count("audio: bytes of no known format; give WAV, MP3, Ogg or FLAC") == 2
    assert "FileNotFoundError" in told


async def test_a_question_with_media_needs_a_model_that_reads_them(agent: Build) -> None:
    image = {"type": "image", "base64": "AAAA", "mime_type": "image/png"}
    question = {"messages": [HumanMessage([{"type": "text", "text": "What is it?"}, image])]}
    blind = ScriptedModel(['FINAL("x")'], profile={"image_inputs": False})
    seeing = ScriptedModel(['FINAL("a cat")'], profile={"image_inputs": True})

    with pytest.raises(InputError, match="scripted does not read images: ask a model that does"):
        await agent(blind).ainvoke(question)
    result = await agent(seeing).ainvoke(question)

    assert result["answer"].value == "a cat"
    assert image in seeing.calls[0][-1].content


async def test_answers_of_the_wrong_form_are_sent_back_a_bounded_number_of_times(agent: Build) -> None:
    model = ScriptedModel(lambda messages: repl("FINAL([1])"))

    result = await agent(model, response_format=Point).ainvoke({"question": "Where?"})

    assert len(model.calls) == 1 + MAX_CORRECTIONS
    assert result["answer"].value == [1]
    assert (result["answer"].complete, result["answer"].ceiling) == (False, None)


async def test_a_cell_that_runs_at_the_ceiling_of_time_is_interrupted_and_its_output_kept(agent: Build) -> None:
    code = "import time\ntry:\n    time.sleep(3600)\nexcept KeyboardInterrupt:\n    print('interrupted')"

    graph = agent([repl(code), "done"], budget=Budget(timeout_s=2), checkpointer=InMemorySaver())
    result = await graph.ainvoke({"question": "Go."}, CONFIG)

    [turn] = (await graph.aget_state(CONFIG)).values["turns"]
    assert turn.executions[0].stdout == "interrupted\n"
    assert result["answer"].ceiling == "timeout_s"
