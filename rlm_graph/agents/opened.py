"""A compiled graph whose callers see answers as they are, while its state holds a reference, or JSON, of some.

Large answers lie in a file (`rlm_graph.context.kept_answers`), typed ones are recorded as JSON
(`rlm_graph.typed_answer`).
"""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import StateSnapshot

from rlm_graph.bridge import in_thread
from rlm_graph.channels import TypedAnswerChannel
from rlm_graph.context import ContextStore
from rlm_graph.context.kept_answers import is_kept, opened, whole_typed
from rlm_graph.errors import InputError
from rlm_graph.state import Answer
from rlm_graph.typed_answer import TypedAnswer

MAX_LEVELS = 5
"""In each other, in a part of a stream, down to what a node has written."""


class OpenedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """Opens what comes out of the graph: parts of streams, and so results, and states."""

    def stream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Iterator[Any]:
        """Stream the run; see LangGraph."""
        parts: Any = super().stream(input, config, **kwargs)
        held: list[Answer] = []
        with closing(parts):
            for part in parts:
                yield self._opened(part, held)

    async def astream(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Stream the run; see LangGraph."""
        stream: Any = super().astream(input, config, **kwargs)
        held: list[Answer] = []
        async with aclosing(stream) as parts:
            async for part in parts:
                yield await in_thread(self._opened, part, held) if _any(part, is_kept) else self._opened(part, held)

    def get_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state; see LangGraph. A large answer is whole in its values."""
        return self._seen(super().get_state(config, subgraphs=subgraphs))

    async def aget_state(self, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
        """Return the state; see `get_state`."""
        return await in_thread(self._seen, await super().aget_state(config, subgraphs=subgraphs))

    def get_state_history(self, config: RunnableConfig, **options: Any) -> Iterator[StateSnapshot]:
        """Yield the states; see `get_state`."""
        yield from map(self._seen, super().get_state_history(config, **options))

    async def aget_state_history(self, config: RunnableConfig, **options: Any) -> AsyncIterator[StateSnapshot]:
        """Yield the states; see `get_state`."""
        async for snapshot in super().aget_state_history(config, **options):
            yield await in_thread(self._seen, snapshot)

    def _seen(self, snapshot: StateSnapshot) -> StateSnapshot:
        return snapshot._replace(values=self._opened(snapshot.values, []))

    def _opened(self, part: Any, held: list[Answer]) -> Any:
        """Open what is short in it. `held` keeps the last answer in memory, for the next part may show it again."""
        return _replaced(
            part, lambda each: isinstance(each, TypedAnswer) or is_kept(each), lambda each: self._whole(each, held)
        )

    def _whole(self, part: Any, held: list[Answer]) -> Any:
        store: ContextStore = self.contexts  # type: ignore[attr-defined]  # of `RLMGraph`
        if isinstance(part, TypedAnswer):
            channel = self.channels["structured_response"]
            assert isinstance(channel, TypedAnswerChannel)
            try:
                return channel.opened(whole_typed(part, store))
            except InputError:
                return part
        try:
            return opened(part, store, held)
        except InputError as error:  # the state can be read all the same, and the run goes on
            if not isinstance(part, Answer):
                return part
            return part.model_copy(update={"text": f"{part.text}…\n[the rest cannot be read: {error.problem}]"})


def _replaced(part: Any, wanted: Callable[[Any], bool], new: Callable[[Any], Any], level: int = 0) -> Any:
    if wanted(part):
        return new(part)
    if level == MAX_LEVELS or type(part) not in (dict, tuple, list):
        return part
    if isinstance(part, dict):
        changed = {
            key: other for key, old in part.items() if (other := _replaced(old, wanted, new, level + 1)) is not old
        }
        return {**part, **changed} if changed else part
    items = [_replaced(item, wanted, new, level + 1) for item in part]
    return part if all(map(operator.is_, items, part)) else type(part)(items)


def _any(part: Any, wanted: Callable[[Any], bool], level: int = 0) -> bool:
    if wanted(part):
        return True
    if level == MAX_LEVELS or type(part) not in (dict, tuple, list):
        return False
    return any(_any(item, wanted, level + 1) for item in (part.values() if isinstance(part, dict) else part))
