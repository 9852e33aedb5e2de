"""What is wrong with the arguments of an agent: said when it is made, before anything is paid for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from rlm_graph.agents.options import AgentOptions
from rlm_graph.approval import Approval
from rlm_graph.errors import SetupError
from rlm_graph.settings import MemorySettings


def check_arguments(
    *,
    model: Any,
    sub_model: Any,
    tools: Any,
    subagents: Any,
    memory: Any,
    checkpointer: Any,
    store: Any,
    cache: Any,
    name: Any,
    options: Any,
) -> None:
    """Raise `SetupError` for an argument that is of no use, with what to give instead."""
    if not isinstance(options, AgentOptions):
        raise SetupError(f"options: give AgentOptions(...), not {options!r}")
    check_model_argument("model", model)
    several = isinstance(sub_model, Sequence) and not isinstance(sub_model, str)
    if several and not sub_model:
        raise SetupError("sub_model: the list is empty; leave it out, and the model answers the calls of code too")
    for one in sub_model if several else [] if sub_model is None else [sub_model]:
        check_model_argument("sub_model", one)
    if isinstance(tools, str | Mapping) or not isinstance(tools, Sequence):
        raise SetupError(f"tools: give a list of tools, not {_shown(tools)}")
    if subagents is not None and not isinstance(subagents, Mapping):
        raise SetupError(f"subagents: give a dict of AgentSpec by name, not {_shown(subagents)}")
    if memory is not None and not isinstance(memory, MemorySettings):
        raise SetupError(f"memory: give MemorySettings(user=..., project=...), not {_shown(memory)}")
    _check_kind("checkpointer", checkpointer, BaseCheckpointSaver, or_bool=True)
    _check_kind("store", store, BaseStore)
    _check_kind("cache", cache, BaseCache)
    if not isinstance(name, str) or not name.strip():
        raise SetupError(f"name: give a text such as 'rlm', not {name!r}")


def check_companions(
    options: AgentOptions, *, approval: Approval, memory: bool, checkpointer: object, store: object
) -> None:
    """Raise `SetupError` for what can only work beside something that is not there."""
    if options.nested:
        return
    if checkpointer is None or checkpointer is False:
        pauses = {
            "interrupt_on": approval.waits,
            "interrupt_before": bool(options.interrupt_before),
            "interrupt_after": bool(options.interrupt_after),
        }
        for name, waits in pauses.items():
            if waits:
                raise SetupError(
                    f"{name}: a run that waits for a human needs a checkpointer, to go on later: give "
                    "checkpointer=InMemorySaver() or one of a database; for an agent that is a node of a larger graph, "
                    "which brings its own, say options=AgentOptions(nested=True)"
                )
    if memory and store is None:
        raise SetupError(
            "memory: notes are kept in a store, and there is none: give store=InMemoryStore() or one of a database; "
            "for an agent that is a node of a larger graph, which brings its own, say options=AgentOptions(nested=True)"
        )


def check_model_argument(name: str, model: Any) -> None:
    """Raise `SetupError` for what is neither the name of a model nor a chat model."""
    if isinstance(model, BaseChatModel) or (isinstance(model, str) and model.strip()):
        return
    if isinstance(model, Runnable):
        raise SetupError(
            f"{name}: {type(model).__name__} is a chat model with something bound to it; give the chat model itself: "
            "options are set on it when it is made, retries are AgentOptions(models=ModelSettings(max_retries=...)), "
            "and models that stand in for one another are its pools"
        )
    raise SetupError(f"{name}: give a name such as 'openai/gpt-5' or a chat model, not {_shown(model)}")


def _check_kind(name: str, given: Any, kind: type, *, or_bool: bool = False) -> None:
    if given is None or isinstance(given, kind) or (or_bool and isinstance(given, bool)):
        return
    if isinstance(given, AbstractContextManager | AbstractAsyncContextManager) and hasattr(given, "gen"):
        way = "async with" if isinstance(given, AbstractAsyncContextManager) else "with"
        raise SetupError(f"{name}: this is what opens one: write `{way} ... as {name}:`, and give what that names")
    article = f"an instance of {kind.__name__}"
    if isinstance(given, type) and issubclass(given, kind):
        raise SetupError(f"{name}: this is the class {given.__name__}; give {article}: {given.__name__}(...)")
    raise SetupError(f"{name}: give {article} of LangGraph's, not {_shown(given)}")


def _shown(given: Any) -> str:
    if given is None or isinstance(given, str | int | float | bool):
        return repr(given)
    if isinstance(given, Callable):  # type: ignore[arg-type]  # the class of all that can be called
        return f"the function {getattr(given, '__name__', type(given).__name__)}"
    return f"a value of type {type(given).__name__}"
