"""From settings to an agent: the one place where the agent of a run is built, whatever the door."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from rlm_graph.errors import Hint, SetupError
from rlm_graph.runs.answer_form import form_of
from rlm_graph.runs.job import Job, Policy
from rlm_graph.settings import Settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langgraph.checkpoint.base import BaseCheckpointSaver
    from langgraph.store.base import BaseStore

    from rlm_graph.agents.graph import RLMGraph
    from rlm_graph.executors.base import Executor

Builder = Callable[[Job, "BaseCheckpointSaver[Any]"], AbstractAsyncContextManager["RLMGraph"]]
"""Builds the agent of a job on a saver, for as long as the block lasts."""


def model_of(settings: Settings) -> str:
    """Return the root model's name. Raises `SetupError` if none is set."""
    if settings.model is None:
        raise SetupError("no model", hint=Hint("set_model"))
    return settings.model


def set_environment(settings: Settings) -> None:
    """Set the variables that LangSmith reads: traces are sent only where the settings ask for them."""
    tracing = str(settings.tracing).lower()
    for name in ("LANGSMITH_TRACING", "LANGSMITH_TRACING_V2", "LANGCHAIN_TRACING", "LANGCHAIN_TRACING_V2"):
        os.environ[name] = tracing


def check_models(settings: Settings) -> None:
    """Raise `SetupError`, before anything is recorded, if one of the models cannot be asked."""
    from rlm_graph.models import check_model
    from rlm_graph.models.connections import check_key_log

    check_key_log()
    check_model(model_of(settings), settings.models)
    for model in (settings.sub_model, *(agent.model for agent in settings.agents.values())):
        if model is not None:
            check_model(model, settings.models)


@contextmanager
def built_agent(
    settings: Settings,
    *,
    response_format: type | Mapping[str, Any] | None = None,
    approve: Policy | None = None,
    checkpointer: BaseCheckpointSaver[Any] | None = None,
    store: BaseStore | None = None,
    model: BaseChatModel | None = None,
    executor: Executor | None = None,
    nested: bool = False,
) -> Iterator[RLMGraph]:
    """Give the agent that the settings describe; the servers of its tools live as long.

    `model` and `executor` stand in for those that the settings name. A `nested` agent is given checkpointer and store
    by who runs it. Raises `SetupError` if what is set cannot be used.
    """
    from rlm_graph.agents.create import create_rlm_agent
    from rlm_graph.agents.options import AgentOptions
    from rlm_graph.agents.specialists import specs_from
    from rlm_graph.context.encrypted import contexts_of
    from rlm_graph.models import cache_of
    from rlm_graph.tools.registry import open_tools

    root = model_of(settings)
    with open_tools(settings.tools) as tools, specs_from(settings) as agents:
        yield create_rlm_agent(
            model or root,
            tools,
            sub_model=settings.sub_model,
            executor=executor or settings.executor,
            subagents=agents,
            budget=settings.budget,
            response_format=response_format,
            interrupt_on=approve,
            memory=settings.memory if settings.memory.enabled else None,
            checkpointer=checkpointer,
            store=store,
            cache=cache_of(settings),
            options=AgentOptions(
                models=settings.models,
                caps=settings.caps,
                contexts=contexts_of(settings),
                snapshots=settings.snapshots,
                protocol=settings.protocol,
                retrieval=settings.tools.retrieval,
                nested=nested,
            ),
        )


@asynccontextmanager
async def open_agent(
    job: Job,
    saver: BaseCheckpointSaver[Any],
    *,
    model: BaseChatModel | None = None,
    executor: Executor | None = None,
) -> AsyncIterator[RLMGraph]:
    """Build the agent of a job, recorded by `saver`; its memory, too, is open for as long as the block lasts.

    A caller with a chat model or an executor of its own hands it to the service as
    `build=functools.partial(open_agent, model=...)`. Raises `SetupError`, before anything is recorded, if a model
    cannot be asked.
    """
    from rlm_graph.memory.store import opened_store

    settings = job.settings
    if model is None:
        check_models(settings)
    async with AsyncExitStack() as stack:
        remembers = settings.memory.enabled
        store = await stack.enter_async_context(opened_store(settings)) if remembers else None
        yield stack.enter_context(
            built_agent(
                settings,
                response_format=form_of(job.schema),
                approve=job.approve,
                checkpointer=saver,
                store=store,
                model=model,
                executor=executor,
            )
        )
