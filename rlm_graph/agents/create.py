"""What callers build an agent with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.cache.base import BaseCache
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from rlm_graph.agents.graph import RLMGraph
from rlm_graph.agents.parts import AgentParts, assemble
from rlm_graph.agents.specialists import AgentSpec, specialists
from rlm_graph.answers import AnswerFormat
from rlm_graph.approval import Approval, Approve
from rlm_graph.budget import Budget, Caps
from rlm_graph.context import ContextStore
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import Executor
from rlm_graph.memory import memory_functions
from rlm_graph.models import ReplyCache, chat_model
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.settings import ExecutorSettings, MemorySettings, ModelSettings, Protocol, SnapshotSettings, data_dir
from rlm_graph.storage.data_folder import DataFolder, snapshots_beside
from rlm_graph.tools import host_functions, retrieval_of


def create_rlm_agent(
    model: str | BaseChatModel,
    *,
    sub_model: str | BaseChatModel | Sequence[str | BaseChatModel] | None = None,
    executor: str | ExecutorSettings | Executor = "local",
    budget: Budget | None = None,
    caps: Caps | None = None,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    agents: Mapping[str, AgentSpec] | None = None,
    response_format: type | Mapping[str, Any] | None = None,
    memory: MemorySettings | None = None,
    checkpointer: Checkpointer = None,
    store: BaseStore | None = None,
    cache: BaseCache[Any] | None = None,
    settings: ModelSettings | None = None,
    contexts: ContextStore | Path | None = None,
    snapshots: SnapshotSettings | None = None,
    strict_replay: bool = False,
    approve: Approve | None = None,
    protocol: Protocol = "repl",
    retrieval: str | None = None,
    interrupt_before: Sequence[str] = (),
    interrupt_after: Sequence[str] = (),
    name: str = "rlm",
) -> RLMGraph:
    """Return the agent as a compiled graph: invoke it, stream it, or make it a node of a larger graph.

    Args:
        model: a litellm name such as `openai/gpt-5`, or any chat model.
        sub_model: answers the calls that code makes; by default `model` does. A list names one for each depth of
            recursion; its last one serves all depths below.
        executor: where code runs: a kind, its settings, or an executor.
        budget: the ceilings of a run that is given none.
        caps: the most that any run may be given; where there are none, those of `Caps`.
        tools: functions of the host that code may call by name: LangChain tools, or functions with a docstring.
        agents: specialists by name, for code to ask with `rlm_query(..., agent="name")`.
        response_format: a pydantic model, TypedDict or JSON schema that the answer must fit; the run then also
            returns it as `structured_response`.
        checkpointer: with one, a run can be resumed: `invoke(None, config)`.
        memory: whose notes of earlier runs code may read and write, in `store`; by default nobody's.
        store: LangGraph's store for what outlives a run.
        cache: LangGraph's cache, for replies of models: an equal request is then answered from it and costs nothing.
        settings: how models are reached.
        contexts: where long inputs are kept; by default in the user's data folder.
        snapshots: when a REPL is copied, beside the contexts, so that a resumed run comes back faster.
        strict_replay: fail a run whose code behaves differently when its REPL is rebuilt, instead of telling the model.
        approve: what waits for a human: `"code"`, `"subcalls"`, or a function that decides each request and returns
            None for those that wait. A waiting run shows an `ApprovalRequest` as its interrupt; go on with
            `Command(resume=...)` and a `Decision`. Needs a checkpointer.
        protocol: `"repl"` for models that write code in their replies, `"tools"` for those that call tools: `python`,
            `final_answer`, `rlm_sub_complete`, `rlm_batch_complete`, and the run's own.
        retrieval: the tool that answers the `context_query` of a call; by default `search`, if the run has it.
        interrupt_before: nodes before which every run pauses; go on with `invoke(None, config)`.
        interrupt_after: nodes after which every run pauses.
        name: of the graph, as a node and in traces.

    The input is `{"question": str}` or `{"messages": [...]}`, with `context`: a text, a `Path` of a file or folder, a
    URL, or a list or dict of texts. The output has `messages`, `answer` and `usage`.

    Raises `SetupError` if a model, the executor, a tool, a specialist or the response format cannot be used.
    """
    settings = settings or ModelSettings()
    deeper = sub_model if isinstance(sub_model, Sequence) and not isinstance(sub_model, str) else [sub_model or model]
    folder = contexts or DataFolder(data_dir()).contexts(encrypted=False)
    kept = folder if isinstance(folder, ContextStore) else ContextStore(folder)
    functions = host_functions(tools)
    models = [chat_model(named, settings) for named in (model, *deeper)]
    parts = AgentParts(
        models=models,
        specialists=specialists(agents or {}, models=models, settings=settings),
        executor=create_executor(executor),
        budget=(caps or Caps()).applied(budget or Budget()),
        caps=caps or Caps(),
        tools=functions,
        memory={} if memory is None else memory_functions(memory, kept.cipher),
        retrieval=retrieval_of(functions, retrieval),
        protocol=protocol,
        approval=Approval(approve),
        settings=settings,
        replies=None if cache is None else ReplyCache(cache, settings.cache_ttl_s),
        contexts=kept,
        snapshots=SnapshotStore(snapshots_beside(kept.root), snapshots, cipher=kept.cipher),
        strict_replay=strict_replay,
        name=name,
    )
    return assemble(
        parts,
        answer_format=AnswerFormat(response_format),
        checkpointer=checkpointer,
        store=store,
        interrupt_before=list(interrupt_before),
        interrupt_after=list(interrupt_after),
    )
