"""The compiled graph that callers get: it holds its run, takes its input in, and lets go of both."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing
from typing import Any

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import BaseModel, Field, TypeAdapter, create_model

from rlm_graph import bridge
from rlm_graph.agents.intake import Intake, Taken
from rlm_graph.agents.opened import OpenedGraph
from rlm_graph.agents.recording import addressed, answers_one, durable
from rlm_graph.agents.result import RunResult, answer_of
from rlm_graph.agents.streams import GraphStream, OwnedStream, atake, take
from rlm_graph.bridge import in_thread
from rlm_graph.calls.subcalls import LOCKED
from rlm_graph.channels import RLMInput
from rlm_graph.context import ContextStore
from rlm_graph.executors.attachment import ATTACHMENT, Attachment
from rlm_graph.langgraph_internals import (
    as_class,
    checkpointer_for,
    cut_off,
    keeping_whole_steps,
    make_later_than,
    namespace_of,
    step_of,
)
from rlm_graph.storage.failures import storage_errors
from rlm_graph.storage.locks import RecordLocation, alocation_of, know, location_of, lock_run, lock_run_of_step
from rlm_graph.storage.step_records import blocking_to_the_end, recorded_to_the_end

MAX_STEPS = 1_000_000_000
"""Steps that a run may take. Batches and pipes would name langchain-core's limit of 25, at which nine turns end."""

_READERS = "__rlm_graph_readers"
"""Key in a config for a list of the tasks that read the run's stream."""

FAILED = "the database failed"
"""What an error of the checkpointer's database begins with, whosever checkpointer it is."""


class RLMGraph(OpenedGraph):
    """A compiled graph that takes the context out of its input before LangGraph sees it.

    LangGraph stores the whole input in a run's first checkpoint and hands it to tracers, whatever the channel of a
    key says. So the context goes into the content-addressed store here, and a reference goes on.

    A run with a checkpointer is stored with `durability="sync"` unless the caller asks for another: with `"async"`, a
    kill can lose a model's reply that was already paid for, and `"exit"` is refused.

    Where several calls wait for a human, `Command(resume={interrupt.id: decision})` answers those that it names, and
    `Command(resume=decision)` the first of those that the paused run shows; the others go on waiting.
    """

    intake: Intake

    @property
    def contexts(self) -> ContextStore:
        """Where the contexts of its runs lie."""
        return self.intake.contexts

    @classmethod
    def of(cls, compiled: CompiledStateGraph[Any, Any, Any, Any], intake: Intake) -> RLMGraph:
        """Make one of a graph that `StateGraph.compile` returned, which names the class itself."""
        graph = as_class(compiled, cls)
        graph.intake = intake
        if isinstance(graph.checkpointer, BaseCheckpointSaver):
            know(graph.checkpointer)
        return graph

    def copy(self, update: dict[str, Any] | None = None) -> RLMGraph:
        """Copy the graph, as `with_config` does."""
        intake = self.__dict__.pop("intake")
        try:
            copied = super().copy(update)
        finally:
            self.intake = intake
        copied.intake = intake
        return copied

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return a tool for another agent that asks this one a question and returns the answer, and nothing else.

        It takes `question` and, if it is given one, `context`. An agent with a checkpointer of its own answers each
        call on a thread of its own, unless the tool is called within a graph.
        """
        if arg_types is not None:
            fields: dict[str, Any] = {argument: (kind, ...) for argument, kind in arg_types.items()}
            args_schema = create_model("ToolInput", **fields)

        def ask(**given: Any) -> str:
            return answer_of(self.invoke(given, self._tool_config()))

        async def aask(**given: Any) -> str:
            return answer_of(await self.ainvoke(given, self._tool_config()))

        return StructuredTool.from_function(
            ask,
            coroutine=aask,
            name=name or self.get_name(),
            description=description or TOOL_DESCRIPTION,
            args_schema=ToolInput if args_schema is None else args_schema,
        )

    def _tool_config(self) -> RunnableConfig:
        alone = self.checkpointer and "thread_id" not in self._configurable(None)
        return {"configurable": {"thread_id": str(uuid.uuid4())}} if alone else {}

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the schema of what a caller gives, which Studio shows as a form."""
        return TypeAdapter(RLMInput).json_schema()

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run to the end; see LangGraph and `stream`. The result's messages are those that were given."""
        taken = self._taken_in(input, config)
        return _restored(super().invoke(taken.input, config, **kwargs), taken.given)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run to the end; see `invoke`."""
        taken = await in_thread(self._taken_in, input, config)
        return _restored(await super().ainvoke(taken.input, config, **kwargs), taken.given)

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Stream the run; see LangGraph. Whoever leaves the stream ends the step under way and frees the run.

        Raises `InputError` if the context or the budget cannot be taken in, `SetupError` if the run would not be
        recorded while it is under way (see `recording.py`), `RunHeldError` if another process is at
        work on the run, `StorageError` if the database fails: what was recorded is kept, and `invoke(None, config)`
        goes on from there.
        """
        saver, run, step = self._record(config)
        options = durable(saver, kwargs, config)
        under_way, attachment = bridge.UnderWay(), Attachment()
        with ExitStack() as hold, storage_errors(FAILED):
            if saver is not None and run is not None:
                place = location_of(saver)
                take(hold, lambda: _lock(place, run, step))
                hold.enter_context(blocking_to_the_end(saver, self._merged(config)))
            self._come_after(config)
            if (there := self._going_on(input, config)) and (cut := cut_off(self.get_state(there))):
                self.update_state(there, cut[1], as_node=cut[0])
            given = self._taken_in(input, config).input
            if saver is not None and run is not None and answers_one(given):
                given = addressed(given, self.get_state(ensure_config(config)).interrupts)
            parts = super().stream(given, self._configured(config, attachment, under_way), **options)
            try:
                yield from parts
            except BaseException:
                under_way.cancel()
                raise
            finally:
                parts.close()  # type: ignore[attr-defined]  # a generator
                if attachment.is_kept:
                    bridge.run_blocking(attachment.aclose())

    def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the run; see `stream`."""
        hold = ExitStack()
        return GraphStream(self._astream(input, config, hold, kwargs), hold)

    async def _astream(
        self, input: Any, config: RunnableConfig | None, hold: ExitStack, kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        saver, run, step = self._record(config)
        options, attachment = durable(saver, kwargs, config), Attachment()
        reader = asyncio.current_task()
        if reader is not None and (readers := self._configurable(config).get(_READERS)) is not None:
            readers.append(reader)
        with hold, storage_errors(FAILED):
            if saver is not None and run is not None:
                place = await alocation_of(saver)
                await atake(hold, lambda: _lock(place, run, step))
            given = (await in_thread(self._taken_in, input, config)).input
            await self._acome_after(config)
            if (there := self._going_on(input, config)) and (cut := cut_off(await self.aget_state(there))):
                await self.aupdate_state(there, cut[1], as_node=cut[0])
            if saver is not None and run is not None and answers_one(given):
                given = addressed(given, (await self.aget_state(ensure_config(config))).interrupts)
            generator: Any = super().astream(given, self._configured(config, attachment), **options)
            recording = recorded_to_the_end(None if run is None else saver, self._merged(config))
            async with recording, aclosing(attachment), aclosing(OwnedStream(generator)) as parts:
                async for part in parts:
                    yield part

    def astream_events(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Stream the run's events; see LangGraph. None of them shows a context: it is taken in before the first."""
        if kwargs.get("version") == "v3":
            return self._astream_events_v3(input, config, kwargs)
        return GraphStream(self._told(super().astream_events, input, config, kwargs))

    def astream_log(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Stream the run's log; see LangChain, and `astream_events`."""
        return GraphStream(self._told(super().astream_log, input, config, kwargs))

    async def _told(
        self, tell: Callable[..., Any], input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        given = (await in_thread(self._taken_in, input, config)).input
        # LangChain streams the run in a task of its own, and not every way of its telling ends that task.
        readers: list[asyncio.Task[Any]] = []
        configurable = {**(config or {}).get("configurable", {}), _READERS: readers}
        coming = OwnedStream(tell(given, {**(config or {}), "configurable": configurable}, **kwargs))
        try:
            async for part in coming:
                yield part
        finally:
            for reader in readers:
                reader.cancel()
            await coming.aclose()
            if readers:
                await asyncio.wait(readers)

    async def _astream_events_v3(self, input: Any, config: RunnableConfig | None, kwargs: dict[str, Any]) -> Any:
        given = (await in_thread(self._taken_in, input, config)).input
        return await super().astream_events(given, config, **kwargs)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        """Update the state; see LangGraph. `update_state` comes here too."""
        self._come_after(config)
        return super().bulk_update_state(config, self._written(supersteps))

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        """Update the state; see `bulk_update_state`."""
        await self._acome_after(config)
        return await super().abulk_update_state(config, await in_thread(self._written, supersteps))

    def _written(self, supersteps: Any) -> Any:
        return [[step._replace(values=self.intake.written(step.values)) for step in steps] for steps in supersteps]

    def _come_after(self, config: RunnableConfig | None) -> None:
        """Have the checkpoints to come follow all that are recorded of the run, on a host whose clock is behind too."""
        saver, thread = self._begun_by(config)
        if saver is not None:
            for kept in saver.list(thread, limit=1):
                make_later_than(kept.checkpoint["id"])

    async def _acome_after(self, config: RunnableConfig | None) -> None:
        saver, thread = self._begun_by(config)
        if saver is not None:
            async for kept in saver.alist(thread, limit=1):
                make_later_than(kept.checkpoint["id"])

    def _begun_by(self, config: RunnableConfig | None) -> tuple[BaseCheckpointSaver[Any] | None, RunnableConfig]:
        """Return the saver that this process begins to write with, and the thread; whoever holds the run has begun."""
        merged = ensure_config(merge_configs(self.config, config))
        thread: RunnableConfig = {"configurable": {"thread_id": merged["configurable"].get("thread_id", "")}}
        return None if LOCKED in merged["configurable"] else checkpointer_for(self, merged), thread

    def _record(
        self, config: RunnableConfig | None
    ) -> tuple[BaseCheckpointSaver[Any] | None, str | None, object | None]:
        """Return the saver of this run, its parent's if it is nested, and what is to be held: its name and its step.

        The name is None for a run that is held already, the step for one that is not nested.
        """
        merged = ensure_config(merge_configs(self.config, config))
        saver = checkpointer_for(self, merged)
        configurable = merged["configurable"]
        if LOCKED in configurable:
            return saver, None, None
        run, namespace = str(configurable.get("thread_id", "")), namespace_of(merged)
        return saver, f"{run}|{namespace}" if namespace else run, step_of(merged)

    def _going_on(self, input: Any, config: RunnableConfig | None) -> RunnableConfig | None:
        """Return the config of a run that is taken up where it stands; None for any other, and for a nested one."""
        merged = ensure_config(merge_configs(self.config, config))
        saver, run, step = self._record(config)
        plain = input is None or (isinstance(input, Command) and input.resume is None and not input.goto)
        if saver is None or run is None or not plain or step is not None or "checkpoint_id" in merged["configurable"]:
            return None
        return {"configurable": {"thread_id": merged["configurable"].get("thread_id", "")}}

    def _configurable(self, config: RunnableConfig | None) -> dict[str, Any]:
        return self._merged(config)["configurable"]

    def _merged(self, config: RunnableConfig | None) -> RunnableConfig:
        return ensure_config(merge_configs(self.config, config))

    def _configured(
        self, config: RunnableConfig | None, attachment: Attachment, under_way: bridge.UnderWay | None = None
    ) -> RunnableConfig:
        """Return the config of a run: its budget ends it, and never the number of its steps, whatever limit is named.

        A run that is to be recorded and has no name gets none here, for LangGraph then says so.
        """
        given: RunnableConfig = {**(config or {}), "recursion_limit": MAX_STEPS}
        if self._configurable(config) or self._record(config)[0] is None:
            live = {ATTACHMENT: attachment, **({} if under_way is None else {bridge.UNDER_WAY: under_way})}
            given["configurable"] = {**given.get("configurable", {}), **live}
        return given

    def _taken_in(self, given: Any, config: RunnableConfig | None) -> Taken:
        return self.intake.taken(given, nested=step_of(ensure_config(merge_configs(self.config, config))) is not None)


# The saver of a graph is that of the calls below it too.
keeping_whole_steps(RLMGraph, last_channels=frozenset({"answer", "replies"}))

TOOL_DESCRIPTION = (
    "Answer a question, also about a text that is far too long to read at once. Ask one thing, in a whole sentence."
)


class ToolInput(BaseModel):
    """What the tool of `RLMGraph.as_tool` takes."""

    question: str = Field(description="what is to be answered, in words")
    context: str | list[str] | dict[str, str] | None = Field(
        default=None, description="the text that the question is about, or several texts, perhaps by name"
    )


def _restored(result: Any, given: Mapping[str, BaseMessage]) -> Any:
    """Put the messages back into a result that the run holds in a shorter form.

    A larger graph would take the shorter ones for edits of its own messages.
    """
    value = getattr(result, "value", result)
    if given and isinstance(value, dict) and isinstance(value.get("messages"), list):
        value["messages"] = [given.get(str(message.id), message) for message in value["messages"]]
    if isinstance(value, dict) and value.get("structured_response", value) is None:
        del value["structured_response"]  # the earlier question's, which this answer has no form of
    return RunResult(result) if type(result) is dict else result


def _lock(place: RecordLocation, run: str, step: object | None) -> AbstractContextManager[None]:
    return lock_run(place, run) if step is None else lock_run_of_step(place, run, step)
