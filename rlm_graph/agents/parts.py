"""What an agent is made of, and the agents below it: models, executor, tools, budget, and the nodes to be wired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable

from rlm_graph import runnables
from rlm_graph.agents.graph import RLMGraph
from rlm_graph.agents.intake import Intake
from rlm_graph.agents.long_messages import most_chars
from rlm_graph.answers import AnswerFormat
from rlm_graph.approval import Approval
from rlm_graph.budget import Budget, Caps
from rlm_graph.calls.specialist import Specialist
from rlm_graph.calls.subcalls import Subcalls
from rlm_graph.channels import state_schema
from rlm_graph.context import ContextStore
from rlm_graph.events.emitting import with_events
from rlm_graph.executors.base import Executor
from rlm_graph.graphs.agent import agent_graph
from rlm_graph.graphs.subcall import create_subcall
from rlm_graph.langgraph_internals import stay_quiet_about
from rlm_graph.models import ReplyCache, profile, retry_policy, window
from rlm_graph.nodes.act import act
from rlm_graph.nodes.approve import approve
from rlm_graph.nodes.changes import writing_changes
from rlm_graph.nodes.failing import CostlyFailures
from rlm_graph.nodes.finalize import finalize
from rlm_graph.nodes.observe import observe
from rlm_graph.nodes.recording import recorded
from rlm_graph.nodes.think import think
from rlm_graph.prompts import system_prompt
from rlm_graph.recovery.snapshots import SnapshotStore
from rlm_graph.settings import ModelSettings, Protocol
from rlm_graph.state import STORED_TYPES
from rlm_graph.tools import HostFunction, OfferedTools, retrieval_of


@dataclass(frozen=True)
class AgentParts:
    """What an agent and all agents below it have in common."""

    models: Sequence[BaseChatModel]
    """By depth: the root model, that of its calls, that of theirs; the last one serves all depths below."""
    known: Mapping[str, BaseChatModel]
    """By the names that code may give as `model=`: those, and the specialists' own."""
    system_prompt: str | None
    """What the root is told of its task, besides how to work in the REPL."""
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

    def asked(self, name: str | None, depth: int, *, model: str | None, max_depth: int | None) -> AgentParts:
        """Return what the agent of that depth has when it is asked as the specialist of that name, or as none.

        `model` names the one that thinks at that depth in the place of the specialist's or the depth's own, `max_depth`
        are the levels that the call allows below.
        """
        one = None if name is None else self.specialists[name]
        models = [self.model(level) for level in range(max(depth + 2, len(self.models)))]
        models[depth] = self.known[model] if model is not None else (one and one.model) or models[depth]
        levels = [max_depth, one.budget.max_depth if one is not None and one.budget is not None else None]
        depths = [self.budget.max_depth, *(depth + allowed for allowed in levels if allowed is not None)]
        asked = replace(
            self,
            models=models,
            system_prompt=None,
            budget=self.budget.model_copy(update={"max_depth": min(depths)}),
            specialist=one,
        )
        if one is None:
            return asked
        return replace(
            asked,
            executor=one.executor or self.executor,
            tools=self.tools if one.tools is None else one.tools,
            memory=self.memory if one.memory else {},
            retrieval=self.retrieval if one.tools is None else self._retrieval_among(one.tools),
        )

    def _retrieval_among(self, tools: Mapping[str, HostFunction]) -> HostFunction | None:
        return (self.retrieval and tools.get(self.retrieval.name)) or retrieval_of(tools, None)


def assemble(parts: AgentParts, *, depth: int = 0, answer_format: AnswerFormat, **options: Any) -> RLMGraph:
    """Build the agent of one depth; the one below it is built when it is first asked."""
    model, sub_model = parts.model(depth), parts.model(depth + 1)
    retry = retry_policy(parts.settings)
    window_tokens = window(model, parts.settings)
    functions = {**parts.tools, **parts.memory}
    native = OfferedTools(functions, answer_format.schema, parts.retrieval) if parts.protocol == "tools" else None
    small = profile(model, parts.settings) == "small"
    named = parts.specialist.name if parts.specialist else ""
    prompt = system_prompt(
        profile="small" if small else "standard",
        tools=[(function.signature, function.description) for function in parts.tools.values()],
        depth=depth,
        max_depth=parts.budget.max_depth,
        memory=bool(parts.memory),
        answer_schema=answer_format.schema,
        native=native is not None,
        retrieval=None if parts.retrieval is None else parts.retrieval.name,
        specialists=[(one.name, one.description) for one in parts.specialists.values()],
        role=parts.specialist.role if parts.specialist else parts.system_prompt,
    )

    @cache
    def below(name: str | None, model: str | None, max_depth: int | None) -> RLMGraph:
        asked = parts.asked(name, depth + 1, model=model, max_depth=max_depth)
        return assemble(asked, depth=depth + 1, answer_format=AnswerFormat())

    subcalls = Subcalls(
        create_subcall(
            {None: sub_model, **dict(parts.known.items())},
            tools=functions,
            retry=retry,
            approval=parts.approval,
            agent=lambda asked: below(asked.agent, asked.model, asked.levels),
            replies=parts.replies,
            specialists=parts.specialists,
        ),
        tools=functions,
        retrieval=parts.retrieval,
        agents=parts.specialists,
        approval=parts.approval,
        store=parts.contexts,
        max_concurrency=parts.settings.max_concurrency,
        batch_loops=parts.settings.batch_loops,
    )
    failures = CostlyFailures(retry)
    nodes: dict[str, Runnable[Any, Any]] = {
        "observe": runnables.node(
            recorded(writing_changes(observe), "repeatable"),
            models=(model, sub_model, *parts.known.values()),
            budget=parts.budget,
            caps=parts.caps,
            window_tokens=window_tokens,
            native=native is not None,
        ),
        "think": runnables.node(
            recorded(writing_changes(with_events(think)), "whole"),
            model=model,
            system_prompt=prompt,
            window_tokens=window_tokens,
            wants_code=small,
            failures=failures,
            native=native,
            replies=parts.replies,
        ),
        "act": runnables.node(
            recorded(writing_changes(with_events(act)), "repeatable"),
            executor=parts.executor,
            subcalls=subcalls,
            store=parts.contexts,
            snapshots=parts.snapshots,
            strict_replay=parts.strict_replay,
        ),
        "finalize": runnables.node(
            recorded(writing_changes(with_events(finalize)), "whole"),
            model=model,
            system_prompt=prompt,
            window_tokens=window_tokens,
            executor=parts.executor,
            snapshots=parts.snapshots,
            answer_format=answer_format,
            store=parts.contexts,
            native=native,
        ),
    }
    if parts.approval.of_code:
        nodes["approve"] = runnables.node(approve, approval=parts.approval, agent=named)
    graph = agent_graph(nodes, schema=state_schema(answer_format.type), retry=failures.retry)
    stay_quiet_about([*STORED_TYPES, *([answer_format.type] if answer_format.type else ())])
    intake = Intake(parts.contexts, most_chars(window_tokens))
    return RLMGraph.of(graph.compile(name=named or parts.name, **options), intake)
