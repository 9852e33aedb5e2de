"""What is read back of the calls of an act: the answers, and whose call it is."""

from __future__ import annotations

from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from rlm_graph.calls.record import ACT, AGENTS, CELL, CallKind, Record, Recorder, record, records
from rlm_graph.langgraph_internals import joined
from rlm_graph.state import SubcallReply

ACT_NAME = "act:1"


def place(namespace: str, **described: Any) -> Any:
    return {
        "configurable": {"thread_id": "a run", "checkpoint_ns": namespace, "checkpoint_id": None},
        "metadata": {ACT: ACT_NAME, **described},
    }


async def keep(
    saver: InMemorySaver, name: str, replies: dict[int, SubcallReply], *, count: int = 1, **described: Any
) -> None:
    kind: CallKind = "ask"
    recorder = Recorder(saver, place(joined(ACT_NAME, name), **described), kind=kind, count=count, known={})
    for index, reply in replies.items():
        await recorder.keep(index, reply)


async def kept(saver: InMemorySaver) -> dict[str, Record]:
    return {each.name: each async for each in records(saver, "a run", ACT_NAME)}


async def test_the_answers_of_a_call_are_read_back_with_its_cell_and_whom_it_asked() -> None:
    saver = InMemorySaver()
    replies = {2: SubcallReply(value="c", arrival=5), 0: SubcallReply(value="a", arrival=4, readings={"t": [1]})}
    await keep(saver, "llm_query_batched:x", replies, count=3, **{CELL: 7, AGENTS: "scout,judge"})

    found = Record("llm_query_batched:x", 7, ("scout", "judge"), 3, replies, by_graph=False)

    assert await kept(saver) == {found.name: found}
    assert await record(saver, "a run", ACT_NAME, found.name) == found
    assert (found.call.requests, found.call.answers, found.call.arrival) == (3, 2, 5)
    assert found.readings == {"t": [1]}


async def test_a_call_that_no_cell_made_and_that_asked_no_specialist_has_neither() -> None:
    saver = InMemorySaver()
    await keep(saver, "llm_query:x", {0: SubcallReply(value="a")}, **{CELL: None, AGENTS: ""})

    [found] = (await kept(saver)).values()

    assert (found.cell, found.agents, found.replies) == (None, (), {0: SubcallReply(value="a")})


async def test_what_an_agent_below_records_is_no_call_of_the_act() -> None:
    saver = InMemorySaver()
    await keep(saver, "rlm_query:x", {0: SubcallReply(value="a")})
    await keep(saver, joined("rlm_query:x", "recurse:1", "act:2", "llm_query:y"), {0: SubcallReply(value="b")})
    run_below: Any = {**empty_checkpoint(), "channel_values": {"turns": []}}
    await saver.aput(place(joined(ACT_NAME, "an agent's own run")), run_below, {"source": "loop", "step": 0}, {})

    assert [*await kept(saver)] == ["rlm_query:x"]
    assert await record(saver, "a run", ACT_NAME, "an agent's own run") is None


async def test_of_a_call_that_a_graph_recorded_the_newest_checkpoint_counts() -> None:
    saver = InMemorySaver()
    for step, replies in enumerate(({}, {0: SubcallReply(value="a")})):
        values = {"count": 1, "replies": replies}
        versions: Any = dict.fromkeys(values, saver.get_next_version(str(step) if step else None, None))  # type: ignore[arg-type]
        checkpoint: Any = {**empty_checkpoint(), "channel_values": values, "channel_versions": versions}
        await saver.aput(place(joined(ACT_NAME, "tool:x")), checkpoint, {"source": "loop", "step": step}, versions)

    [found] = (await kept(saver)).values()

    assert (found.replies, found.by_graph) == ({0: SubcallReply(value="a")}, True)


def test_a_call_without_an_answer_yet_comes_after_no_other() -> None:
    call = Record("llm_query_batched:x", 1, (), 2, {}, by_graph=False).call

    assert (call.requests, call.answers, call.arrival) == (2, 0, 0)


async def test_a_call_of_which_nothing_is_recorded_has_no_record() -> None:
    assert await record(InMemorySaver(), "a run", ACT_NAME, "llm_query:x") is None
    assert await kept(InMemorySaver()) == {}
