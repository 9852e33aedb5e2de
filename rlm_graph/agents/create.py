"""What callers build an agent with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import SystemMessage
from langchain_core.tools import BaseTool
from langgraph.cache.base import BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from rlm_graph.agents.checking import check_arguments, check_companions
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.agents.keywords import with_old_names
from rlm_graph.agents.options import AgentOptions
from rlm_graph.agents.parts import AgentParts, assemble
from rlm_graph.agents.recording import check_saver
from rlm_graph.agents.specialists import AgentSpec, specialists
from rlm_graph.answers import AnswerFormat
from rlm_graph.approval import Approval, InterruptOn
from rlm_graph.budget import Budget
from rlm_graph.context import ContextStore
from rlm_graph.errors import SetupError
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import Executor
from rlm_graph.memory import memory_functions
from rlm_graph.models import ReplyCache, chat_model, model_name
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.settings import ExecutorSettings, MemorySettings, data_dir
from rlm_graph.storage.data_folder import DataFolder, snapshots_beside
from rlm_graph.tools import host_functions, retrieval_of


@with_old_names
def create_rlm_agent(
    model: str | BaseChatModel,
    tools: Sequence[BaseTool | Callable[..., Any]] = (),
    *,
    system_prompt: str | SystemMessage | None = None,
    sub_model: str | BaseChatModel | Sequence[str | BaseChatModel] | None = None,
    executor: str | ExecutorSettings | Executor = "local",
    subagents: Mapping[str, AgentSpec] | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
    response_format: type[Any] | UnionType | Mapping[str, Any] | None = None,
    interrupt_on: InterruptOn | None = None,
    memory: MemorySettings | None = None,
    checkpointer: BaseCheckpointSaver[Any] | bool | None = None,
    store: BaseStore | None = None,
    cache: BaseCache[Any] | None = None,
    name: str = "rlm",
    options: AgentOptions = AgentOptions(),
) -> RLMGraph:
    """Return the agent as a compiled graph: invoke it, stream it, or make it a node of a larger graph.

    Args:
        model: a litellm name such as `openai/gpt-5`, or any chat model.
        tools: functions of the host that code may call by name: LangChain tools, or functions with a docstring.
        system_prompt: what the agent is told about its task, besides how to work in the REPL. Agents that it asks are
            not told.
        sub_model: answers the calls that code makes; by default `model` does. A list names one for each depth of
            recursion; its last one serves all depths below.
        executor: where code runs: a kind, its settings, or an executor.
        subagents: specialists by name, for code to ask with `rlm_query(..., agent="name")`.
        budget: the ceilings of a run that is given none: a `Budget`, or a dict of its fields.
        response_format: a pydantic model, a dataclass, another type that pydantic can check, or a JSON schema that the
            answer must fit; the run then also returns it as `structured_response`.
        interrupt_on: what waits for a human: `"code"`, `"subcalls"`, a dict such as `{"code": True, "delete_file":
            True}` with `"code"`, `"llm_query"`, `"rlm_query"` and the names of tools, or a function that decides each
            `ApprovalRequest` and returns None for those that wait. A waiting run shows the request as its interrupt;
            go on with `Command(resume=...)` and a `Decision`. Where several wait, that answers the first of them, and a
            dict of decisions by the ids of interrupts those that it names. Needs a checkpointer.
        memory: whose notes of earlier runs code may read and write, in `store`; by default nobody's.
        checkpointer: with one, a run can be resumed: `invoke(None, config)`.
        store: LangGraph's store for what outlives a run.
        cache: LangGraph's cache, for replies of models: an equal request is then answered from it and costs nothing.
        name: of the graph, as a node and in traces.
        options: what most callers leave as it is; see `AgentOptions`.

    The input is `{"question": str}` or `{"messages": [...]}`, with `context`: a text, a `Path` of a file or folder, a
    `URL`, or a list or dict of texts or JSON values, and `budget`: the ceilings of this run, as above. The output has
    `messages`, `answer` and `usage`.

    Raises `SetupError` for an argument that cannot be used, such as a checkpointer that records too little, and for
    approval without a checkpointer or memory without a store, unless `options` say that a larger graph brings them.
    """
    check_arguments(
        model=model, sub_model=sub_model, tools=tools, subagents=subagents, memory=memory, checkpointer=checkpointer,
        store=store, cache=cache, name=name, options=options,
    )  # fmt: skip
    check_saver(checkpointer)
    settings, caps = options.models, options.caps
    deeper = sub_model if isinstance(sub_model, Sequence) and not isinstance(sub_model, str) else [sub_model or model]
    folder = options.contexts or DataFolder(data_dir()).contexts(encrypted=False)
    kept = folder if isinstance(folder, ContextStore) else ContextStore(folder)
    functions = host_functions(tools)
    notes = {} if memory is None else memory_functions(memory, kept.cipher)
    models = [chat_model(named, settings) for named in (model, *deeper)]
    experts = specialists(subagents or {}, models=models, settings=settings)
    theirs = [tool for one in experts.values() for tool in one.tools or ()]
    own = [one.model for one in experts.values() if one.model is not None]
    approval = Approval.of(interrupt_on, tools={*functions, *notes, *theirs})
    check_companions(options, approval=approval, memory=memory is not None, checkpointer=checkpointer, store=store)
    parts = AgentParts(
        models=models,
        known={model_name(named): named for named in (*own, *models)},
        system_prompt=_words(system_prompt),
        specialists=experts,
        executor=create_executor(executor),
        budget=caps.applied(Budget() if budget is None else Budget.of(budget, error=SetupError)),
        caps=caps,
        tools=functions,
        memory=notes,
        retrieval=retrieval_of(functions, options.retrieval),
        protocol=options.protocol,
        approval=approval,
        settings=settings,
        replies=None if cache is None else ReplyCache(cache, settings.cache_ttl_s),
        contexts=kept,
        snapshots=SnapshotStore(snapshots_beside(kept.root), options.snapshots, cipher=kept.cipher),
        strict_replay=options.strict_replay,
        name=name,
    )
    return assemble(
        parts,
        answer_format=AnswerFormat(response_format),
        checkpointer=checkpointer,
        store=store,
        interrupt_before=list(options.interrupt_before),
        interrupt_after=list(options.interrupt_after),
    )


def _words(system_prompt: str | SystemMessage | None) -> str | None:
    words = system_prompt.text if isinstance(system_prompt, SystemMessage) else system_prompt
    if words is not None and not isinstance(words, str):
        raise SetupError(f"system_prompt: give a text or a SystemMessage, not {type(words).__name__}")
    return words or None
