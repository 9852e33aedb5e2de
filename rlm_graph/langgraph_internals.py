"""What this engine knows of LangGraph's insides: here, and nowhere else.

LangGraph promises none of it: keys that it puts into a config for its own use, how it names checkpoints, what its
savers are made of. `tests/test_langgraph_internals.py` holds each assumption against the LangGraph that is installed.

Nothing of LangGraph is imported with this module, for `read_strictly` works only before that.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import os
import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast

if TYPE_CHECKING:
    import asyncio

    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.types import StateSnapshot

    Saver = BaseCheckpointSaver[Any]

GraphT = TypeVar("GraphT", bound="CompiledStateGraph[Any, Any, Any, Any]")

_CHECKPOINTER = "__pregel_checkpointer"
_RESUMING = "__pregel_resuming"
_REPLAY_STATE = "__pregel_replay_state"
_SCRATCHPAD = "__pregel_scratchpad"
_DURABILITY = "__pregel_durability"
_NAMESPACE = "checkpoint_ns"
_METADATA_NAMESPACE = "langgraph_checkpoint_ns"
_LATEST = "_last_v6_timestamp"
_INTERRUPT = re.compile("[0-9a-f]{32}")
_ERROR = "__error__"
_ERROR_SOURCE = "__error_source_node__"
_WAY_ON = "branch:to:"
_WHOLE = "_rlm_graph_whole_steps_of"
_LEVEL = "|"
_TASK_MARK = ":"


# --- Configs -------------------------------------------------------------------------------------------------------


def checkpointer_of(config: RunnableConfig) -> Saver | None:
    """Return the saver of the graph that runs the step which got this config; None if that graph records nothing."""
    saver: Saver | None = config["configurable"].get(_CHECKPOINTER)
    return saver


def step_of(config: RunnableConfig) -> object | None:
    """Return what all graphs have in common that a step of a larger graph runs, in one attempt; None outside of one."""
    step: object | None = config.get("configurable", {}).get(_SCRATCHPAD)
    return step


def checkpointer_for(graph: CompiledStateGraph[Any, Any, Any, Any], config: RunnableConfig) -> Saver | None:
    """Return the saver that the graph will use under this config: its own, or its parent's where it is nested."""
    return graph._resolve_checkpointer(config)


def durability_of(config: RunnableConfig | None) -> str | None:
    """Return the durability with which the graph runs whose step got this config; None if it was told none."""
    configurable = (config or {}).get("configurable", {})
    return configurable.get(_DURABILITY) if _CHECKPOINTER in configurable else None


def names_interrupts(resume: Any) -> bool:
    """Whether a value that a run is resumed with is a dict of answers by the ids of interrupts."""
    return isinstance(resume, dict) and all(isinstance(key, str) and _INTERRUPT.fullmatch(key) for key in resume)


UNRECORDED: Final = "unrecorded"
"""In place of a saver, for a child graph that records nothing."""


def child_config(
    config: RunnableConfig,
    namespace: str,
    *,
    saver: Saver | Literal["unrecorded"] | None = None,
    goes_on: bool = True,
) -> RunnableConfig:
    """Return the config under which a child graph of this step runs, and records itself, as exactly `namespace`.

    It records by `saver`, if one is given, else by that of its parent. With `goes_on` it goes on from its record;
    else it starts with what it is given, over what is recorded there.

    The scratchpad counts the subgraphs that a task has invoked, and LangGraph appends that number to the namespace of
    all but the first; a counter of its own makes every child the first. `resuming` makes a child that has a record go
    on from it instead of starting over, and does nothing to one that has none. A limit on tasks at once is not handed
    on: LangGraph has what a task wrote wait for a free place among the tasks. Nor is it that the run goes back to an
    earlier step: LangGraph would then start each child over, and an act of another branch has a namespace of its own.
    """
    configurable = dict(config["configurable"])
    if saver == UNRECORDED:
        configurable[_CHECKPOINTER] = None
        # With `sync`, LangGraph awaits a checkpoint at each step also of a graph that makes none.
        configurable[_DURABILITY] = "async"
    elif saver is not None:
        configurable[_CHECKPOINTER] = saver
    scratchpad = configurable[_SCRATCHPAD]
    configurable[_NAMESPACE] = namespace
    configurable[_RESUMING] = goes_on
    configurable[_REPLAY_STATE] = None
    configurable[_SCRATCHPAD] = dataclasses.replace(scratchpad, subgraph_counter=itertools.count().__next__)
    child: RunnableConfig = {**config, "configurable": configurable}
    child.pop("max_concurrency", None)
    return child


def record_config(config: RunnableConfig, namespace: str) -> RunnableConfig:
    """Return the config under which a saver keeps the first checkpoint of `namespace`, in the thread of this step.

    What the user has put into the config is there for his saver; LangGraph's own is of another graph.
    """
    own = {key: value for key, value in config["configurable"].items() if not key.startswith("__")}
    return {"configurable": {**own, _NAMESPACE: namespace, "checkpoint_id": None}}


def part_config(config: RunnableConfig, index: int) -> RunnableConfig:
    """Return the config of one of the things that a step does side by side, under a namespace of its own."""
    namespace = f"{namespace_of(config)}.{index}"
    configurable = {**config["configurable"], _NAMESPACE: namespace}
    metadata = {**config.get("metadata", {}), _METADATA_NAMESPACE: namespace}
    return {**config, "configurable": configurable, "metadata": metadata}


def may_be_repeated(config: RunnableConfig) -> bool:
    """Whether the step that got this config may have begun before: in a process that ended, or in another attempt.

    LangGraph marks the first step of a graph that goes on from its record, and every further attempt.
    """
    return bool(config.get("configurable", {}).get(_RESUMING))


# --- The order of checkpoints --------------------------------------------------------------------------------------


def make_later_than(checkpoint: str) -> None:
    """Have every checkpoint that this process makes from now on come after that one, whatever the clock says.

    LangGraph takes the checkpoint with the largest id for the newest, and ids begin with the time (UUIDv6). Where the
    clock is behind that of the process which went before, the newest would be the last one of that process for ever.
    LangGraph lets the ids of one process only grow: here that holds for those of all processes of a run.
    """
    from langgraph.checkpoint.base import id as ids

    try:
        number = uuid.UUID(checkpoint)
    except ValueError:  # of a saver with ids of its own, which knows its order
        return
    if number.version == 6:
        made = (number.int >> 80 << 12) | (number.int >> 64 & 0x0FFF)
        latest: int | None = getattr(ids, _LATEST)
        setattr(ids, _LATEST, made if latest is None else max(latest, made))


# --- Namespaces ----------------------------------------------------------------------------------------------------
#
# A checkpoint's namespace is its path in the tree of graphs: `act:<task>|llm_query:<digest>|call:<task>`. LangGraph
# writes each level as the node's name and the task's id; the levels that are calls are named by this engine.


def namespace_of(config: RunnableConfig) -> str:
    """Return the namespace of the step, or of the checkpoint, whose config this is; empty for a run's own."""
    return str(config.get("configurable", {}).get(_NAMESPACE, ""))


def namespace_of_message(metadata: Mapping[str, Any]) -> str:
    """Return the namespace of the step that wrote a message, from the metadata of the stream mode `messages`."""
    return str(metadata.get(_METADATA_NAMESPACE, ""))


def checkpoint_config(thread: str, namespace: str = "", checkpoint: str | None = None) -> RunnableConfig:
    """Return the config that names a checkpoint: by default the last one of the thread's own."""
    configurable = {"thread_id": thread, _NAMESPACE: namespace}
    return {"configurable": configurable if checkpoint is None else {**configurable, "checkpoint_id": checkpoint}}


def namespace_parts(namespace: str) -> list[str]:
    """Return the levels of a namespace, the outermost first."""
    return namespace.split(_LEVEL)


def joined(*parts: str) -> str:
    """Return the namespace that has these levels; empty ones are left out."""
    return _LEVEL.join(filter(None, parts))


def name_below(namespace: str, name: str) -> str:
    """Return the name, below `namespace`, of what is recorded as `name`."""
    return name.removeprefix(f"{namespace}{_LEVEL}")


def node_of(part: str) -> str:
    """Return the name of the node, or of the call, that a level of a namespace stands for."""
    return part.partition(_TASK_MARK)[0]


def task_of(namespace: str) -> str:
    """Return the id of the task whose step has this namespace."""
    return namespace_parts(namespace)[-1].partition(_TASK_MARK)[2]


def step_namespace(graph: str, node: str, task: str) -> str:
    """Return the namespace of a step: a node of the graph whose namespace is `graph`, in the task of that id."""
    return joined(graph, f"{node}{_TASK_MARK}{task}")


# --- What is read back ---------------------------------------------------------------------------------------------


def read_strictly() -> None:
    """Have all that LangGraph reads in this process be of types that are allowed, unless the user has said otherwise.

    A graph then allows its saver the types of its state. LangGraph looks at the variable when it is imported, and
    `rlm_graph.state` imports it: a program calls this first.
    """
    os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")


def strict_serializer(types: Iterable[type]) -> JsonPlusSerializer:
    """Return a serializer that reads back these types, what LangGraph itself stores, and nothing else.

    It returns anything else as a plain dict, without an error.
    """
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    return JsonPlusSerializer(allowed_msgpack_modules=types)


def allowing(saver: Saver, types: Iterable[type]) -> Saver:
    """Return the saver, which reads back these types too. As a graph's own saver does, it shares the connection."""
    return saver.with_allowlist({(kind.__module__, kind.__name__) for kind in types})


def reporting(saver: Saver, written: Callable[[str, Sequence[tuple[str, Any]]], None]) -> Saver:
    """Return the saver, which calls `written` with the namespace and the writes of each task once they are recorded.

    LangGraph records what a task has written while others run, and tells nobody when it is done. It shares the
    connection, and is for use on an event loop.
    """
    reports = copy.copy(saver)

    async def aput_writes(
        config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        try:
            await saver.aput_writes(config, writes, task_id, task_path)
        finally:
            written(namespace_of(config), writes)

    def with_allowlist(extra_allowlist: Collection[tuple[str, ...]]) -> Saver:
        return reporting(saver.with_allowlist(extra_allowlist), written)

    # Of this one alone: its class is the user's.
    vars(reports).update(aput_writes=aput_writes, with_allowlist=with_allowlist)
    return reports


def stay_quiet_about(types: Iterable[Any]) -> None:
    """Have LangGraph read these types back without a warning that they are unregistered; also those of their fields.

    A saver that reads strictly is given a list of them by the graph. One that reads everything, as a saver does that
    was made without a word about it, warns once of each type that is not its own.
    """
    from langgraph._internal._serde import collect_allowlist_from_schemas
    from langgraph.checkpoint.serde import jsonplus

    warned = getattr(jsonplus, "_warned_unregistered_types", None)
    if isinstance(warned, set):
        named = [kind for kind in types if isinstance(kind, type)]  # a union is nothing that is stored
        warned.update((kind.__module__, kind.__name__) for kind in named)
        warned.update(collect_allowlist_from_schemas(schemas=named))


def keeping_whole_steps(kind: type[GraphT], *, last_channels: frozenset[str]) -> None:
    """Have the savers of all graphs of this class keep no half of a nested graph's step.

    A step writes what its node has returned, and then which way it goes on. Where it was cancelled in between,
    LangGraph saves the first without the second, and takes that for all of it when the run goes on: the graph would end
    there. A run's own graph is mended when it goes on, see `cut_off`; those below it go on by themselves.
    `last_channels` are what the last step of a graph writes, which goes on nowhere.
    """
    resolve = kind._resolve_checkpointer

    def resolved(graph: GraphT, config: RunnableConfig) -> Saver | None:
        saver = resolve(graph, config)
        return _keeping_whole_steps(saver, last_channels) if saver is not None and hasattr(saver, "aput") else saver

    cast(Any, kind)._resolve_checkpointer = resolved


def cut_off(snapshot: StateSnapshot) -> tuple[str, Mapping[str, Any]] | None:
    """Return the node that was cancelled between its result and the choice of what comes next, and that result.

    LangGraph has recorded what such a node wrote as all of it, and finds nothing to go on with: write the result once
    more, as that node.
    """
    if snapshot.next:
        return None
    cut = ((task.name, task.result) for task in snapshot.tasks if task.error is not None and task.result)
    return next(cut, None)


def _keeping_whole_steps(saver: Saver, last_channels: frozenset[str]) -> Saver:
    """Return a copy of the saver, of its class and with all that it has, which saves a step whole or not at all."""
    if _WHOLE in vars(saver):
        return saver
    from langgraph.checkpoint.base import WRITES_IDX_MAP

    def whole(config: RunnableConfig, writes: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
        if not namespace_of(config) or all(channel != _ERROR for channel, _ in writes):
            return writes
        if any(
            channel.startswith(_WAY_ON) or (channel in last_channels and value is not None) for channel, value in writes
        ):
            return writes
        return [write for write in writes if write[0] in WRITES_IDX_MAP or write[0] == _ERROR_SOURCE]

    def put_writes(config: RunnableConfig, writes: Sequence[tuple[str, Any]], *rest: Any, **more: Any) -> None:
        saver.put_writes(config, whole(config, writes), *rest, **more)

    async def aput_writes(config: RunnableConfig, writes: Sequence[tuple[str, Any]], *rest: Any, **more: Any) -> None:
        await saver.aput_writes(config, whole(config, writes), *rest, **more)

    shared = copy.copy(saver)
    vars(shared).update({_WHOLE: saver, "put_writes": put_writes, "aput_writes": aput_writes})
    return shared


# --- Graphs and savers ---------------------------------------------------------------------------------------------


def as_class(compiled: CompiledStateGraph[Any, Any, Any, Any], kind: type[GraphT]) -> GraphT:
    """Make a graph that `StateGraph.compile` returned one of `kind`: `compile` names the class of its graphs itself."""
    cast(Any, compiled).__class__ = kind
    return cast(GraphT, compiled)


def kind_of_saver(saver: Saver) -> Literal["sqlite", "postgres", "other"]:
    """Tell where a saver records, by the module of its class or of one that it is derived from."""
    modules = [base.__module__ for base in type(saver).__mro__]
    if any(module.startswith("langgraph.checkpoint.sqlite") for module in modules):
        return "sqlite"
    return "postgres" if any(module.startswith("langgraph.checkpoint.postgres") for module in modules) else "other"


def is_shallow(saver: Saver) -> bool:
    """Whether a saver keeps nothing but the last checkpoint, by the name of its class, as LangGraph's call theirs."""
    return any("Shallow" in base.__name__ for base in type(saver).__mro__)


def is_of_this_machine(saver: Saver) -> bool:
    """Tell whether what a saver records is read on this machine alone: in a file of SQLite's, or in memory."""
    inner = getattr(saver, "_saver", saver)  # of our own `ThreadedSaver`
    modules = [base.__module__ for base in type(inner).__mro__]
    return any(module.startswith(("langgraph.checkpoint.sqlite", "langgraph.checkpoint.memory")) for module in modules)


def loop_of(saver: Saver) -> asyncio.AbstractEventLoop | None:
    """Return the event loop that a saver is bound to, on which alone its connection may be used; None if on none."""
    return getattr(saver, "loop", None)


def identity_of(saver: Saver) -> object:
    """Return what a saver shares with all that were made of it here, and no other has: its lock, or its memory."""
    original = vars(saver).get(_WHOLE, saver)
    return getattr(original, "lock", getattr(original, "storage", original))


def connection_of(saver: Saver) -> Any:
    """Return the connection, or pool of connections, of a saver for SQLite or PostgreSQL."""
    return cast(Any, saver).conn


async def open_connection(saver: Saver) -> Any:
    """Return the connection of an asynchronous saver for SQLite, opened if it was not open yet."""
    await cast(Any, saver).setup()
    return connection_of(saver)
