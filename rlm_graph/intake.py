"""Intake: what a caller gives a run → what the run's state can hold."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import ensure_config
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from rlm_graph.bridge import in_thread
from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError


class RLMGraph(CompiledStateGraph[Any, Any, Any, Any]):
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
        compiled.__class__ = cls
        assert isinstance(compiled, cls)
        compiled.contexts = contexts
        return compiled

    def copy(self, update: dict[str, Any] | None = None) -> RLMGraph:
        """Copy the graph, as `with_config` does."""
        contexts = self.__dict__.pop("contexts")
        try:
            copied = super().copy(update)
        finally:
            self.contexts = contexts
        copied.contexts = contexts
        return copied

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Stream the run; see LangGraph. Raises `InputError` if the context cannot be taken in."""
        yield from super().stream(self._taken_in(input), config, **self._durable(config, kwargs))

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the run; see LangGraph. Raises `InputError` if the context cannot be taken in."""
        taken = await in_thread(self._taken_in, input)
        async for part in super().astream(taken, config, **self._durable(config, kwargs)):
            yield part

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
            state["messages"] = [*(messages if isinstance(messages, list) else [messages]), HumanMessage(question)]
        if context is not None:
            state["contexts"] = [self.contexts.take(context)]
        return state

    def _durable(self, config: RunnableConfig | None, options: dict[str, Any]) -> dict[str, Any]:
        if options.get("durability") is None and self._resolve_checkpointer(ensure_config(self.config, config)):
            return {**options, "durability": "sync"}
        return options
