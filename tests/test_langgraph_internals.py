"""What the engine assumes of LangGraph's insides holds for the LangGraph that is installed.

Each test is one assumption. One that fails after an update says what LangGraph does otherwise now; what has to follow
is in `rlm_graph/langgraph_internals.py` alone.
"""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langchain_core.language_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt
from pydantic import BaseModel

from rlm_graph.langgraph_internals import (
    allowing,
    as_class,
    checkpoint_config,
    checkpointer_for,
    checkpointer_of,
    child_config,
    connection_of,
    durability_of,
    is_shallow,
    joined,
    kind_of_saver,
    loop_of,
    make_later_than,
    may_be_repeated,
    name_below,
    names_interrupts,
    namespace_of,
    namespace_of_message,
    namespace_parts,
    node_of,
    open_connection,
    reporting,
    step_namespace,
    strict_serializer,
)

ROOT = Path(__file__).resolve().parents[1]
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    seen: list[Any]


class Stored(BaseModel):
    """Something that a checkpoint holds."""

    text: str


class StoredState(TypedDict, total=False):
    stored: Stored
    seen: list[Any]


def graph_of(step: Callable[[Any], Any], *, saver: Any = None, schema: Any = State, name: str = "step") -> Any:
    """A graph of one step."""
    return StateGraph(schema).add_node(name, step).add_edge(START, name).compile(checkpointer=saver)


def namespaces(saver: InMemorySaver) -> set[str]:
    """Where checkpoints of the thread are recorded."""
    return {namespace_of(kept.config) for kept in saver.list(CONFIG)}


# --- Configs -------------------------------------------------------------------------------------------------------


def test_a_step_finds_the_saver_of_its_graph_and_a_graph_below_it_the_same_one() -> None:
    saver, seen = InMemorySaver(), []
    below = graph_of(lambda state: {}, name="deep")

    def step(state: Any) -> State:
        seen.extend([checkpointer_of(get_config()), checkpointer_for(below, get_config())])
        return {}

    graph_of(step, saver=saver).invoke({}, CONFIG)
    graph_of(step).invoke({}, CONFIG)

    assert [getattr(found, "storage", None) for found in seen[:2]] == [saver.storage] * 2, (
        "LangGraph no longer hands the saver of a graph to its steps, or a nested graph does not take its parent's"
    )
    assert seen[2:] == [None, None], "LangGraph names a saver where a graph has none"


def test_a_graph_that_is_not_nested_uses_its_own_saver() -> None:
    saver = InMemorySaver()

    found = checkpointer_for(graph_of(lambda state: {}, saver=saver), CONFIG)

    assert isinstance(found, InMemorySaver), "a graph no longer says which saver it will use"
    assert found.storage is saver.storage


def test_children_of_one_step_are_recorded_under_exactly_the_names_they_are_given() -> None:
    saver = InMemorySaver()
    child = graph_of(lambda state: {"seen": [1]}, name="inner")

    def step(state: Any) -> State:
        config = get_config()
        for name in ("b:2", "a:1", "c:3"):
            child.invoke({}, child_config(config, joined(namespace_of(config), name)))
        return {}

    graph_of(step, saver=saver).invoke({}, CONFIG)

    below = {namespace_parts(name)[-1] for name in namespaces(saver) if name}
    assert below == {"a:1", "b:2", "c:3"}, (
        "LangGraph names the checkpoints of a step's children otherwise than by `checkpoint_ns` of their config, "
        "or its scratchpad counts them in another way than by `subgraph_counter`"
    )


def test_a_number_of_its_own_would_be_in_the_name_of_the_second_child() -> None:
    saver = InMemorySaver()
    child = graph_of(lambda state: {"seen": [1]}, name="inner")

    def step(state: Any) -> State:
        child.invoke({})
        child.invoke({})
        return {}

    graph_of(step, saver=saver).invoke({}, CONFIG)

    levels = sorted(len(namespace_parts(name)) for name in namespaces(saver) if name)
    assert levels == [1, 2], "LangGraph no longer numbers the children of a step: `child_config` may do less"


def test_a_child_that_was_cut_off_goes_on_from_its_record_and_a_new_one_starts() -> None:
    ran: list[str] = []

    def first(state: Any) -> State:
        ran.append("first")
        return {"seen": [1]}

    def second(state: Any) -> State:
        ran.append("second")
        if ran.count("second") == 1:
            raise RuntimeError("cut off")
        return {"seen": [*state["seen"], 2]}

    child = StateGraph(State).add_sequence([("first", first), ("second", second)]).add_edge(START, "first").compile()

    def step(state: Any) -> State:
        config = get_config()
        result: Any = child.invoke({}, child_config(config, joined(namespace_of(config), "named:1")))
        return {"seen": result["seen"]}

    graph = graph_of(step, saver=InMemorySaver())
    with pytest.raises(RuntimeError, match="cut off"):
        graph.invoke({}, CONFIG)
    result = graph.invoke(None, CONFIG)

    assert result["seen"] == [1, 2]
    assert ran == ["first", "second", "second"], "a child no longer goes on from its own record"


def test_a_later_step_that_asks_a_finished_child_again_is_answered_from_its_record() -> None:
    ran: list[str] = []

    def inner(state: Any) -> State:
        ran.append("inner")
        return {"seen": [len(ran)]}

    child, name = graph_of(inner, name="inner"), "act:1|named:1"

    def step(state: Any) -> State:
        result: Any = child.invoke({}, child_config(get_config(), name))
        return {"seen": [*state.get("seen", []), *result["seen"]]}

    steps = StateGraph(State).add_sequence([("one", step), ("two", step)]).add_edge(START, "one")
    result = steps.compile(checkpointer=InMemorySaver()).invoke({}, CONFIG)

    assert result["seen"] == [1, 1], "`resuming` no longer makes a child that has a record go on from it"


def test_what_is_put_into_the_config_of_a_child_reaches_its_steps_and_the_graphs_below_them() -> None:
    seen: list[Any] = []
    deep = graph_of(lambda state: seen.append(get_config()["configurable"].get("mark")) or {}, name="deep")
    child = graph_of(lambda state: deep.invoke({}), name="inner")

    def step(state: Any) -> State:
        config = child_config(get_config(), "named:1")
        config["configurable"]["mark"] = True
        child.invoke({}, config)
        return {}

    graph_of(step, saver=InMemorySaver()).invoke({}, CONFIG)

    assert seen == [True], "LangGraph no longer hands keys of a config on to what runs below"


# --- Namespaces ----------------------------------------------------------------------------------------------------


def test_a_step_that_may_have_begun_before_is_told_so_and_no_other_is() -> None:
    told: list[tuple[str, bool]] = []
    failing = {"second"}

    def step(name: str) -> Callable[[State], State]:
        def run(state: State) -> State:
            told.append((name, may_be_repeated(get_config())))
            if name in failing:
                failing.remove(name)
                raise LookupError(name)
            return {}

        return run

    builder = StateGraph(State)
    names = ("first", "second", "third")
    for name in names:
        builder.add_node(name, step(name))
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    graph = builder.compile(checkpointer=InMemorySaver())

    with pytest.raises(LookupError):
        graph.invoke({"seen": []}, CONFIG)
    graph.invoke(None, CONFIG)
    graph.invoke({"seen": []}, CONFIG)

    assert told == [
        ("first", False), ("second", False),
        ("second", True), ("third", False),
        ("first", False), ("second", False), ("third", False),
    ]  # fmt: skip


def test_a_namespace_is_the_path_of_nodes_each_with_the_id_of_its_task() -> None:
    seen: list[str] = []
    deep = graph_of(lambda state: seen.append(namespace_of(get_config())) or {}, name="deep")

    def step(state: Any) -> State:
        seen.append(namespace_of(get_config()))
        deep.invoke({})
        return {}

    graph_of(step, saver=InMemorySaver()).invoke({}, CONFIG)

    outer, inner = seen
    changed = "LangGraph writes the levels of a namespace in another form"
    assert [node_of(part) for part in namespace_parts(inner)] == ["step", "deep"], changed
    assert joined(outer, namespace_parts(inner)[1]) == inner, changed
    assert name_below(outer, inner) == namespace_parts(inner)[1], changed


def test_the_namespace_of_a_step_that_is_due_is_known_from_its_task() -> None:
    seen: list[str] = []

    def fails(state: Any) -> State:
        seen.append(namespace_of(get_config()))
        raise RuntimeError

    graph = graph_of(fails, saver=InMemorySaver(), name="act")
    with pytest.raises(RuntimeError):
        graph.invoke({}, CONFIG)

    [task] = graph.get_state(CONFIG).tasks
    assert step_namespace("", task.name, task.id) == seen[0], "the namespace of a step is no longer its node and task"


def test_the_tokens_of_a_step_name_its_namespace() -> None:
    seen: list[str] = []
    model = FakeListChatModel(responses=["hello"])

    def step(state: Any) -> State:
        seen.append(namespace_of(get_config()))
        model.invoke("?")
        return {}

    parts = list(graph_of(step).stream({}, CONFIG, stream_mode="messages"))

    named = {namespace_of_message(metadata) for _, metadata in parts}
    assert named == set(seen), "the stream mode `messages` no longer names the namespace of the step that wrote"


def test_a_checkpoint_is_found_by_its_thread_namespace_and_id() -> None:
    saver = InMemorySaver()
    graph_of(lambda state: {"seen": [1]}, saver=saver).invoke({}, CONFIG)

    kept = list(saver.list(CONFIG))
    last = saver.get_tuple(checkpoint_config("t"))
    first = saver.get_tuple(checkpoint_config("t", checkpoint=kept[-1].checkpoint["id"]))

    assert len(kept) > 1
    assert last is not None
    assert first is not None
    assert [last.checkpoint["id"], first.checkpoint["id"]] == [kept[0].checkpoint["id"], kept[-1].checkpoint["id"]]


def test_checkpoints_are_made_later_than_one_that_a_clock_ahead_of_this_one_dated() -> None:
    from langgraph.checkpoint.base import id as ids

    hours = 5 * 3600 * 10_000_000  # in steps of 100 ns
    now = ids.uuid6()
    before = ids._last_v6_timestamp
    try:
        ids._last_v6_timestamp = now.time + hours  # type: ignore[assignment]  # as LangGraph itself does
        ahead = str(ids.uuid6(clock_seq=1))
        ids._last_v6_timestamp = None
        assert str(ids.uuid6(clock_seq=1)) < ahead, "LangGraph no longer dates its ids: `make_later_than` may go"

        make_later_than(ahead)

        later = [str(ids.uuid6(clock_seq=1)) for _ in range(3)]
        assert sorted([ahead, *later]) == [ahead, *later], "LangGraph no longer reads `_last_v6_timestamp`"
        make_later_than(str(now))  # an earlier one changes nothing
        make_later_than("an id of another kind")
        assert str(ids.uuid6(clock_seq=1)) > later[-1]
    finally:
        ids._last_v6_timestamp = before


def test_the_end_is_called_what_the_routers_call_it() -> None:
    assert END == "__end__", "nodes/routing.py has the old name of LangGraph's end in its `Literal`"


# --- What is read back ---------------------------------------------------------------------------------------------


def test_a_strict_serializer_reads_its_types_and_returns_all_others_as_plain_values() -> None:
    written = strict_serializer([Stored]).dumps_typed([Stored(text="a")])

    assert strict_serializer([Stored]).loads_typed(written) == [Stored(text="a")]
    assert strict_serializer([]).loads_typed(written) == [{"text": "a"}], (
        "LangGraph treats a type that is not allowed otherwise than by returning its fields"
    )


def test_a_saver_can_be_allowed_more_types_and_stays_as_it_is() -> None:
    saver = InMemorySaver(serde=strict_serializer([Stored]))
    graph_of(lambda state: {"stored": Stored(text="a")}, saver=saver, schema=StoredState).invoke({}, CONFIG)
    saver.serde = strict_serializer([])

    def read(saver: Any) -> Any:
        return saver.get_tuple(checkpoint_config("t")).checkpoint["channel_values"]["stored"]

    assert read(allowing(saver, [Stored])) == Stored(text="a"), "a saver can no longer be allowed more types"
    assert read(saver) == {"text": "a"}, "a saver that is allowed more types is no longer a copy"


def test_a_strict_graph_allows_its_saver_the_types_of_its_state() -> None:
    saver = InMemorySaver(serde=strict_serializer([]))
    graph = graph_of(lambda state: {"stored": Stored(text="a")}, saver=saver, schema=StoredState)

    graph.invoke({}, CONFIG)

    assert graph.get_state(CONFIG).values["stored"] == Stored(text="a"), (
        "LangGraph no longer allows a saver the types that it finds in the schema of the state"
    )


@pytest.mark.parametrize(
    ("program", "strict"),
    [
        ("read_strictly(); from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer; tell()", True),
        ("from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer; read_strictly(); tell()", False),
        # The command leaves with the process.
        ("atexit.register(lambda: (import_module('rlm_graph.runs.job'), tell())); main_with('--version')", True),
    ],
    ids=["before LangGraph is imported", "after that it does nothing", "the command line does it in time"],
)
def test_a_process_reads_strictly_if_it_says_so_before_it_imports_langgraph(program: str, strict: bool) -> None:
    opening = """
import atexit, sys
from importlib import import_module
from rlm_graph.langgraph_internals import read_strictly
assert not [name for name in sys.modules if name.startswith("langgraph")]
def main_with(*arguments):
    sys.argv = ["rlm-graph", *arguments]
    import_module("rlm_graph.cli").main()
def tell():
    from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED as it
    print(it)
"""

    ran = subprocess.run([sys.executable, "-c", opening + program], capture_output=True, text=True, env={})

    assert ran.stderr == ""
    assert ran.stdout.splitlines()[-1] == str(strict), "LangGraph looks at LANGGRAPH_STRICT_MSGPACK at another moment"


# --- Graphs and savers ---------------------------------------------------------------------------------------------


class OwnGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A graph of another class than `compile` names."""

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        yield from super().stream({"seen": ["mine"]}, config, **kwargs)


def test_a_compiled_graph_of_another_class_runs_as_that_class_says_copies_included() -> None:
    graph = as_class(graph_of(lambda state: {"seen": [*state["seen"], "step"]}), OwnGraph)
    copied = graph.with_config({"tags": ["x"]})

    assert [graph.invoke({}), copied.invoke({})] == [{"seen": ["mine", "step"]}] * 2, (
        "`invoke` of a compiled graph no longer goes through `stream`, or a copy is of another class"
    )
    assert type(copied) is OwnGraph


def test_a_copy_of_a_graph_has_what_langgraph_knows_of_and_nothing_that_was_added() -> None:
    graph = as_class(graph_of(lambda state: {}), OwnGraph)
    graph.mine = 1  # type: ignore[attr-defined]

    assert not hasattr(graph.copy(), "mine"), "`RLMGraph.copy` need no longer carry its own attribute over"


class DerivedSaver(SqliteSaver):
    """A saver of a user's own."""


def test_a_saver_for_sqlite_is_known_by_its_module_and_shows_its_connection(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as connection:
        for saver in (SqliteSaver(connection), DerivedSaver(connection)):
            assert kind_of_saver(saver) == "sqlite", "LangGraph's saver for SQLite has moved to another module"
            assert connection_of(saver) is connection, "LangGraph's saver for SQLite keeps its connection elsewhere"
            assert loop_of(saver) is None


async def test_an_asynchronous_saver_for_sqlite_is_bound_to_a_loop_and_opens_when_it_is_used(tmp_path: Path) -> None:
    import asyncio

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "a.sqlite")) as saver:
        connection = await open_connection(saver)

        assert kind_of_saver(saver) == "sqlite"
        assert loop_of(saver) is asyncio.get_running_loop(), "LangGraph's saver no longer says to which loop it belongs"
        async with connection.execute("PRAGMA database_list") as cursor:
            assert [row[2] for row in await cursor.fetchall()] == [str(tmp_path / "a.sqlite")]


async def test_a_saver_for_postgresql_is_known_by_its_module_and_shows_its_connection(postgres: str) -> None:
    from langgraph.checkpoint.postgres import PostgresSaver
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

    with PostgresSaver.from_conn_string(postgres) as saver:
        assert kind_of_saver(saver) == "postgres", "LangGraph's saver for PostgreSQL has moved to another module"
        assert connection_of(saver).info.dbname, "LangGraph's saver for PostgreSQL keeps its connection elsewhere"
    async with AsyncPostgresSaver.from_conn_string(postgres) as asynchronous:
        assert kind_of_saver(asynchronous) == "postgres"
        assert connection_of(asynchronous).info.dbname


def test_a_saver_in_memory_is_of_no_kind_that_others_can_reach() -> None:
    assert kind_of_saver(InMemorySaver()) == "other"


# --- The tree ------------------------------------------------------------------------------------------------------

# A saver of ours has the method `with_allowlist`, as all savers do, and hands the call on.
INSIDES = re.compile(
    r"""__pregel | checkpoint_ns | checkpoint_map | langgraph_(?:checkpoint_ns|node|step|path|triggers)
    | STRICT_MSGPACK | (?<!def\ )(?<!self\._saver\.)with_allowlist
    | with_msgpack_allowlist | allowed_msgpack_modules | _serde_allowlist
    | _resolve_checkpointer | subgraph_counter | scratchpad\b.*\breplace | __start__ | \.__class__\s*=
    | \bsaver\.(?:conn|loop)\b | langgraph\.(?:_internal|pregel) | namespace\.\w*(?:split|partition)\("[|:]"
    """,
    re.VERBOSE,
)


def test_no_other_module_names_the_insides() -> None:
    named = [
        f"{path.relative_to(ROOT)}:{number}: {found[0]}"
        for folder in ("rlm_graph", "graphs", "nodes")
        for path in sorted((ROOT / folder).rglob("*.py"))
        # A saver keeps rows of LangGraph's tables: `tests/storage` holds each to LangGraph's own.
        if path.name not in ("langgraph_internals.py", "sqlite_saver.py", "postgres_saver.py", "postgres_history.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if (found := INSIDES.search(line))
    ]

    assert named == [], "these belong into rlm_graph/langgraph_internals.py"


def test_the_module_that_may_names_them() -> None:
    own = (ROOT / "rlm_graph" / "langgraph_internals.py").read_text("utf-8")

    assert len(set(INSIDES.findall(own))) > 8


@pytest.mark.parametrize("durability", ["exit", "sync"])
def test_a_step_is_told_the_durability_of_its_graph(durability: Any) -> None:
    seen: list[Any] = []

    def look(state: State) -> State:
        seen.append(durability_of(get_config()))
        return {}

    graph = StateGraph(State).add_node("look", look).add_edge(START, "look").compile(checkpointer=InMemorySaver())
    graph.invoke({}, CONFIG, durability=durability)

    assert seen == [durability]
    assert durability_of({"configurable": {}}) is None


def test_answers_by_the_ids_of_interrupts_are_told_from_plain_ones() -> None:
    def ask(state: State) -> State:
        return {"seen": [interrupt("?")]}

    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask").compile(checkpointer=InMemorySaver())
    [waits] = graph.invoke({}, CONFIG)["__interrupt__"]

    assert names_interrupts({waits.id: True})
    assert not any(map(names_interrupts, (True, "approve", {"reject": "no"}, {waits.id: True, "reject": "no"})))


def test_shallow_savers_are_called_so() -> None:
    from langgraph.checkpoint.postgres.shallow import AsyncShallowPostgresSaver, ShallowPostgresSaver

    for kind in (AsyncShallowPostgresSaver, ShallowPostgresSaver):
        assert is_shallow(kind.__new__(kind))
    assert not is_shallow(InMemorySaver())


async def test_what_tasks_have_written_is_reported_once_it_is_recorded() -> None:
    saver = InMemorySaver()
    told: list[Any] = []

    def written(namespace: str, writes: Any) -> None:
        recorded = [value for kept in saver.list(CONFIG) for _, channel, value in kept.pending_writes or ()]
        told.extend((namespace, value in recorded) for channel, value in writes if channel == "seen")

    graph = StateGraph(State).add_node("one", lambda _: {"seen": [1]}).add_edge(START, "one")
    reports = allowing(reporting(saver, written), [Stored])
    await graph.compile(checkpointer=reports).ainvoke({}, CONFIG, durability="sync")

    assert told == [("", True)]
