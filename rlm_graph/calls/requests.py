"""Requests: what a host call asks for, read from arguments that came out of a sandbox."""

from __future__ import annotations

import copy
import functools
import json
import operator
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AliasChoices,
    Field,
    InstanceOf,
    JsonValue,
    PositiveInt,
    SkipValidation,
    StringConstraints,
    ValidationError,
    field_validator,
)

from rlm_graph.budget import Budget
from rlm_graph.errors import InputError
from rlm_graph.executors.base import HostCall
from rlm_graph.executors.sandbox.worker.calls import MAX_BATCH
from rlm_graph.handed import TextAt, WholeContext
from rlm_graph.json_pieces import json_pieces, weight
from rlm_graph.value import Value

MODEL_CALLS = ("llm_query", "llm_query_batched", "rlm_query", "rlm_query_batched")
"""Host functions that ask a model. Every other host function is a tool."""

MAX_DESCRIBED_CHARS = 1 << 17
"""Characters of a tool's arguments that are shown, or counted, for those who watch a run."""
MAX_FOUND_CHARS = 200_000
"""Characters of what a retrieval tool has found that go before a prompt."""


class ModelRequest(Value):
    """One prompt to a sub-model."""

    prompt: str
    model: str | None = None
    """One of the names that the run was given; by default the sub-model."""
    system: str | None = None
    max_tokens: PositiveInt | None = None
    images: tuple[str, ...] = ()
    """As data URLs."""
    audio: tuple[str, ...] = ()
    """As data URLs."""
    agent: str | None = None
    """The specialist whose model and task this is, at the last level of recursion."""
    budget: Budget | None = None
    """What the code asked for, of which `max_tokens` and `timeout_s` bound one reply."""

    def about(self, context: str) -> ModelRequest:
        """Return the request with a text before its prompt: models attend to a question best at the end."""
        return self.model_copy(update={"prompt": f"{context}\n\n{self.prompt}"})


class ToolRequest(Value):
    """One call of a tool on the host."""

    tool: str
    arguments: SkipValidation[dict[str, JsonValue]]


Text = str | InstanceOf[TextAt]
"""A text itself, or the place where it lies."""
Context = Text | InstanceOf[WholeContext] | list[Text] | dict[str, Text]


class AgentRequest(Value):
    """One question for a whole agent below this one, with a REPL of its own."""

    question: str
    context: Context | None = None
    agent: str | None = None
    """The specialist that is asked; by default an agent like the one that asks."""
    model: str | None = None
    """One of the names that the run was given; by default the specialist's own, or that of the depth."""
    budget: Budget | None = None
    """The most that the code wants it to spend."""

    @property
    def levels(self) -> int | None:
        """Levels of recursion that the code allows below it."""
        return (
            self.budget.max_depth if self.budget is not None and "max_depth" in self.budget.model_fields_set else None
        )


Request = ModelRequest | ToolRequest | AgentRequest


Image = Annotated[str, StringConstraints(pattern=r"^data:image/")]
"""A URL that is no data URL would have the provider fetch it, and tell its server what code has written into it."""


Audio = Annotated[str, StringConstraints(pattern=r"^data:audio/")]


class _Options(Value):
    model: str | None = None
    system: str | None = None
    max_tokens: PositiveInt | None = None
    context_query: str | None = None
    """What a tool is asked before; see `CallScope`."""
    images: tuple[Image, ...] = ()
    audio: tuple[Audio, ...] = ()
    budget: Budget | None = None

    @field_validator("budget", mode="before")
    @classmethod
    def _fields_of_a_budget(cls, given: Any) -> Budget:
        try:
            return Budget.of(given)
        except InputError as error:
            raise TypeError(error.problem) from None

    def request(self, prompt: str, context: Context | None, specialist: str | None, *, agent: bool) -> Request:
        if not agent:
            options = {name: getattr(self, name) for name in _Options.model_fields if name != "context_query"}
            request = ModelRequest(prompt=prompt, agent=specialist, **options)
            return request if context is None else request.about(_text(context))
        if self.context_query is not None:
            raise TypeError("an agent looks for what it needs itself; only llm_query takes a context_query")
        return AgentRequest(question=prompt, context=context, agent=specialist, model=self.model, budget=self.budget)


class _Query(_Options):
    prompt: str = Field(validation_alias=AliasChoices("prompt", "question"))
    context: Context | None = None
    agent: str | None = None

    def requests(self, *, agent: bool) -> list[Request]:
        return [self.request(self.prompt, self.context, self.agent, agent=agent)]


class _Batch(_Options):
    prompts: list[str] = Field(validation_alias=AliasChoices("prompts", "questions"))
    contexts: list[Context | None] | None = None
    agent: str | list[str | None] | None = None
    return_exceptions: bool = False

    def requests(self, *, agent: bool) -> list[Request]:
        if len(self.prompts) > MAX_BATCH:
            raise TypeError(f"{len(self.prompts):,} prompts in one call; give at most {MAX_BATCH:,}")
        contexts = self.contexts or [None] * len(self.prompts)
        if len(contexts) != len(self.prompts):
            raise TypeError(f"{len(self.prompts)} questions but {len(contexts)} contexts")
        agents = self.agent if isinstance(self.agent, list) else [self.agent] * len(self.prompts)
        if len(agents) != len(self.prompts):
            raise TypeError(f"{len(self.prompts)} questions but {len(agents)} agents")
        return [self.request(*each, agent=agent) for each in zip(self.prompts, contexts, agents, strict=True)]


def read_requests(call: HostCall, *, recursive: bool) -> Sequence[Request]:
    """Read a call's arguments, which came from the sandbox. Raises `ValidationError` or `TypeError`.

    At the last level of recursion a question for an agent is one for a model.
    """
    given = {name: value for name, value in _with_places(call).items() if value is not None}
    if call.function not in MODEL_CALLS:
        # The call's arguments have been checked, which takes long for many values.
        return [ToolRequest.model_construct(tool=call.function, arguments=call.arguments)]
    if "agent" in given and not call.function.startswith("rlm_"):
        raise TypeError("only rlm_query asks an agent")
    if "budget" in given and not call.function.startswith("rlm_"):
        raise TypeError("only rlm_query takes a budget; max_tokens bounds a reply")
    agent = recursive and call.function.startswith("rlm_")
    form = _Batch if call.function.endswith("_batched") else _Query
    return form.model_validate(given).requests(agent=agent)


class Description(NamedTuple):
    """What is said of a request to those who watch a run or decide about it."""

    function: str
    """`llm_query`, `rlm_query` or the name of a tool."""
    agent: str | None
    """The specialist that is asked."""
    text: str
    """The prompt, the question, or the tool's arguments as JSON: of those that are very long, the beginning."""


def describe(request: Request) -> Description:
    """Say in words what a request is."""
    match request:
        case ToolRequest():
            return Description(request.tool, None, _beginning(request.arguments))
        case ModelRequest():
            return Description("llm_query" if request.agent is None else "rlm_query", request.agent, request.prompt)
        case AgentRequest():
            return Description("rlm_query", request.agent, request.question)


def _beginning(arguments: Mapping[str, JsonValue]) -> str:
    if weight(arguments, MAX_DESCRIBED_CHARS) < MAX_DESCRIBED_CHARS:
        return json.dumps(arguments, ensure_ascii=False)
    text = ""
    for piece in json_pieces(dict(arguments), ensure_ascii=False):
        text += piece
        if len(text) >= MAX_DESCRIBED_CHARS:
            break
    return text[:MAX_DESCRIBED_CHARS]


def unknown_agent(requests: Sequence[Request], known: Collection[str]) -> str | None:
    """Say which of the agents that are asked there is not; None if there are all."""
    for request in requests:
        name = None if isinstance(request, ToolRequest) else request.agent
        if name is not None and name not in known:
            return f"there is no agent {name!r}; {'there are: ' + ', '.join(known) if known else 'this run has none'}"
    return None


def unknown_model(name: str | None, known: Collection[str | None]) -> str | None:
    """Say that there is no model of that name, and which there are; None if there is."""
    if name is None or name in known:
        return None
    return f"no model {name!r} here; there are: {', '.join(each for each in known if each)}"


def _with_places(call: HostCall) -> dict[str, Any]:
    """Return the arguments with what is handed over by its place as that place."""
    if not call.handed:
        return call.arguments
    arguments: Any = copy.deepcopy(call.arguments)
    for handed in call.handed:
        *way, last = handed.path
        functools.reduce(operator.getitem, way, arguments)[last] = handed.text
    return dict(arguments)


def whole_arguments(call: HostCall) -> dict[str, Any]:
    """Return the arguments with each text in its place. Blocks."""
    arguments: Any = copy.deepcopy(call.arguments)
    for handed in call.handed:
        *way, last = handed.path
        functools.reduce(operator.getitem, way, arguments)[last] = handed.text.read()
    return dict(arguments)


def _text(context: Context) -> str:
    if isinstance(context, WholeContext):
        return _text(context.read())  # type: ignore[arg-type]  # texts are among what a context can be
    if isinstance(context, list):
        return "\n\n".join(map(_read, context))
    if isinstance(context, dict):
        return "\n\n".join(f"{name}:\n{_read(text)}" for name, text in context.items())
    return _read(context)


def _read(text: Text) -> str:
    return text if isinstance(text, str) else text.read()


def as_context(found: JsonValue) -> str:
    """Write what a retrieval tool has found as the text that goes before a prompt."""
    if isinstance(found, str):
        text = found
    elif isinstance(found, list) and found and all(isinstance(each, dict) and "text" in each for each in found):
        text = "\n\n".join(_passage(each) for each in found if isinstance(each, dict))
    else:
        text = json.dumps(found, ensure_ascii=False)
    return text[:MAX_FOUND_CHARS]


def _passage(found: dict[str, JsonValue]) -> str:
    place = ":".join(str(found[key]) for key in ("path", "line") if key in found)
    return f"{place}\n{found['text']}" if place else str(found["text"])


def words_of(error: ValidationError | TypeError) -> str:
    """Say in a line what is wrong with a call's arguments."""
    if isinstance(error, TypeError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
