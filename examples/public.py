"""The whole public face in one program: what each name of `rlm_graph` is for. Type checkers hold its types.

python examples/public.py [MODEL]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from pydantic import BaseModel

from rlm_graph import (
    STORED_TYPES,
    URL,
    AgentOptions,
    AgentSpec,
    Answer,
    AnswerEvent,
    ApprovalRequest,
    Budget,
    BudgetEvent,
    BudgetExceeded,
    CallEvent,
    Caps,
    CellEvent,
    ContextRef,
    ContextSettings,
    ContextStore,
    Decision,
    DockerSettings,
    E2BSettings,
    Event,
    Executor,
    ExecutorError,
    ExecutorSettings,
    Hint,
    InputError,
    InterruptOn,
    LocalSettings,
    MCPServers,
    MCPSettings,
    MemorySettings,
    ModelError,
    ModelPrice,
    ModelSettings,
    OutputEvent,
    PluginExecutorSettings,
    PoolSettings,
    PyodideSettings,
    ReplLostError,
    RLMError,
    RLMGraph,
    RLMInput,
    RLMOutput,
    RunHeldError,
    RunNotFoundError,
    Settings,
    SetupError,
    SnapshotSettings,
    StorageError,
    SubcallEvent,
    TurnEvent,
    Usage,
    chat_model,
    create_rlm_agent,
)
from rlm_graph.testing import ScriptedModel

PLACES: dict[str, ExecutorSettings] = {
    "here": LocalSettings(cell_timeout_s=30),
    "container": DockerSettings(),
    "wasm": PyodideSettings(),
    "cloud": E2BSettings(),
}
"""Where code may run."""


class Count(BaseModel):
    """The form of the answer."""

    lines: int


def population(city: str) -> int:
    """Return how many people live in a city."""
    return len(city)


def policy(request: ApprovalRequest) -> Decision | None:
    """Let calls pass, refuse code that deletes, and ask a human about all other code."""
    if request.kind == "subcall":
        return Decision()
    if any("unlink" in cell for cell in request.cells):
        return Decision(approve=False, reason="nothing is deleted here")
    return None


def models(folder: Path) -> AgentOptions:
    """Choose what most callers leave as it is."""
    return AgentOptions(
        models=ModelSettings(
            pools={"main": PoolSettings(models=("openai/gpt-5", "anthropic/claude-sonnet-4-5"))},
            prices={"openai/gpt-5": ModelPrice(input_usd=1.25, output_usd=10.0)},
        ),
        caps=Caps(max_turns=20),
        contexts=ContextStore(folder / "contexts", ContextSettings(sources=("url",))),
        snapshots=SnapshotSettings(after_s=1.0),
        interrupt_before=[],
    )


def build(
    model: str | BaseChatModel,
    folder: Path,
    *,
    place: str | ExecutorSettings | PluginExecutorSettings | Executor = PLACES["here"],
    interrupt_on: InterruptOn = policy,
) -> RLMGraph:
    """Return an agent that uses every parameter."""
    saver = InMemorySaver(serde=JsonPlusSerializer(allowed_msgpack_modules=[*STORED_TYPES, Count]))
    return create_rlm_agent(
        model,
        [population],
        system_prompt="You count lines, and nothing else.",
        sub_model=[model],
        executor=place,
        subagents={
            "reader": AgentSpec(description="reads", tools=[], budget={"max_turns": 3}),
            "writer": AgentSpec(model=model, memory=False, executor=PLACES["here"], budget=Budget(max_turns=2)),
        },
        budget={"max_turns": 8, "max_depth": 2},
        response_format=Count,
        interrupt_on=interrupt_on,
        memory=MemorySettings(user="ann", project="counting"),
        checkpointer=saver,
        store=InMemoryStore(),
        name="counter",
        options=models(folder),
    )


def told(event: Event) -> str:
    """Put an event of a run into a line."""
    match event:
        case TurnEvent(number=number):
            return f"turn {number}"
        case CellEvent(code=code):
            return f"code of {len(code)} characters"
        case OutputEvent(status=status):
            return f"it ran: {status}"
        case CallEvent(function=function) | SubcallEvent(function=function):
            return f"call of {function}"
        case BudgetEvent(spent=spent):
            return f"{spent.turns} turns so far"
        case AnswerEvent(text=text):
            return f"answer {text}"
        case _:
            return event.call_id


def advice(error: RLMError) -> str:
    """Say what can be done about an error: for a program, each hint is an action and what it is done to."""
    match error:
        case BudgetExceeded(ceiling=ceiling):
            return f"raise {ceiling}"
        case RunHeldError(run=run):
            return f"wait for {run}"
        case ModelError(retryable=True) | ExecutorError() | ReplLostError() | StorageError():
            return "try again"
        case InputError() | RunNotFoundError() | SetupError():
            return "change what was given"
        case _:
            hint: Hint | None = error.hint
            return "" if hint is None else hint.action


def run(agent: RLMGraph, context: str | Path | URL | ContextRef) -> tuple[Answer, Usage]:
    """Ask a question, watch the run, and approve its code as often as it waits."""
    config: RunnableConfig = {"configurable": {"thread_id": "counting"}}
    given: RLMInput | Command[Any] = {
        "question": "How many lines has the text?",
        "context": context,
        "budget": {"max_turns": 4, "max_depth": 1},
    }
    waits = True
    while waits:
        for event in agent.stream(given, config, stream_mode="custom"):
            print(told(event))
        waits = bool(agent.get_state(config).interrupts)
        given = Command(resume=Decision())
    output = cast(RLMOutput, agent.get_state(config).values)
    return output["answer"], output["usage"]


def with_servers(model: str) -> RLMGraph:
    """Build an agent from the settings of this machine, with the tools of an MCP server."""
    settings = Settings.load()
    servers = MCPServers({"weather": MCPSettings(command="weather-server")})
    return create_rlm_agent(
        chat_model(model, settings.models), servers.tools(), options=AgentOptions(models=settings.models)
    )


def scripted() -> ScriptedModel:
    """Stand for a model, so that the example runs without a key."""
    return ScriptedModel(["```repl\nFINAL({'lines': len(context.splitlines())})\n```"])


def main() -> None:
    """Count the lines of this file."""
    model: str | BaseChatModel = sys.argv[1] if len(sys.argv) > 1 else scripted()
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer, usage = run(build(model, Path(folder)), Path(__file__))
        except RLMError as error:
            sys.exit(f"{error} ({advice(error)})")
    print(answer.text, f"after {usage.turns} turn(s)")


if __name__ == "__main__":
    main()
