"""Tools that end the process or never end cost their own call and nothing else."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, tool

from rlm_graph import bridge
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.tools import HostFunction, use
from tests.graphs.conftest import agent, contexts, repl

__all__ = ["agent", "contexts"]

FAR_MORE_THAN_A_POOL_HAS = 40


def leave(how: str) -> str:
    """Leave."""
    if how == "exit":
        sys.exit(2)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "stop":
        raise StopIteration
    if how == "close":
        raise GeneratorExit
    if how == "cancel":
        raise asyncio.CancelledError
    return "stayed"


@tool("leave")
async def leave_later(how: str) -> str:
    """Leave."""
    await asyncio.sleep(0)
    return leave(how)


class Counter(BaseTool):
    name: str = "leave"
    description: str = "Leave, and count it."
    left: int = 0

    def _run(self, how: str, config: RunnableConfig, run_manager: CallbackManagerForToolRun | None = None) -> str:
        assert run_manager is not None
        self.left += 1
        return f"{leave(how)} {config['tags']} {self.left}"


@pytest.mark.parametrize(
    ("given", "how", "words"),
    [
        (tool("leave")(leave), "exit", "leave: the tool ended with SystemExit: 2"),
        (tool("leave")(leave), "interrupt", "leave: the tool ended with KeyboardInterrupt"),
        (tool("leave")(leave), "stop", "leave: the tool ended with StopIteration"),
        (tool("leave")(leave), "close", "leave: the tool ended with GeneratorExit"),
        (tool("leave")(leave), "cancel", "leave: the tool ended with CancelledError"),
        (leave_later, "cancel", "leave: the tool ended with CancelledError"),
        (Counter(), "exit", "leave: the tool ended with SystemExit: 2"),
        (leave_later, "exit", "leave: the tool ended with SystemExit: 2"),
    ],
)
async def test_a_tool_that_would_end_the_process_is_an_error_in_the_code(given: BaseTool, how: str, words: str) -> None:
    reply = await use(HostFunction(given), {"how": how})

    assert (reply.error, reply.error_type) == (words, "RuntimeError")


async def test_a_tool_keeps_what_it_learns_and_gets_what_langchain_hands_it() -> None:
    counter = HostFunction(Counter())

    for count in (1, 2):
        reply = await use(counter, {"how": "not"}, config={"tags": ["t"]})
        assert reply.value == f"stayed ['t'] {count}"


@pytest.fixture
def released() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_tools_that_hang_past_their_time_hold_up_no_other(released: threading.Event) -> None:
    def hang() -> str:
        """Hang."""
        released.wait()
        return "late"

    async def timed_out() -> bool:
        try:
            await use(HostFunction(tool(hang)), {}, timeout_s=0.05)
        except TimeoutError:
            return True
        return False

    hung = await asyncio.gather(*(timed_out() for _ in range(FAR_MORE_THAN_A_POOL_HAS)))

    assert all(hung)
    assert (await use(HostFunction(tool(leave)), {"how": "not"})).value == "stayed"
    assert await asyncio.to_thread(leave, "not") == "stayed"


@pytest.mark.parametrize("given", [leave, leave_later])
def test_a_run_goes_on_after_such_a_tool(agent: Callable[..., RLMGraph], given: Any) -> None:
    code = "try:\n    leave('exit')\nexcept Exception as error:\n    print(repr(error))\nFINAL(leave('not'))"

    result = agent([repl(code)], tools=[given]).invoke({"question": "Go."})

    assert result["answer"].value == "stayed"


def test_the_loop_of_the_bridge_outlives_a_task_that_exits() -> None:
    async def exits() -> None:
        sys.exit(3)

    async def spawns() -> str:
        with pytest.raises(SystemExit):
            await asyncio.create_task(exits())
        return "went on"

    assert bridge.run_blocking(spawns()) == "went on"
    assert bridge.run_blocking(asyncio.sleep(0, "still here")) == "still here"


class Hostile:
    """A result, or an error's words, that ends the process when it is looked at."""

    def __repr__(self) -> str:
        raise KeyboardInterrupt

    __str__ = __repr__


class HostileError(Exception):
    def __str__(self) -> str:
        sys.exit(2)


@tool
def hostile(way: str) -> Any:
    """Return it, raise it, or end with it."""
    if way == "result":
        return [Hostile()]
    raise HostileError if way == "error" else SystemExit(Hostile())


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("result", "RuntimeError: hostile: the result cannot be read: KeyboardInterrupt"),
        ("error", "SubcallError: hostile: HostileError"),
        ("exit", "RuntimeError: hostile: the tool ended with SystemExit"),
    ],
)
@pytest.mark.parametrize("start", ["invoke", "ainvoke"])
async def test_what_is_only_looked_at_ends_nothing(
    agent: Callable[..., RLMGraph], way: str, words: str, start: str
) -> None:
    code = f"try:\n    hostile({way!r})\nexcept Exception as error:\n    FINAL(f'{{type(error).__name__}}: {{error}}')"
    graph = agent([repl(code)], tools=[hostile])
    given: Any = {"question": "Go."}
    result = await graph.ainvoke(given) if start == "ainvoke" else await asyncio.to_thread(graph.invoke, given)

    assert words in result["answer"].text
