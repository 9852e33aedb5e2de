"""Tools that end the process, or never end: neither may take the run's event loop, or its threads, with them."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool, StructuredTool, Tool

from rlm_graph.bridge import in_thread

ENDS = (Exception, KeyboardInterrupt, SystemExit, GeneratorExit)
"""What code of a tool may raise: all but the run's own cancellation."""


class ToolExit(Exception):
    """A tool ended with an exception that ends a process, or a loop, where nobody holds it."""


async def called(tool: BaseTool, arguments: dict[str, Any], config: RunnableConfig | None) -> Any:
    """Call the tool and return its result. Raises what the tool does, but `ToolExit` where it would end the process."""
    shield = _shielded(tool)
    if isinstance(tool, StructuredTool | Tool) and _is_plain(tool):
        return await in_thread(shield.invoke, arguments, config)
    return await shield.ainvoke(arguments, config)


def _shielded(tool: BaseTool) -> BaseTool:
    """Return a tool for one call, that does what `tool` does and raises `ToolExit` where it would end the process.

    What `sys.exit` raises would leave the task in which LangChain runs the tool and stop the whole event loop. A tool
    that is a plain function runs in a daemon thread of its own: threads of asyncio's pool are few, and one that never
    ends would hold up other tools and the end of the process.
    """
    shield = copy.copy(tool)  # its methods are those of `tool` itself, which keeps what it learns
    run = _run_held(tool._run)
    works_in_thread = _is_plain(tool)

    @functools.wraps(tool._arun)
    async def arun(*args: Any, **kwargs: Any) -> Any:
        try:
            if not works_in_thread:
                return await tool._arun(*args, **kwargs)
            if kwargs.get("run_manager") is not None and "run_manager" in inspect.signature(tool._run).parameters:
                kwargs["run_manager"] = kwargs["run_manager"].get_sync()
            return await in_thread(run, *args, **kwargs)
        except KeyboardInterrupt as error:
            if threading.current_thread() is threading.main_thread():
                raise  # the user's own, as far as anybody can tell
            raise _exit(error) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the run's own; else something that the tool waited for was cancelled
            raise _exit(error) from error
        except SystemExit as error:
            raise _exit(error) from error

    # Pydantic knows fields alone; these are methods.
    object.__setattr__(shield, "_run", run)
    object.__setattr__(shield, "_arun", arun)
    return shield


def _run_held(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def held(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except BaseException as error:
            if isinstance(error, Exception) and not isinstance(error, StopIteration):  # which no future can hold
                raise
            raise _exit(error) from error

    return held


def words_of(error: BaseException) -> str:
    """Return the words of an error; empty where they cannot be had: reading those of a tool may raise another error."""
    try:
        return str(error)
    except ENDS:
        return ""


def _exit(error: BaseException) -> ToolExit:
    words = words_of(error)
    return ToolExit(f"the tool ended with {type(error).__name__}{f': {words}' if words else ''}")


def _is_plain(tool: BaseTool) -> bool:
    """Tell whether LangChain would run the tool's plain function in a thread of asyncio's pool."""
    way = type(tool)._arun
    if way is BaseTool._arun:
        return True
    return way in (StructuredTool._arun, Tool._arun) and getattr(tool, "coroutine", None) is None
