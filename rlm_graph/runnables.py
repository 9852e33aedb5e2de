"""Nodes and routers of our graphs, in the form in which LangGraph runs them: as LangChain's runnables."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig

from rlm_graph.bridge import UNDER_WAY, run_blocking

T = TypeVar("T")


def node(work: Callable[..., Awaitable[T]], **given: Any) -> Node[T]:
    """Make a graph node of a coroutine function, named as it is, with `given` as its keyword arguments."""
    return Node(work, given)


class Node(Runnable[Any, T]):
    """A coroutine function as a node of a graph.

    LangGraph runs it in a run of that name, with its config in the context. LangChain's `RunnableLambda` would make a
    second run of the same name in that one, and six tasks for it.
    """

    def __init__(self, work: Callable[..., Awaitable[T]], given: Mapping[str, Any]) -> None:
        self.name = work.__name__
        self._work = work
        self._given = given

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> T:
        """Return what the coroutine returns, which runs on the bridge's loop."""
        under_way = (config or {}).get("configurable", {}).get(UNDER_WAY)
        return run_blocking(self._run(input), under_way)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> T:
        """Return what the coroutine returns."""
        return await self._work(input, **self._given)

    async def _run(self, input: Any) -> T:
        return await self._work(input, **self._given)


class Router(Runnable[Any, T]):
    """Decides by the state where to go next, on whatever thread asks.

    LangGraph hands a plain function to a thread of a pool under `ainvoke`, and tells tracers of it.
    """

    def __init__(self, route: Callable[[Any], T]) -> None:
        self.name = route.__name__
        self._route = route

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> T:
        """Return where to go next."""
        return self._route(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> T:
        """Return where to go next."""
        return self._route(input)
