"""Intake: what a caller gives a run → what the run's state can hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage
from langgraph.types import Command
from pydantic import BaseModel

from rlm_graph.agents.long_messages import shortened
from rlm_graph.budget import Budget
from rlm_graph.channels import GraphInput, RLMInput, RLMOutput
from rlm_graph.context import ContextStore
from rlm_graph.errors import InputError, nearest
from rlm_graph.state import ContextRef
from rlm_graph.surrogates import whole

_KEYS = frozenset(RLMInput.__annotations__) | frozenset(GraphInput.__annotations__)
_IGNORED = frozenset(RLMOutput.__annotations__)
"""A run's result may be given to another run."""


class _TakenState(dict[str, Any]):
    """A state that was taken in. A result is streamed inside, and a second look could take marks for a long message."""


@dataclass(frozen=True)
class Taken:
    """An input as LangGraph may see it."""

    input: Any
    given: Mapping[str, BaseMessage] = field(default_factory=dict)
    """Messages that the input holds in a shorter form, as they were given, by their ids."""


@dataclass(frozen=True)
class Intake:
    """Takes inputs in: contexts, and the material of long messages, go into the store; references go on."""

    contexts: ContextStore
    max_chars: int
    """Characters of a message's text that are not taken for a context."""

    def taken(self, given: Any, *, nested: bool) -> Taken:
        """Take in what a caller has given, a `Command` too. Taking in what was taken in changes nothing. Blocks.

        A `nested` run is a node of a larger graph and given all of its state; any other is given nothing that it does
        not know. Raises `InputError` for what cannot be used.
        """
        if isinstance(given, _TakenState):
            return Taken(given)
        if isinstance(given, Command):
            if not isinstance(given.update, dict) or isinstance(given.update, _TakenState):
                return Taken(given)
            taken = self._state_of(given.update)
            return Taken(Command(**{**vars(given), "update": taken.input}), taken.given)
        if nested:
            given = _fields(given)
        if not isinstance(given, dict):
            return Taken(given)
        _check_contexts(given, nested=nested)
        if not nested:
            _check_keys(given)
        return self._state_of(given)

    def written(self, values: Any) -> Any:
        """Take in what is written into the state of a run by hand."""
        if not isinstance(values, dict) or not values.keys() & {"messages", "question", "context"}:
            return values
        return self._state_of(values).input

    def _state_of(self, given: Mapping[str, Any]) -> Taken:
        state = {key: value for key, value in given.items() if key not in ("question", "context")}
        question, context = given.get("question"), given.get("context")
        messages = state.get("messages")
        if question is not None:
            before = messages if isinstance(messages, list) else [] if messages is None else [messages]
            messages = state["messages"] = [*before, HumanMessage(_question(question))]
        if state.get("budget") is not None:
            state["budget"] = Budget.of(state["budget"])
        else:
            state.pop("budget", None)
        found: list[ContextRef] = []
        originals: Mapping[str, BaseMessage] = {}
        if messages is not None:
            short = shortened(
                messages if isinstance(messages, list) else [messages], self.max_chars, self.contexts.take
            )
            if short.contexts:
                state["messages"], originals = short.messages, short.given
                found += short.contexts
        if context is not None:
            found.append(self.contexts.take(context))
        if found:
            state["contexts"] = [*(state.get("contexts") or ()), *found]
        return Taken(_TakenState(state), originals)


def _question(question: Any) -> str:
    if not isinstance(question, str):
        raise InputError(f"the question is of type {type(question).__name__}: give it in words, as a text")
    if not question.strip():
        raise InputError("the question is empty: give it in words")
    return whole(question)


def _check_keys(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _KEYS and name not in _IGNORED:
            known = nearest(str(name), RLMInput.__annotations__)
            raise InputError(f"the input has a key {name!r}, which no run knows{known}")


def _check_contexts(given: dict[str, Any], *, nested: bool) -> None:
    references = given.get("contexts")
    if references is None or (isinstance(references, list) and all(isinstance(r, ContextRef) for r in references)):
        return
    if nested:
        del given["contexts"]  # the larger graph's own
    else:
        raise InputError("the input's contexts holds no references to contexts; did you mean context?")


def _fields(given: Any) -> Any:
    """Return the state of a larger graph as a dict, whatever its schema is."""
    if isinstance(given, dict):
        return dict(given)
    if isinstance(given, BaseModel):
        return {name: getattr(given, name) for name in type(given).model_fields}
    if dataclasses.is_dataclass(given) and not isinstance(given, type) and not isinstance(given, Command):
        return {one.name: getattr(given, one.name) for one in dataclasses.fields(given)}
    return given
