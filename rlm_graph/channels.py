"""The state of a run, and how LangGraph keeps it: its channels, what a caller gives, and what a run returns."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add
from types import new_class
from typing import Annotated, Any, NotRequired, Self, Union

from langchain_core.messages import AnyMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.channels.last_value import LastValue
from langgraph.graph.message import add_messages
from pydantic import TypeAdapter
from pydantic.json_schema import SkipJsonSchema
from typing_extensions import TypedDict

from rlm_graph.budget import Budget, Ceiling, Usage
from rlm_graph.state import (
    FROM_MESSAGE,
    Answer,
    Cell,
    ContextRef,
    FinalAnswer,
    NativeCall,
    PendingToolCall,
    ReplHandle,
    Turn,
)
from rlm_graph.typed_answer import TypedAnswer, as_typed


def extend(items: list[Any], writes: Sequence[list[Any]]) -> list[Any]:
    """Append each write in turn: the reducer of the channels that only grow."""
    return [*items, *(item for write in writes for item in write)]


def extend_contexts(items: list[ContextRef], writes: Sequence[list[ContextRef]]) -> list[ContextRef]:
    """Append each write in turn, but a message's material only once: front ends send the whole conversation again."""
    extended = list(items)
    known = {ref.sha256 for ref in items if _is_from_message(ref)}
    for ref in (ref for write in writes for ref in write):
        if _is_from_message(ref):
            if ref.sha256 in known:
                continue
            known.add(ref.sha256)
        extended.append(ref)
    return extended


def _is_from_message(ref: ContextRef) -> bool:
    return bool(ref.notes) and ref.notes[0].startswith(FROM_MESSAGE)


class LastWriteWins(LastValue[Any]):
    """Holds the last of the values that one step wrote.

    A run that is taken up with another budget, stopped, and taken up with yet another one before it took a step, has
    both in its checkpoint: `LastValue` refuses that.
    """

    __slots__ = ()

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last value."""
        return super().update(values[-1:])


class BoxedText(LastValue[Any]):
    """Holds a value that may be a plain text, and stores it as one that is not.

    LangGraph's PostgreSQL saver puts plain texts and numbers past the serializer into a JSON column: one that encrypts
    does not see them, and PostgreSQL refuses a text with a NUL or a lone surrogate there, and with it the checkpoint.
    """

    __slots__ = ()

    def checkpoint(self) -> Any:
        """Return the value in a list of its own."""
        value = super().checkpoint()
        return [value] if self.is_available() else value

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Read what `checkpoint` has returned."""
        return super().from_checkpoint(checkpoint[0] if isinstance(checkpoint, list) else checkpoint)


class TypedAnswerChannel(LastValue[Any]):
    """Holds the typed answer to the last question, and is empty if that has none.

    What is written is a `TypedAnswer`, or None for none; version 0.1.0 wrote the object itself, as whoever edits the
    state may.
    """

    __slots__ = ("_adapter", "_object")

    def __init__(self, typ: Any, key: str = "", adapter: TypeAdapter[Any] | None = None) -> None:
        super().__init__(typ, key)
        self._adapter = adapter
        self._object: Any = _NOTHING

    @property
    def UpdateType(self) -> Any:
        """The type of what is written, which a strict serializer allows."""
        return Union[TypedAnswer, self.typ]  # noqa: UP007  # a form need not be a class

    def copy(self) -> Self:
        """Return a copy of the channel."""
        copied = self.__class__(self.typ, self.key, self._adapter)
        copied.value, copied._object = self.value, self._object
        return copied

    def update(self, values: Sequence[Any]) -> bool:
        """Take the last value; None empties the channel."""
        if not values:
            return False
        self.value = self.__class__(self.typ, self.key).value if values[-1] is None else values[-1]
        self._object = _NOTHING
        return True

    def get(self) -> Any:
        """Return the object."""
        value = super().get()
        if self._object is _NOTHING:
            self._object = self.opened(value)
        return self._object

    def opened(self, value: Any) -> Any:
        """Return the object for what was written.

        The JSON itself where the type has changed since and does not take it any more: the run can still be read.
        """
        if not isinstance(value, TypedAnswer) or value.kept is not None:
            return value  # what lies in a file is opened by `rlm_graph.agents.opened`
        if self._adapter is None:
            return value.value
        try:
            return as_typed(self._adapter, value.value)
        except Exception:  # it took the value once; what the validators of another version raise is not known
            return value.value

    def checkpoint(self) -> Any:
        """Return the value in a list of its own: see `BoxedText`."""
        value = super().checkpoint()
        return [value] if self.is_available() else value

    def from_checkpoint(self, checkpoint: Any) -> Self:
        """Read what `checkpoint` has returned."""
        read = super().from_checkpoint(checkpoint[0] if isinstance(checkpoint, list) else checkpoint)
        read._adapter = self._adapter
        return read


_NOTHING = object()


class RLMInput(TypedDict, total=False):
    """What a caller gives a run: a question, in words or as the last human message, and perhaps a long context."""

    messages: list[AnyMessage]
    question: str
    context: Any
    """A text, a `Path` of a file or folder, a `URL`, a list or a dict of texts or JSON values; taken in before anything
    is stored. A text is never read as a path or an address, for it may come from anywhere."""
    budget: Budget | SkipJsonSchema[dict[str, Any]]
    """The ceilings of this run, as a budget or as a dict of its fields such as `{"max_turns": 3}`."""


class GraphInput(TypedDict, total=False):
    """What becomes of the input before the graph sees it: the question is a message, the context a reference."""

    messages: list[AnyMessage]
    contexts: list[ContextRef]
    budget: Budget


SNAPSHOT_EVERY = 500
"""Updates of a list after which a checkpoint holds all of it again: a state is read from at most so many writes."""


class RLMState(TypedDict):
    """Everything a resumed run needs, and nothing that cannot be stored.

    Live objects (models, executors) belong to the graph that `create_rlm_agent` built.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation as a user sees it: questions and answers."""
    contexts: Annotated[list[ContextRef], DeltaChannel(extend_contexts, snapshot_frequency=SNAPSHOT_EVERY)]
    dialogue: Annotated[list[AnyMessage], DeltaChannel(extend, snapshot_frequency=SNAPSHOT_EVERY)]
    """What the root model reads and writes: observations and its replies, verbatim."""
    window: NotRequired[int]
    """Tokens that the root model can read, where its provider has refused what should have fitted."""
    seen: int
    """How many of `messages` the dialogue already holds. Runs of version 0.1.0 have no more than that: where messages
    were removed or edited since, the count finds the wrong ones."""
    asked: NotRequired[str]
    """Which question is worked on: see `rlm_graph.nodes.questions`."""
    told: NotRequired[str]
    """The id of the last of `messages` that the dialogue holds, or that is its answer."""
    turns: Annotated[list[Turn], DeltaChannel(extend, snapshot_frequency=SNAPSHOT_EVERY)]
    cells: list[Cell]
    """Code of the last reply that has not run yet."""
    native: NotRequired[list[PendingToolCall | NativeCall]]
    """Tool calls of the last reply that have not been answered yet."""
    notes: list[str]
    """What of the last reply was not taken, and why; told to the model with the output of its code."""
    final: FinalAnswer | None
    """The answer that code or prose has claimed."""
    problem: Annotated[str | None, BoxedText]
    """What was wrong with the last reply, to be told to the model."""
    corrections: int
    """Replies in a row that held neither code nor an answer."""
    misfits: int
    """Answers to this question that were not of the form that was asked for."""
    failures: NotRequired[list[str]]
    """Ids of the requests to the root model, in a row and the last ones so far, that failed though they had cost
    something."""
    repl: ReplHandle | None
    budget: Annotated[Budget, LastWriteWins]
    usage: Annotated[Usage, add]
    """Of this question; `earlier_subcalls` were made for those before it."""
    earlier_subcalls: NotRequired[int]
    ceiling: Ceiling | None
    """The ceiling that was met."""
    answer: Answer | None
    structured_response: NotRequired[Annotated[Any, TypedAnswerChannel]]


def state_schema(answer_type: Any) -> type:
    """Return the state of an agent whose typed answers are of `answer_type`.

    LangGraph allows a strict serializer the types that it finds in the schema, so the answer's type must stand there:
    version 0.1.0 recorded the object itself.
    """
    if answer_type is None:
        return RLMState
    channel = TypedAnswerChannel(answer_type, adapter=TypeAdapter(answer_type))
    schema: type = new_class(
        "TypedRLMState",
        (RLMState,),
        exec_body=lambda body: body.update(
            __annotations__={"structured_response": NotRequired[Annotated[answer_type, channel]]}, __module__=__name__
        ),
    )
    return schema


GATHERING = frozenset({"messages", "contexts", "dialogue", "turns", "usage", "budget"})
"""Channels of `RLMState` in which a write is not simply the new value. The budget is one: a caller who resumes may
write it in the step in which a node does, whose write counts."""


class RLMOutput(TypedDict):
    """What a run returns."""

    messages: list[AnyMessage]
    answer: Answer
    usage: Usage
    structured_response: NotRequired[Any]
    """The answer as an object of `response_format`, where the agent has one."""


RLMUpdate = dict[str, Any]
"""What a node changed, by the state's keys."""
