"""The workflow of an agent: observe → think → act, round and round, then finalize."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import BaseTool
from langgraph.cache.base import BaseCache
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore
from langgraph.types import Checkpointer

from rlm_graph import bridge
from rlm_graph.answers import AnswerFormat
from rlm_graph.approval import Approval, Approve
from rlm_graph.budget import Budget, Caps
from rlm_graph.context import ContextStore
from rlm_graph.events import telling
from rlm_graph.executors import create_executor
from rlm_graph.executors.base import Executor
from rlm_graph.graphs.subcall import create_subcall
from rlm_graph.intake import RLMGraph
from rlm_graph.memory import memory_functions
from rlm_graph.models import ReplyCache, chat_model, model_name, profile, retry_policy, window
from rlm_graph.nodes.act import act
from rlm_graph.nodes.approve import approve as approve_node
from rlm_graph.nodes.finalize import finalize
from rlm_graph.nodes.observe import observe
from rlm_graph.nodes.routing import route_after_act, route_after_approve, route_after_finalize, route_after_think
from rlm_graph.nodes.think import think
from rlm_graph.prompts import system_prompt
from rlm_graph.settings import ExecutorSettings, MemorySettings, ModelSettings, Protocol, SnapshotSettings, data_dir
from rlm_graph.snapshots import SnapshotStore
from rlm_graph.specialists import AgentSpec, Specialist, specialists
from rlm_graph.state import RLMIntake, RLMOutput, state_schema
from rlm_graph.subcalls import Subcalls
from rlm_graph.tools import HostFunction, NativeTools, host_functions, retrieval_of


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
    kept = contexts if isinstance(contexts, ContextStore) else ContextStore(contexts or data_dir() / "contexts")
    functions = host_functions(tools)
    models = [chat_model(named, settings) for named in (model, *deeper)]
    shared = Shared(
        models=models,
        specialists=specialists(agents or {}, models=models, settings=settings),
        executor=create_executor(executor),
        budget=(caps or Caps()).applied(budget or Budget()),
        caps=caps or Caps(),
        tools=functions,
        memory={} if memory is None else memory_functions(memory, kept.vault),
        retrieval=retrieval_of(functions, retrieval),
        protocol=protocol,
        approval=Approval(approve),
        settings=settings,
        replies=None if cache is None else ReplyCache(cache, settings.cache_ttl_s),
        contexts=kept,
        snapshots=SnapshotStore(kept.root.parent / "snapshots", snapshots, vault=kept.vault),
        strict_replay=strict_replay,
        name=name,
    )
    return assemble(
        shared,
        answer_format=AnswerFormat(response_format),
        checkpointer=checkpointer,
        store=store,
        interrupt_before=list(interrupt_before),
        interrupt_after=list(interrupt_after),
    )


@dataclass(frozen=True)
class Shared:
    """What an agent and all agents below it have in common."""

    models: Sequence[BaseChatModel]
    """By depth: the root model, that of its calls, that of theirs; the last one serves all depths below."""
    specialists: Mapping[str, Specialist]
    executor: Executor
    budget: Budget
    caps: Caps
    tools: Mapping[str, HostFunction]
    memory: Mapping[str, HostFunction]
    retrieval: HostFunction | None
    protocol: Protocol
    approval: Approval
    settings: ModelSettings
    replies: ReplyCache | None
    contexts: ContextStore
    snapshots: SnapshotStore
    strict_replay: bool
    name: str
    specialist: Specialist | None = None
    """Whose part this agent has, if it is one of the specialists."""

    def model(self, depth: int) -> BaseChatModel:
        """Return the model that thinks at that depth."""
        return self.models[min(depth, len(self.models) - 1)]

    def asked(self, name: str | None, depth: int) -> Shared:
        """Return what the agent of that depth has when it is asked as the specialist of that name, or as none."""
        if name is None:
            return replace(self, specialist=None)
        one = self.specialists[name]
        models = [self.model(level) for level in range(max(depth + 2, len(self.models)))]
        models[depth] = one.model or models[depth]
        depths = [self.budget.max_depth, *([] if one.budget is None else [depth + one.budget.max_depth])]
        return replace(
            self,
            models=models,
            executor=one.executor or self.executor,
            tools=self.tools if one.tools is None else one.tools,
            memory=self.memory if one.memory else {},
            retrieval=self.retrieval if one.tools is None else self._retrieval_among(one.tools),
            budget=self.budget.model_copy(update={"max_depth": min(depths)}),
            specialist=one,
        )

    def _retrieval_among(self, tools: Mapping[str, HostFunction]) -> HostFunction | None:
        return (self.retrieval and tools.get(self.retrieval.name)) or retrieval_of(tools, None)


def assemble(shared: Shared, *, depth: int = 0, answer_format: AnswerFormat, **options: Any) -> RLMGraph:
    """Wire the agent of one depth; the one below it is wired when it is first asked."""
    model, sub_model = shared.model(depth), shared.model(depth + 1)
    retry = retry_policy(shared.settings)
    window_tokens = window(model, shared.settings)
    functions = {**shared.tools, **shared.memory}
    native = NativeTools(functions, answer_format.schema, shared.retrieval) if shared.protocol == "tools" else None
    small = profile(model, shared.settings) == "small"
    named = shared.specialist.name if shared.specialist else ""
    prompt = system_prompt(
        profile="small" if small else "standard",
        tools=[(function.signature, function.description) for function in shared.tools.values()],
        depth=depth,
        max_depth=shared.budget.max_depth,
        memory=bool(shared.memory),
        answer_schema=answer_format.schema,
        native=native is not None,
        retrieval=None if shared.retrieval is None else shared.retrieval.name,
        specialists=[(one.name, one.description) for one in shared.specialists.values()],
        role=shared.specialist.role if shared.specialist else None,
    )
    below = cache(lambda name: assemble(shared.asked(name, depth + 1), depth=depth + 1, answer_format=AnswerFormat()))
    subcalls = Subcalls(
        create_subcall(
            {None: sub_model, **{model_name(named): named for named in shared.models}},
            tools=functions,
            retry=retry,
            approval=shared.approval,
            agent=below,
            replies=shared.replies,
            specialists=shared.specialists,
        ),
        tools=functions,
        retrieval=shared.retrieval,
        agents=shared.specialists,
        max_concurrency=shared.settings.max_concurrency,
    )
    work = {
        "observe": bridge.node(
            observe,
            models=(model, sub_model, *(one.model for one in shared.specialists.values() if one.model)),
            budget=shared.budget,
            caps=shared.caps,
            window_tokens=window_tokens,
            native=native is not None,
        ),
        "think": bridge.node(
            telling(think),
            model=model,
            system_prompt=prompt,
            window_tokens=window_tokens,
            wants_code=small,
            native=native,
            replies=shared.replies,
        ),
        "act": bridge.node(
            telling(act),
            executor=shared.executor,
            subcalls=subcalls,
            store=shared.contexts,
            snapshots=shared.snapshots,
            strict_replay=shared.strict_replay,
        ),
        "finalize": bridge.node(
            telling(finalize),
            model=model,
            system_prompt=prompt,
            window_tokens=window_tokens,
            executor=shared.executor,
            snapshots=shared.snapshots,
            answer_format=answer_format,
            native=native,
        ),
    }

    graph: StateGraph[Any, Any, Any, Any] = StateGraph(
        state_schema(answer_format.type), input_schema=RLMIntake, output_schema=RLMOutput
    )
    graph.add_node("observe", work["observe"])
    graph.add_node("think", work["think"], retry_policy=retry)
    graph.add_node("act", work["act"])
    graph.add_node("finalize", work["finalize"])
    graph.add_edge(START, "observe")
    graph.add_edge("observe", "think")
    if shared.approval.of_code:
        graph.add_node("approve", bridge.node(approve_node, approval=shared.approval, agent=named))
        graph.add_conditional_edges(
            "think", route_after_think, {"act": "approve", "observe": "observe", "finalize": "finalize"}
        )
        graph.add_conditional_edges("approve", route_after_approve)
    else:
        graph.add_conditional_edges("think", route_after_think)
    graph.add_conditional_edges("act", route_after_act)
    graph.add_conditional_edges("finalize", route_after_finalize)
    return RLMGraph.of(graph.compile(name=named or shared.name, **options), shared.contexts)
