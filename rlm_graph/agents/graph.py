"""Intake: what a caller gives a run → what the run's state can hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import nullcontext
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import TypeAdapter

from rlm_graph.agents.opened import OpenedGraph
from rlm_graph.bridge import in_thread
from rlm_graph.budget import Budget
from rlm_graph.calls.subcalls import LOCKED
from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError
from rlm_graph.langgraph_internals import as_class, checkpointer_for, make_later_than, namespace_of
from rlm_graph.state import RLMInput
from rlm_graph.storage.failures import storage_errors
from rlm_graph.storage.locks import alocation_of, location_of, lock_run
from rlm_graph.surrogates import whole

FAILED = "the database failed"
"""What an error of the checkpointer's database begins with, whosever checkpointer it is."""


class RLMGraph(OpenedGraph):
    """A compiled graph that takes the context out of its input before LangGraph sees it.

    LangGraph stores the whole input in a run's first checkpoint and hands it to tracers, whatever the channel of a
    key says. So the context goes into the content-addressed store here, and a reference goes on.

    A run with a checkpointer is stored with `durability="sync"` unless the caller asks for another: with `"async"`, a
    kill can lose a model's reply that was already paid for.
    """

    contexts: ContextStore

    @classmethod
    def of(cls, compiled: CompiledStateGraph[Any, Any, Any, Any], contexts: ContextStore) -> RLMGraph:
        """Make one of a graph that `StateGraph.compile` returned, which names the class itself."""
        graph = as_class(compiled, cls)
        graph.contexts = contexts
        return graph

    def copy(self, update: dict[str, Any] | None = None) -> RLMGraph:
        """Copy the graph, as `with_config` does."""
        contexts = self.__dict__.pop("contexts")
        try:
            copied = super().copy(update)
        finally:
            self.contexts = contexts
        copied.contexts = contexts
        return copied

    def get_input_jsonschema(self, config: RunnableConfig | None = None) -> dict[str, Any]:
        """Return the schema of what a caller gives, which Studio shows as a form."""
        return TypeAdapter(RLMInput).json_schema()

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Stream the run; see LangGraph.

        Raises `InputError` if the context or the budget cannot be taken in, `RunHeldError` if another process is at
        work on the run, `StorageError` if the database fails: what was recorded is kept, and `invoke(None, config)`
        goes on from there.
        """
        saver, run = self._record(config)
        with storage_errors(FAILED):
            lock = nullcontext() if saver is None or run is None else lock_run(location_of(saver), run)
        with storage_errors(FAILED), lock:
            self._come_after(config)
            yield from super().stream(self._taken_in(input), config, **_durable(saver, kwargs))

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the run; see `stream`."""
        saver, run = self._record(config)
        with storage_errors(FAILED):
            lock = nullcontext() if saver is None or run is None else lock_run(await alocation_of(saver), run)
        await in_thread(lock.__enter__)
        try:
            taken = await in_thread(self._taken_in, input)
            with storage_errors(FAILED):
                await self._acome_after(config)
                async for part in super().astream(taken, config, **_durable(saver, kwargs)):
                    yield part
        finally:
            lock.__exit__(None, None, None)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        """Update the state; see LangGraph. `update_state` comes here too."""
        self._come_after(config)
        return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(self, config: RunnableConfig, supersteps: Any) -> RunnableConfig:
        """Update the state; see `bulk_update_state`."""
        await self._acome_after(config)
        return await super().abulk_update_state(config, supersteps)

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

    def _record(self, config: RunnableConfig | None) -> tuple[BaseCheckpointSaver[Any] | None, str | None]:
        """Return the saver of this run, its parent's if it is nested, and the name of the run to be held, if any."""
        merged = ensure_config(merge_configs(self.config, config))
        saver = checkpointer_for(self, merged)
        configurable = merged["configurable"]
        if LOCKED in configurable:
            return saver, None
        run, namespace = str(configurable.get("thread_id", "")), namespace_of(merged)
        return saver, f"{run}|{namespace}" if namespace else run

    def _taken_in(self, given: Any) -> Any:
        if isinstance(given, Command) and isinstance(given.update, dict):
            return Command(**{**vars(given), "update": self._state_of(given.update)})
        return self._state_of(given) if isinstance(given, dict) else given

    def _state_of(self, given: dict[str, Any]) -> dict[str, Any]:
        state = {key: value for key, value in given.items() if key not in ("question", "context")}
        question, context = given.get("question"), given.get("context")
        if question is not None:
            if not isinstance(question, str) or not question.strip():
                raise InputError("the question is empty: give it in words")
            messages = state.get("messages") or []
            state["messages"] = [
                *(messages if isinstance(messages, list) else [messages]),
                HumanMessage(whole(question)),
            ]
        if state.get("budget") is not None:
            state["budget"] = Budget.of(state["budget"])
        else:
            state.pop("budget", None)
        if context is not None:
            state["contexts"] = [self.contexts.take(context)]
        return state


def _durable(saver: BaseCheckpointSaver[Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    return options if saver is None or options.get("durability") is not None else {**options, "durability": "sync"}
